"""Annotations that are texts: `from __future__ import annotations`, closures, and types made inside of functions."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Annotated, TypedDict

import pydantic
import pytest

from perdure.agents import ToolContext, bind_arguments, tool
from perdure.core.errors import DefinitionError

if typing.TYPE_CHECKING:
    from decimal import Decimal  # noqa: F401 - named by an annotation that is a text


class Item(pydantic.BaseModel):
    name: str


class Entry(TypedDict):
    a: typing.Required[int]
    b: typing.NotRequired[int]


@tool
def at_module_level(item: Item, ctx: ToolContext | None = None) -> Nowhere:  # noqa: F821
    """An unresolvable return type does not matter."""
    return item.name


def test_module_level_types():
    """Texts are resolved with the module's names."""
    assert at_module_level.input_schema["properties"]["item"]["required"] == ["name"]
    assert list(at_module_level.input_schema["properties"]) == ["item"]


def test_local_types():
    """Types made in the surrounding function are found, also those that other local types name."""

    @dataclasses.dataclass
    class Inner:
        x: int

    @dataclasses.dataclass
    class Outer:
        inner: Inner

    @tool
    def f(outer: Outer, other: Annotated[Inner, "i"]): ...

    @tool(name="g")
    def g(outer: list[Outer]): ...

    expected = {"outer": Outer(Inner(1)), "other": Inner(2)}
    assert bind_arguments(f, {"outer": {"inner": {"x": 1}}, "other": {"x": 2}}, ToolContext()) == expected
    assert g.input_schema["properties"]["outer"]["type"] == "array"


def test_local_types_seen_from_a_class_body():
    """A method's annotations may name types of the function around the class."""

    class Kind(pydantic.BaseModel):
        x: int

    class Box:
        @tool
        def put(self, kind: Kind) -> int:
            return kind.x

    assert bind_arguments(Box().put, {"kind": {"x": 1}}, ToolContext()) == {"kind": Kind(x=1)}


def test_closures():
    """A type that the function closes over is found wherever the function is decorated."""

    def make():
        class Hidden(pydantic.BaseModel):
            x: int

        def f(a: Hidden) -> int:
            return Hidden(x=1).x + a.x

        return f

    made = tool(make())
    assert made(**bind_arguments(made, {"a": {"x": 2}}, ToolContext())) == 3


def test_an_empty_closure_cell():
    """A variable of the closure that is not set yet harms nothing."""

    def outer():
        @tool
        def f(a: int) -> int:
            return a + later

        later = 1
        return f

    assert outer()(2) == 3


def test_required_and_not_required_as_texts():
    """Qualifiers of a TypedDict count even when they are texts."""

    @tool
    def f(entry: Entry): ...

    assert f.input_schema["properties"]["entry"]["required"] == ["a"]


@pytest.mark.parametrize("text", ["Decimal", "Missing", "Item.missing", "int[", "1 +"])
def test_names_that_cannot_be_resolved(text):
    """E0105 names the parameter and the text, and says what usually helps."""

    def f(price): ...

    f.__annotations__["price"] = text
    with pytest.raises(DefinitionError) as caught:
        tool(f)
    assert caught.value.code == "E0105"
    assert "'price'" in caught.value.what
    assert text in caught.value.what
    assert "TYPE_CHECKING" in caught.value.fix


def test_a_typed_dict_with_an_unknown_name():
    """A name inside of a TypedDict that nobody defined is E0105 too."""

    class Broken(TypedDict):
        a: Nowhere  # noqa: F821

    @functools.wraps(at_module_level.func)
    def f(broken): ...

    def g(broken: Broken): ...

    with pytest.raises(DefinitionError) as caught:
        tool(g)
    assert caught.value.code == "E0105"
    assert "broken" in caught.value.what
    assert f.__name__ == "at_module_level"
