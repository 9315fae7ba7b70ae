"""Words: one for one thing, a docstring where it is due, and nothing of the machine that the file was written on."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT, calls, imports, module_name, project_files, python_files, tree, where

# A banned word in a name -> the word of the glossary. Matched as a whole part of a name: `JobQueue`, `job_id`.
GLOSSARY = {
    "workflow": "execution",
    "workflows": "executions",
    "job": "task",
    "jobs": "tasks",
    "activity": "step",
    "checkpoint": "event or state",
    "blueprint": "definition or plan",
    "confirmation": "approval",
}
# Names of neighbours and of the storage engine, which have words of their own.
GLOSSARY_EXCEPT = (
    "perdure.engine.journal",
    "perdure.engine.temporal",
    "perdure.frameworks",
    "perdure.server.compat",
)
VAGUE_MODULES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "base",
    "misc",
    "internal",
    "manager",
    "stuff",
}
VAGUE_CLASS = re.compile(r"(Manager|Helper|Helpers|Util|Utils)$")

# Mock libraries, and pytest's own ways to replace an attribute. Setting an environment variable is no patch.
MOCKING = re.compile(
    r"(unittest\.mock|mock|pytest_mock)(\.|$)|mocker\.|monkeypatch\.(setattr|setitem|delattr|delitem)$"
)

TEXT_SUFFIXES = {
    ".py", ".md", ".toml", ".lock", ".in", ".txt", ".json", ".yml", ".yaml", ".cfg", ".ini", ".html", ".css",
    ".js", ".ts", ".tsx", ".svg", ".sh", "",
}  # fmt: skip
# This machine's own places, whatever they are called here, and what such places look like elsewhere.
MACHINE_PLACES = {str(p) for p in (ROOT, Path.home(), Path(sys.base_prefix)) if len(p.parts) > 2} - {
    "/usr/local"
}
MACHINE_PATTERNS = (
    re.compile(r"(?<![\w.~-])/(?:home|Users)/[A-Za-z][\w.-]*/"),
    re.compile(r"(?<![\w.~-])/roo[t]/"),
    re.compile(r"--(?:extra-)?index-url[ =]\S|--find-links[ =]\S|--trusted-host[ =]\S"),
    re.compile(
        r"https?://[^\s/\"')]*(?:pypi|pythonhosted|npmjs|registry|artifactory|nexus|mirror)[^\s/\"')]*",
        re.IGNORECASE,
    ),
)


def _parts(name: str) -> set[str]:
    """The words of a name, in lower case: `JobQueue` and `job_queue` give job and queue."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _names(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """What a file names itself: functions, classes, arguments, fields and variables."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr


@pytest.mark.parametrize("path", python_files("src"), ids=module_name)
def test_names_use_the_words_of_the_glossary(path: Path):
    """A name in the library uses the glossary's word for a thing, and says what it is."""
    if module_name(path).startswith(GLOSSARY_EXCEPT):
        return
    wrong = [
        f"{where(path, node)} {name}: say {GLOSSARY[word]}"
        for node, name in _names(path)
        for word in _parts(name) & set(GLOSSARY)
    ]
    wrong += [
        f"{where(path, node)} {name}: say what it does"
        for node, name in _names(path)
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(name)
    ]
    if path.stem in VAGUE_MODULES:
        wrong.append(f"{where(path)}: name the module by its noun")
    assert not wrong, wrong


def test_every_module_says_what_it_is():
    """Each Python module of the project begins with a docstring."""
    wrong = [
        where(p) for p in python_files("src", "tests", "bench", "examples") if not ast.get_docstring(tree(p))
    ]
    assert not wrong, wrong


def test_every_test_says_what_it_expects():
    """Each test function has a docstring: a sentence of expected behaviour."""
    wrong = [
        where(path, node)
        for path in python_files("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not wrong, wrong


def test_tests_use_fakes_and_patch_nothing():
    """No test imports a mock library or replaces an attribute: a fake implements the port."""
    wrong = [
        f"{where(path, node)}: {name}"
        for path in python_files("tests")
        for node, name in [*imports(tree(path)), *calls(tree(path))]
        if MOCKING.match(name)
    ]
    assert not wrong, wrong


def test_files_know_nothing_of_the_machine_they_were_written_on():
    """No file names a home folder, this checkout's place, or a package index."""
    wrong = []
    for path in project_files():
        if path.suffix not in TEXT_SUFFIXES:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = [place for place in MACHINE_PLACES if place in text]
        found += [match.group() for pattern in MACHINE_PATTERNS for match in pattern.finditer(text)]
        if found:
            wrong.append(f"{where(path)}: {found[:3]}")
    assert not wrong, wrong


def test_the_readme_begins_with_the_two_commands():
    """The first lines of README.md show `make demo` and `make test`."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30]
    commands = [line.strip() for line in lines]
    for command in ("make demo", "make test"):
        assert any(line.startswith(command) for line in commands), f"no line of its own with {command!r}"
