"""Every example runs: in a process of its own, with no key and no network, and it prints what it says that it prints.

An example's docstring ends with `Prints:`, and what stands after it is the whole output. Warnings are errors in it, as in the
tests, and it may write nothing to standard error: what is shown to newcomers works without a complaint.
"""

import ast
import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import perdure

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("[0-9]*_*.py"))
LEAST, LONGEST = 15, 75  # lines
NAME = re.compile(r"[0-9]{3}_[a-z0-9_]+\.py")
TIMEOUT_S = 120
THIRD_PARTY = {"pydantic"}

# Public names that no example uses, and why.
NOT_SHOWN = {
    "ApiError": "raised by a server that refuses a request; an embedded one is asked nothing wrong here",
    "AsyncSemanticMemory": "the type of SemanticMemory.aio; nobody makes one",
    "ChromaStore": "needs the extra chroma; docs/memory.md shows it",
    "Embedder": "a port, for those who write one; docs/memory.md does",
    "JournalError": "a disk that is full or broken",
    "MemoryStore": "a port, for those who write one",
    "PgVectorStore": "needs a Postgres server; docs/memory.md shows it",
    "PrefillToolCall": "what tool.call() makes; nobody makes one",
    "QdrantStore": "needs the extra qdrant; docs/memory.md shows it",
    "SemanticMemoryError": "raised by stores that are broken or misused",
    "WordLlamaEmbedder": "the default of SemanticMemory; nobody has to name it",
}


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _expected(path: Path) -> str:
    """What the docstring says that is printed."""
    _, found, after = _docstring(path).rpartition("Prints:")
    assert found, f"{path.name}: its docstring does not end with `Prints: ...`"
    return textwrap.dedent(after.lstrip(" ").lstrip("\n")).strip()


def _environment(home: Path) -> dict[str, str]:
    """This process's, without keys and settings, and with a home of its own."""
    secret = ("_API_KEY", "_TOKEN", "_BASE_URL")
    kept = {k: v for k, v in os.environ.items() if not k.endswith(secret) and "PERDURE" not in k}
    return kept | {
        "HOME": str(home),
        "PERDURE_HOME": str(home / "perdure"),
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), kept.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "TMPDIR": str(home),
    }


def _shown_names(path: Path) -> set[str]:
    """What an example imports from the front door, and uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "perdure"
        for alias in node.names
        if alias.name in used
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_prints_what_it_says(path: Path, tmp_path: Path):
    """It ends well, prints exactly what its docstring says and nothing to standard error, and leaves nothing behind."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("offline.py")), str(path)],
        cwd=work,
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, _expected(path), "")
    assert not list(work.iterdir())
    assert not (home / "perdure" / "server.json").exists(), "it started a server in the background"


def test_the_examples_are_numbered_without_a_gap():
    """001, 002, ... in the order in which they are to be read."""
    assert [path.name[:3] for path in EXAMPLES] == [f"{n:03}" for n in range(1, len(EXAMPLES) + 1)]
    wrong = [path.name for path in EXAMPLES if not NAME.fullmatch(path.name)]
    assert not wrong, wrong


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_small_and_knows_the_front_door_only(path: Path):
    """One idea: few lines, imports of public names, two or three sentences, a guard around what runs."""
    content = path.read_text(encoding="utf-8")
    tree = ast.parse(content)
    assert LEAST <= len(content.splitlines()) <= LONGEST
    assert 'if __name__ == "__main__":' in content
    said = _docstring(path).rpartition("Prints:")[0].split()
    assert 10 <= len(said) <= 80, len(said)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module in {"perdure", "perdure.testing"}:
                continue
        else:
            continue
        strange = [m for m in modules if m.partition(".")[0] not in sys.stdlib_module_names | THIRD_PARTY]
        assert not strange, strange


def test_the_table_is_complete():
    """README.md is what the script beside it makes of the docstrings."""
    made = runpy.run_path(str(FOLDER / "make_readme.py"))["readme"]()
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == made, "run python examples/make_readme.py"
    assert all(f"({path.name})" in made for path in EXAMPLES)


def test_every_public_name_is_shown():
    """Each name of the front door is used by an example, or stands in the list with a reason."""
    shown = set().union(*map(_shown_names, EXAMPLES))
    public = set(perdure.__all__)
    assert shown <= public, shown - public
    assert public - shown == set(NOT_SHOWN), (public - shown) ^ set(NOT_SHOWN)
    assert all(len(reason) > 10 for reason in NOT_SHOWN.values())
