"""Budgets: a file of at most 500 lines, a function of 70, a class of 15 public methods.

The lists are ratchets: an entry says how large an offender is, and may only shrink. The way to keep them short
is to split by the noun before the budget is reached.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.sources import python_files, tree, where

FILE_LINES = 500
FUNCTION_LINES = 70
PUBLIC_METHODS = 15

# path, or path::name -> its size today
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
# The two adapters implement two ports, `Journal` and `Catalog`, on one connection.
WIDE_CLASSES: dict[str, int] = {
    "src/perdure/engine/journal/memory.py::MemoryJournal": 18,
    "src/perdure/engine/journal/sqlite.py::SqliteJournal": 19,
}

FOLDERS = ("src", "tests", "bench", "examples")


def _nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in python_files(*FOLDERS):
        for node in ast.walk(tree(path)):
            if isinstance(node, kinds):
                yield path, node


def _check(sizes: dict[str, int], budget: int, ratchet: dict[str, int]) -> None:
    over = {name: size for name, size in sizes.items() if size > ratchet.get(name, budget)}
    assert not over, f"over the budget of {budget}: {over}"
    slack = {name: sizes.get(name) for name, size in ratchet.items() if sizes.get(name, 0) < size}
    assert not slack, f"smaller than the ratchet says, write the new size or drop the entry: {slack}"


def test_files_stay_within_the_budget():
    """No Python file is longer than 500 lines."""
    sizes = {where(p): len(p.read_text(encoding="utf-8").splitlines()) for p in python_files(*FOLDERS)}
    _check(sizes, FILE_LINES, LONG_FILES)


def test_functions_stay_within_the_budget():
    """No function is longer than 70 lines, its docstring included."""
    sizes = {
        f"{where(path)}::{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, node in _nodes(ast.FunctionDef, ast.AsyncFunctionDef)
    }
    _check(sizes, FUNCTION_LINES, LONG_FUNCTIONS)


def test_classes_stay_within_the_budget():
    """No class of the library has more than 15 public methods."""
    sizes = {
        f"{where(path)}::{node.name}": sum(
            isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
            for item in node.body
        )
        for path, node in _nodes(ast.ClassDef)
        if where(path).startswith("src/")
    }
    _check(sizes, PUBLIC_METHODS, WIDE_CLASSES)
