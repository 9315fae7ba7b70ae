"""From type hints to JSON Schema and from JSON to Python values."""

# ruff: noqa: UP007, UP045 - the older ways to write a union are tested beside the new one

import dataclasses
import datetime as dt
import enum
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import jsonschema
import pydantic
import pytest
import typing_extensions
from pydantic import Field

from perdure.agents import ToolContext, bind_arguments, tool
from perdure.core.errors import DefinitionError, ToolError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    """A place."""

    x: int
    y: int = 0


class Line(pydantic.BaseModel):
    sku: str
    count: int = Field(ge=1)


class Node(pydantic.BaseModel):
    value: int
    below: "list[Node]" = []


class Address(TypedDict, total=False):
    street: typing.Required[str]
    zip: Annotated[str, Field(pattern="^[0-9]+$")]


class Person(TypedDict):
    name: str
    home: Address
    work: typing.NotRequired[Address]


class Modern(typing_extensions.TypedDict):
    a: int


class Chain(TypedDict):
    next: "Chain | None"


CONTEXT = ToolContext(execution_id="x1")


def property_of(hint, **kw):
    """The schema of a parameter with this hint."""

    def f(value): ...

    f.__annotations__["value"] = hint
    return tool(f, **kw).input_schema["properties"]["value"]


def bound(hint, value):
    """What a parameter with this hint gets for a JSON value."""

    def f(value): ...

    f.__annotations__["value"] = hint
    return bind_arguments(tool(f), {"value": value}, CONTEXT)["value"]


TYPES: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (int, {"type": "integer"}, 3, 3),
    (float, {"type": "number"}, 3, 3.0),
    (bool, {"type": "boolean"}, True, True),
    (str, {"type": "string"}, "a", "a"),
    (Any, {}, {"a": [1]}, {"a": [1]}),
    (object, {}, [1], [1]),
    (None, {"type": "null"}, None, None),
    (list, {"type": "array", "items": {}}, [1, "a"], [1, "a"]),
    (dict, {"type": "object", "additionalProperties": True}, {"a": 1}, {"a": 1}),
    (list[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
    (
        dict[str, float],
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"a": 1},
        {"a": 1.0},
    ),
    (
        tuple[int, str],
        {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
        },
        [1, "a"],
        (1, "a"),
    ),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [1, 2], (1, 2)),
    (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["a"], {"a"}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "a", "a"),
    (Literal[1], {"type": "integer", "const": 1}, 1, 1),
    (Color, {"type": "string", "enum": ["red", "blue"]}, "blue", Color.BLUE),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),
    (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "a", "a"),
    (Union[int, None, str], {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}, 1, 1),
    (
        dt.datetime,
        {"type": "string", "format": "date-time"},
        "2026-01-02T03:04:05Z",
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    ),
    (dt.date, {"type": "string", "format": "date"}, "2026-01-02", dt.date(2026, 1, 2)),
    (uuid.UUID, {"type": "string", "format": "uuid"}, str(uuid.UUID(int=1)), uuid.UUID(int=1)),
    (
        Point,
        {
            "type": "object",
            "description": "A place.",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
            "required": ["x"],
            "additionalProperties": False,
        },
        {"x": 1},
        Point(1),
    ),
    (
        Line,
        {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
            "required": ["sku", "count"],
        },
        {"sku": "a", "count": 2},
        Line(sku="a", count=2),
    ),
    (
        Modern,
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        {"a": 1},
        {"a": 1},
    ),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}, 1, 1),
    (
        Annotated[int, Field(ge=1, description="d")],
        {"type": "integer", "minimum": 1, "description": "d"},
        1,
        1,
    ),
    (Annotated[list[Address], "where"], None, [{"street": "a"}], [{"street": "a"}]),
    (Optional[Address], None, {"street": "a", "zip": "1"}, {"street": "a", "zip": "1"}),
    (dict[str, Person], None, {"a": {"name": "b", "home": {"street": "c"}}}, None),
    (bytes, {"type": "string", "format": "binary"}, "a", b"a"),
]


@pytest.mark.parametrize(("hint", "schema", "given_json", "expected"), TYPES)
def test_types(hint, schema, given_json, expected):
    """Each type has its JSON Schema, and JSON that fits comes back as the type's value."""
    found = property_of(hint)
    if schema is not None:
        assert found == schema
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.validate(given_json, found)
    assert bound(hint, given_json) == (given_json if expected is None else expected)


