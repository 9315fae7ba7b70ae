"""Every code of the error tree is documented and used."""

import ast
import re

import pytest

from perdure.core.errors import CODES, FAMILIES
from tests.tidy.sources import ROOT, python_files, tree, where

DOCUMENT = ROOT / "docs" / "errors.md"
SECTION = re.compile(
    r"^### (E\d{4}) (\w+)\n\n\*\*(.+?)\*\* \(HTTP (\d+)\)\.\n(.+?)(?=^##|\Z)", re.DOTALL | re.MULTILINE
)
CODE = re.compile(r"E0[1-8]\d\d")

# Codes that wait for the code that will raise them; none should. The test fails when one of these has come into use.
NOT_YET_USED: set[str] = set()


def _sections() -> dict[str, tuple[str, str, str, str]]:
    return {code: rest for code, *rest in SECTION.findall(DOCUMENT.read_text(encoding="utf-8"))}


def test_every_code_has_a_section():
    """docs/errors.md has exactly the codes of the table, each once and in order."""
    headings = re.findall(r"^### (E\d{4})", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == sorted(CODES)
    assert set(_sections()) == set(CODES), "a section is not of the usual form"


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_section_says_what_the_table_says(code: str):
    """A section has the code's name, title and status, an example, and what to do."""
    slug, title, status, text = _sections()[code]
    assert (slug, int(status), title) == CODES[code]
    meaning, _, rest = text.partition("**Example.**")
    example, _, fix = rest.partition("**Fix.**")
    assert len(meaning.strip()) > 40, "say what happened, in plain words"
    assert len(example.strip()) > 10, "give an example"
    assert len(fix.strip()) > 10, "say what to do"


def _used() -> dict[str, list[str]]:
    """Where each code stands in the library, docstrings and the table itself left out."""
    used: dict[str, list[str]] = {}
    for path in python_files("src"):
        if path.name == "errors.py" and path.parent.name == "core":
            continue
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                for code in CODE.findall(node.value):
                    used.setdefault(code, []).append(where(path, node))
    return used


def test_every_code_is_used():
    """Each code stands somewhere in the library; those that do not yet are listed, and only those."""
    unused = set(CODES) - set(_used())
    assert unused == NOT_YET_USED


def test_no_code_is_invented():
    """No text of the library names a code that the table does not have."""
    assert not {code: places for code, places in _used().items() if code not in CODES}


def test_slugs_and_families_are_whole():
    """Slugs are unique, and each code belongs to a family."""
    assert len({slug for slug, _, _ in CODES.values()}) == len(CODES)
    assert all(any(code.startswith(family.family) for family in FAMILIES) for code in CODES)
