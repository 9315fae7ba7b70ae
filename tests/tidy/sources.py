"""The project's files and their syntax trees, read once for all tidy tests.

Files are those that git knows or would add, so that a new file is checked before it is committed. Without git
(an unpacked source distribution) every file below the root counts.
"""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "perdure"
SKIPPED_FOLDERS = {".git", ".venv", ".venv-bench", "build", "dist", "node_modules"}


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file of the project, sorted."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        files = [ROOT / name for name in listed.split("\0") if name]
    except (FileNotFoundError, subprocess.CalledProcessError):
        files = [p for p in ROOT.rglob("*") if not SKIPPED_FOLDERS & set(p.relative_to(ROOT).parts)]
    return tuple(sorted({p for p in files if p.is_file()}))


@functools.cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """The Python files in these folders of the root."""
    roots = [ROOT / folder for folder in folders]
    return tuple(
        p for p in project_files() if p.suffix == ".py" and any(p.is_relative_to(root) for root in roots)
    )


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """`src/perdure/core/ids.py` -> `perdure.core.ids`; a package's `__init__` has the package's name."""
    parts = list(path.relative_to(ROOT / "src").with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def where(path: Path, node: ast.AST | None = None) -> str:
    """`src/perdure/core/ids.py:12`, for messages."""
    line = getattr(node, "lineno", None)
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def imports(node: ast.AST) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Each import below *node*, once for every module that it may name.

    `from perdure.core import ids` names `perdure.core` and, since `ids` may be a module, `perdure.core.ids`.
    """
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            for alias in found.names:
                yield found, alias.name
        elif isinstance(found, ast.ImportFrom) and found.module and not found.level:
            yield found, found.module
            for alias in found.names:
                yield found, f"{found.module}.{alias.name}"


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain; an empty text for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(names)])


def origins(module: ast.Module) -> dict[str, str]:
    """What the imported names of a module stand for: `from time import time as now` gives `now: time.time`."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def calls(module: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Every name and attribute that is read, with the imported thing that it stands for.

    Names as well as calls, so that a banned function cannot pass as a default argument.
    """
    known = origins(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            head, _, rest = dotted(node).partition(".")
            if head in known:
                yield node, known[head] + (f".{rest}" if rest else "")
            elif head:
                yield node, head + (f".{rest}" if rest else "")
