"""A round trip: a value as JSON fits the schema of its type and is read back equal."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Literal, Optional

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.agents import ToolContext, bind_arguments, to_json_value, tool

# ruff: noqa: UP045 - the hint is a value here


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


VALUES = {
    int: st.integers(-(2**53), 2**53),
    str: st.text(st.characters(exclude_categories=["Cs"])),
    bool: st.booleans(),
    Color: st.sampled_from(Color),
    dt.date: st.dates(),
    uuid.UUID: st.uuids(),
    decimal.Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Point: st.builds(Point, st.integers(-9, 9), st.integers(-9, 9)),
    Literal["a", 1]: st.sampled_from(["a", 1]),
}


@st.composite
def typed_values(draw):
    """A type hint made of the kinds above, with a value of it."""
    leaf = draw(st.sampled_from(list(VALUES)))
    value = VALUES[leaf]
    wrap = draw(st.sampled_from(["none", "list", "dict", "optional", "tuple"]))
    if wrap == "list":
        return list[leaf], draw(st.lists(value, max_size=3))
    if wrap == "dict":
        return dict[str, leaf], draw(st.dictionaries(VALUES[str], value, max_size=3))
    if wrap == "optional":
        return Optional[leaf], draw(st.none() | value)
    if wrap == "tuple":
        return tuple[leaf, int], (draw(value), 1)
    return leaf, draw(value)


@given(typed_values())
@settings(max_examples=150, deadline=None)
def test_values_survive_the_way_out_and_back(pair):
    """JSON of a value fits the schema of its type, and comes back equal."""
    hint, value = pair

    def f(value): ...

    f.__annotations__["value"] = hint
    made = tool(f)
    plain = {"value": to_json_value(value)}
    jsonschema.validate(plain, made.input_schema)
    assert bind_arguments(made, plain, ToolContext()) == {"value": value}
