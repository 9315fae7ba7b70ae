"""Every snippet of the documents runs.

Python blocks of README.md and docs/**/*.md run in a process of their own, in an empty folder with an empty home,
and must end well. Comments on the line before a block steer it:

    <!-- no-run: REASON -->   it is not run (a key is needed, it never ends); it must still compile
    <!-- continued -->        the Python blocks before it in the same document come first
    <!-- run -->              a bash block is run, too; others are not

A block's warnings are errors, as in the tests.
"""

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.free_port import free_port

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!--\s*(?P<mark>[\w-]+)(?::\s*(?P<reason>.+?))?\s*-->\n+)?^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
MARKS = {None, "no-run", "continued", "run"}
TIMEOUT_S = 90
PORT = free_port()


@dataclass(frozen=True)
class Snippet:
    """A block of a document; `text` has the blocks that it continues in front."""

    document: Path
    line: int
    language: str
    mark: str | None
    reason: str
    text: str

    @property
    def name(self) -> str:
        """`README.md:12`."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def _snippets() -> list[Snippet]:
    found = []
    for document in DOCUMENTS:
        content = document.read_text(encoding="utf-8")
        before = ""
        for match in BLOCK.finditer(content):
            language, text = match["language"], match["text"]
            if language not in {"python", "bash", "sh"}:
                continue
            whole = before + text if match["mark"] == "continued" else text
            line = content.count("\n", 0, match.start("text"))
            found.append(Snippet(document, line, language, match["mark"], match["reason"] or "", whole))
            if language == "python" and match["mark"] != "no-run":
                before = whole + "\n"
    return found


SNIPPETS = _snippets()
PYTHON = [s for s in SNIPPETS if s.language == "python"]
RUN = [s for s in PYTHON if s.mark != "no-run"]
BASH = [s for s in SNIPPETS if s.language != "python" and s.mark == "run"]


def _environment(home: Path) -> dict[str, str]:
    """This process's, without keys and settings, and with a home of its own."""
    kept = {
        k: v for k, v in os.environ.items() if not k.endswith(("_API_KEY", "_TOKEN")) and "PERDURE" not in k
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {
        "HOME": str(home),
        "PERDURE_HOME": str(home / "perdure"),
        # The server that a snippet starts is its own, whatever listens on the default port of this machine.
        "PERDURE_PORT": str(PORT),
        "PATH": path,
        "PYTHONWARNINGS": "error",
    }


def _run(command: list[str], folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    work = folder / "work"
    work.mkdir()
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        # A snippet may have started this user's background server; it belongs to the empty home.
        subprocess.run(
            [sys.executable, "-m", "perdure", "server", "stop"],
            env=_environment(home),
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_every_mark_is_known():
    """A mark is one of the known ones, and what is not run has a reason."""
    unknown = [s.name for s in SNIPPETS if s.mark not in MARKS]
    assert not unknown, unknown
    unreasoned = [s.name for s in SNIPPETS if s.mark == "no-run" and len(s.reason) < 10]
    assert not unreasoned, unreasoned


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda s: s.name)
def test_snippets_compile(snippet: Snippet):
    """Each Python block is valid Python, those that are not run too."""
    ast.parse(snippet.text)


@pytest.mark.parametrize("snippet", RUN, ids=lambda s: s.name)
def test_python_snippets_run(snippet: Snippet, tmp_path: Path):
    """Each Python block ends without an error."""
    script = tmp_path / "snippet.py"
    script.write_text(snippet.text, encoding="utf-8")
    _run([sys.executable, str(script)], tmp_path)


@pytest.mark.parametrize("snippet", BASH, ids=lambda s: s.name)
def test_marked_commands_run(snippet: Snippet, tmp_path: Path):
    """Each bash block that is marked to be run ends without an error."""
    _run(["bash", "-euo", "pipefail", "-c", snippet.text], tmp_path)