def test_typed_dicts_of_the_standard_library():
    """Required and optional keys, nesting and constraints of `typing.TypedDict` are kept."""
    address = {
        "type": "object",
        "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]+$"}},
        "required": ["street"],
        "additionalProperties": False,
    }
    assert property_of(Person) == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "home": address, "work": address},
        "required": ["name", "home"],
        "additionalProperties": False,
    }


def test_a_recursive_model_keeps_its_definition():
    """Only a recursive type needs `$defs`."""
    schema = tool(lambda node: node, name="t").input_schema
    assert "$defs" not in schema

    def f(node: Node): ...

    made = tool(f)
    assert list(made.input_schema["$defs"]) == ["Node"]
    value = {"value": 1, "below": [{"value": 2}]}
    assert bind_arguments(made, {"node": value}, CONTEXT) == {"node": Node(value=1, below=[Node(value=2)])}


def test_missing_annotations_take_any_json():
    """A parameter without a hint takes whatever the model gives."""

    def f(a, b=1): ...

    assert tool(f).input_schema == {
        "type": "object",
        "properties": {"a": {}, "b": {"default": 1}},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters():
    """The schema of no parameters is an empty object."""
    schema = tool(lambda: 1, name="t").input_schema
    assert schema == {"type": "object", "properties": {}, "additionalProperties": False}


def test_defaults():
    """Defaults are shown where JSON has them; an argument that is left out is not passed."""
    marker = object()

    def f(
        a: int = 1,
        b: Color = Color.RED,
        c: set[str] = frozenset({"z", "y"}),
        d: int = None,  # noqa: RUF013 - the old way is read too
        e: Annotated[int, Field(ge=1)] = None,  # noqa: RUF013 - the old way is read too
        g: Any = marker,
        h: Annotated[int, Field(json_schema_extra={"default": 7})] = 8,
        i: int | None = None,
    ):
        return a, b, c, d, e, g, h, i

    made = tool(f)
    properties = made.input_schema["properties"]
    assert {name: p.get("default") for name, p in properties.items()} == {
        "a": 1,
        "b": "red",
        "c": ["y", "z"],
        "d": None,
        "e": None,
        "g": None,
        "h": 7,
        "i": None,
    }
    assert properties["d"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert properties["i"] == properties["d"]
    assert bind_arguments(made, {}, CONTEXT) == {}
    assert bind_arguments(made, {"d": None, "e": None}, CONTEXT) == {"d": None, "e": None}
    with pytest.raises(ToolError, match="do not fit"):
        bind_arguments(made, {"e": 0}, CONTEXT)
    assert made() == (1, Color.RED, {"z", "y"}, None, None, marker, 8, None)


def test_pydantic_fields_as_defaults():
    """`x: int = Field(5, description=...)` works: the default comes from the field."""

    def f(
        a: int = Field(description="needed"),
        b: int = Field(5, ge=1),
        c: list[int] = Field(default_factory=list),  # noqa: B008
        d: int = Field(3, alias="dee"),
    ):
        return a, b, c, d

    made = tool(f)
    assert made.input_schema["required"] == ["a"]
    assert made.input_schema["properties"]["a"] == {"type": "integer", "description": "needed"}
    assert made.input_schema["properties"]["b"] == {"type": "integer", "minimum": 1, "default": 5}
    assert "dee" in made.input_schema["properties"]
    assert bind_arguments(made, {"a": 1}, CONTEXT) == {"a": 1, "b": 5, "c": [], "d": 3}
    assert bind_arguments(made, {"a": 1, "dee": 4}, CONTEXT)["d"] == 4


def test_descriptions():
    """A description in the hint wins over the docstring's."""

    def f(a: int, b: Annotated[int, "hint"], c: Annotated[int, Field(description="field")]):
        """Do.

        Args:
            a: doc a
            b: doc b
            c: doc c
            unknown: ignored
        """

    properties = tool(f).input_schema["properties"]
    assert [properties[n]["description"] for n in "abc"] == ["doc a", "hint", "field"]


@pytest.mark.parametrize(
    "hint",
    [ToolContext, Optional[ToolContext], ToolContext | None, Annotated[ToolContext, "x"], "ToolContext"],
)
def test_the_context_is_injected_by_annotation(hint):
    """A parameter annotated ToolContext gets the context and is not shown to the model."""

    def f(a: int, ctx=None): ...

    f.__annotations__["ctx"] = hint
    made = tool(f)
    assert list(made.input_schema["properties"]) == ["a"]
    assert bind_arguments(made, {"a": 1}, CONTEXT) == {"a": 1, "ctx": CONTEXT}
    with pytest.raises(ToolError, match="do not fit"):
        bind_arguments(made, {"a": 1, "ctx": {}}, CONTEXT)


def test_the_context_is_injected_by_name():
    """A parameter called `context` without a hint gets the context; with another hint it is the model's."""

    def f(context): ...
    def g(context: str): ...

    assert bind_arguments(tool(f), {}, CONTEXT) == {"context": CONTEXT}
    assert list(tool(g).input_schema["properties"]) == ["context"]


def test_two_contexts_are_refused():
    """Only one parameter can take the context."""

    def f(a: ToolContext, context): ...

    with pytest.raises(DefinitionError, match="Two parameters"):
        tool(f)


def test_names_that_pydantic_models_reserve():
    """Parameters may have names that a Pydantic model could not have."""

    def f(schema: int, json: int, model_config: int, _hidden: int, copy: int = 1): ...

    made = tool(f)
    given_json = {"schema": 1, "json": 2, "model_config": 3, "_hidden": "4"}
    assert bind_arguments(made, given_json, CONTEXT) == {
        "schema": 1,
        "json": 2,
        "model_config": 3,
        "_hidden": 4,
    }


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (Callable[[int], str], "Callable"),
        (type("Client", (), {}), "Client"),
        (list[type("Client", (), {})], "Client"),
        (Chain, "Chain"),
        (list[Chain], "Chain"),
    ],
)
def test_types_without_a_schema_are_refused(hint, shown):
    """E0105 names the parameter, its type and the place."""

    def f(good: int, bad): ...

    f.__annotations__["bad"] = hint
    with pytest.raises(DefinitionError) as caught:
        tool(f)
    error = caught.value
    assert error.code == "E0105"
    assert "'bad'" in error.what
    assert shown in error.what
    assert f"test_schema.py:{f.__code__.co_firstlineno}" in error.where
    assert error.why


