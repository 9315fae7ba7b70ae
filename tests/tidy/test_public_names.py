"""The public names and their signatures, compared with a list that is checked in.

A difference is a decision: write the new list with `python -m tests.tidy.test_public_names`, and read the diff.
"""

import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import perdure
import perdure.testing

LIST = Path(__file__).with_name("public_names.txt")


def _signature(value: Any) -> str:
    text = str(inspect.signature(value))
    text = re.sub(r"\bperdure\.(?:\w+\.)*|\bcollections\.abc\.|\btyping\.|\bpathlib\.", "", text)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _lines(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{name}{_signature(value)}"
        return
    if issubclass(value, enum.Enum):
        yield f"{name}: {', '.join(member.value for member in value)}"
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield f"{name}{_signature(value)}" + (f" is {bases}" if bases else "")
    for member in sorted(set(dir(value)) - set(dir(Exception))):
        if member.startswith("_"):
            continue
        found = inspect.getattr_static(value, member)
        if isinstance(found, property):
            yield f"    {name}.{member}"
        elif callable(getattr(value, member)):
            yield f"    {name}.{member}{_signature(getattr(value, member))}"


def public_names() -> str:
    """The list as it is now."""
    lines: list[str] = []
    for module in (perdure, perdure.testing):
        lines.append(f"[{module.__name__}]")
        for name in module.__all__:
            lines += _lines(name, getattr(module, name))
    return "\n".join(lines) + "\n"


def test_public_names_and_signatures_are_those_that_were_agreed():
    """Names, parameters and defaults are as in the checked-in list."""
    assert public_names() == LIST.read_text(encoding="utf-8")


def test_every_public_name_is_documented_and_sorted():
    """`__all__` is sorted, each name leads somewhere and has a docstring, and `dir` shows it."""
    for module in (perdure, perdure.testing):
        assert list(module.__all__) == sorted(module.__all__)
        undocumented = [name for name in module.__all__ if not inspect.getdoc(getattr(module, name))]
        assert not undocumented
        assert set(module.__all__) <= set(dir(module))


def test_type_checkers_see_the_same_names():
    """The imports for type checkers name exactly what the doors lead to."""
    source = Path(perdure.__file__).read_text(encoding="utf-8")
    declared = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", source, re.MULTILINE)
    assert sorted(name for _, name in declared) == perdure.__all__
    assert {name: module for module, name in declared} == perdure._HOMES


def test_an_unknown_name_is_an_attribute_error():
    """A name that does not exist is told as for any module; the version is there."""
    assert not hasattr(perdure, "Nothing")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", perdure.__version__)


if __name__ == "__main__":
    LIST.write_text(public_names(), encoding="utf-8")