def test_a_dataclass_around_an_unsupported_type():
    """A bad type deep inside of a good one is found too."""

    @dataclasses.dataclass
    class Holder:
        client: Callable[[], int]

    def f(holder: Holder): ...

    with pytest.raises(DefinitionError, match="holder") as caught:
        tool(f)
    assert caught.value.code == "E0105"


def test_a_type_with_a_broken_schema_hook():
    """A type whose own schema hook fails is refused as having no schema."""

    class Broken:
        @classmethod
        def __get_pydantic_core_schema__(cls, source, handler):
            raise ValueError("broken hook")

    def f(a: Broken): ...

    with pytest.raises(DefinitionError) as caught:
        tool(f)
    assert "broken hook" in caught.value.why


def test_a_dataclass_with_an_undefined_name():
    """A name inside of a dataclass that nobody defined is E0105, and the fix says where to put it."""

    @dataclasses.dataclass
    class Holder:
        thing: "Nowhere"  # noqa: F821

    def f(holder: Holder): ...

    with pytest.raises(DefinitionError) as caught:
        tool(f)
    assert "'Nowhere'" in caught.value.why
    assert "TYPE_CHECKING" in caught.value.fix


def test_arguments_that_do_not_fit():
    """E0305 lists every problem with its parameter, in the message and as fields."""

    def f(count: int, line: Line, tags: list[str]): ...

    with pytest.raises(ToolError) as caught:
        bind_arguments(
            tool(f), {"count": "x", "line": {"sku": 1, "count": 0}, "tags": ["a", 2], "z": 1}, CONTEXT
        )
    error = caught.value
    assert error.code == "E0305"
    assert [p["parameter"] for p in error.fields["problems"]] == [
        "count",
        "line.sku",
        "line.count",
        "tags[1]",
        "z",
    ]
    assert all(p["problem"] in error.why for p in error.fields["problems"])


def test_a_validator_that_fails_otherwise():
    """An error that is not Pydantic's, raised by a validator of the user's, is E0305 too."""

    def check(value: int) -> int:
        raise TypeError("cannot compare")

    def f(a: Annotated[int, pydantic.AfterValidator(check)]): ...

    with pytest.raises(ToolError) as caught:
        bind_arguments(tool(f), {"a": 1}, CONTEXT)
    assert caught.value.why == "TypeError: cannot compare"
