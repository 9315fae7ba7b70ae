"""A tool's return value as plain JSON: rules V1 to V4."""

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import json
import math
import pathlib
import sys
import uuid
import warnings
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.agents.values import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_text,
    path_text,
    to_json_value,
)
from perdure.core.errors import ApiError, PerdureError, ToolError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=30,
)
ANYTHING = st.recursive(
    JSON
    | st.binary()
    | st.floats()
    | st.text()
    | st.integers()
    | st.dates()
    | st.datetimes()
    | st.uuids()
    | st.decimals()
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str] = dataclasses.field(default_factory=set)


class Order(pydantic.BaseModel):
    id: uuid.UUID
    at: dt.datetime
    lines: list[Point] = []


class Tagged(msgspec.Struct, tag="tagged", tag_field="kind", rename="camel"):
    first_name: str


class Pair(msgspec.Struct, array_like=True):
    a: int
    b: Any


Named = collections.namedtuple("Named", "a b")  # noqa: PYI024


def refused(value: Any, code: str = "E0303") -> PerdureError:
    """The error with which a value is refused."""
    with pytest.raises(PerdureError) as caught:
        to_json_value(value, "tool 't'")
    assert caught.value.code == code
    return caught.value


@given(JSON)
def test_plain_json_comes_out_as_itself(value):
    """A value that is JSON already is returned unchanged and uncopied."""
    assert to_json_value(value) is value


@given(ANYTHING)
@settings(max_examples=200)
def test_whatever_comes_out_is_json_or_a_coded_error(value):
    """Every value becomes JSON that survives a round trip, or is refused with a code."""
    try:
        plain = to_json_value(value)
    except PerdureError as error:
        assert error.code in {"E0303", "E0611"}  # noqa: PT017 - the other outcome is a value
        return
    assert msgspec.json.decode(msgspec.json.encode(plain)) == json.loads(json.dumps(plain, allow_nan=False))
    assert to_json_value(plain) is plain


def test_rich_values_become_what_people_expect():
    """Models, dataclasses, structs, enums, times, decimals, paths, sets and tuples have their usual JSON form."""
    ident = uuid.UUID(int=7)
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    value = {
        "order": Order(id=ident, at=moment, lines=[Point(1, {"a"})]),
        "points": (Point(2),),
        "color": Color.RED,
        "level": Level.HIGH,
        "tagged": Tagged("Ada"),
        "pair": Pair(1, Color.RED),
        "named": Named(1, 2),
        "day": dt.date(2026, 1, 2),
        "span": dt.timedelta(days=1),
        "price": decimal.Decimal("1.50"),
        "path": pathlib.PurePosixPath("/a/b"),
        "queue": collections.deque([1]),
        "counts": collections.Counter(a=1),
        Color.RED: 1,
        5: 2,
    }
    assert to_json_value(value) == {
        "order": {"id": str(ident), "at": "2026-01-02T03:04:05Z", "lines": [{"x": 1, "tags": ["a"]}]},
        "points": [{"x": 2, "tags": []}],
        "color": "red",
        "level": 3,
        "tagged": {"kind": "tagged", "firstName": "Ada"},
        "pair": [1, "red"],
        "named": [1, 2],
        "day": "2026-01-02",
        "span": "P1D",
        "price": "1.50",
        "path": "/a/b",
        "queue": [1],
        "counts": {"a": 1},
        "red": 1,
        "5": 2,
    }


def test_a_set_is_sorted():
    """V3: the order of a set does not depend on the process."""
    assert to_json_value({"b", "a", "c"}) == ["a", "b", "c"]


def test_subclasses_lose_their_class():
    """V1: a subclass of str, int, float, dict or list becomes the plain type."""

    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    class Real(float):
        pass

    out = to_json_value([Text("a"), Number(1), Real(1.5), collections.OrderedDict(a=1)])
    assert [type(item) for item in out] == [str, int, float, dict]


@pytest.mark.parametrize(
    ("value", "part", "fix"),
    [
        (b"x", "bytes", "base64"),
        (bytearray(b"x"), "bytearray", "base64"),
        (float("nan"), "nan", "None"),
        (float("-inf"), "-inf", "None"),
        (decimal.Decimal("NaN"), "NaN", "None"),
        (decimal.Decimal("sNaN"), "sNaN", "None"),
        (2**63 + 1, "64 bits", "str(value)"),
        (object(), "builtins.object", "dataclass"),
        (Point, "builtins.type", "dataclass"),
        (iter([1]), "read only once", "list(...)"),
        ((n for n in [1]), "read only once", "list(...)"),
        ({1.5: 1}, "key of type float", "Keys"),
        ({True: 1}, "key of type bool", "Keys"),
        ({1: 1, "1": 2}, "two keys", "differ"),
    ],
)
def test_what_json_cannot_hold_is_refused(value, part, fix):
    """V2: nothing is lost in silence; the error names the part and what to return instead."""
    error = refused([{"items": value}])
    assert part in error.what
    assert "result[0].items" in error.where
    assert fix in error.fix


def test_an_integer_of_64_bits_is_kept():
    """Integers up to 2**63 are kept exactly."""
    assert to_json_value({"n": (2**63, -(2**63))}) == {"n": [2**63, -(2**63)]}


def test_a_value_at_the_top_is_named_by_its_type():
    """The error of a value that is wrong as a whole has no path, only its name."""
    error = refused(object())
    assert "it is an object of type builtins.object" in error.what
    with pytest.raises(ToolError) as caught:
        to_json_value(object(), root="default")
    assert caught.value.where == "at default"


def test_an_array_is_told_how_to_become_a_list():
    """An object with `tolist` is refused with that as the fix."""

    class Array:
        def tolist(self):
            return []

    assert "tolist" in refused(Array()).fix


def test_a_coroutine_is_refused_as_not_awaited():
    """A forgotten await is named as such."""

    async def answer():
        return 1

    coroutine = answer()
    try:
        assert "never awaited" in refused({"a": coroutine}).what
    finally:
        coroutine.close()


def test_an_async_generator_is_refused():
    """An async generator can be read only once."""

    async def answers():
        yield 1

    generator = answers()
    assert "read only once" in refused(generator).what
    asyncio.run(generator.aclose())


@pytest.mark.parametrize("kind", ["list", "dict", "dataclass"])
def test_a_cycle_is_refused(kind):
    """V4: a value that contains itself ends in an error, never in a RecursionError."""
    if kind == "list":
        value: Any = [1]
        value += [value, value]
    elif kind == "dict":
        value = {}
        value["self"] = {"inner": value}
    else:
        value = Point(1)
        value.x = value
    assert "cycle" in refused(value).what


def test_the_same_part_twice_is_no_cycle():
    """A part that occurs twice side by side is written twice."""
    part = (1,)
    assert to_json_value({"a": part, "b": part}) == {"a": [1], "b": [1]}


def nested(depth: int, leaf: Any, make=lambda inner: [inner]) -> Any:
    """A value of so many levels."""
    for _ in range(depth):
        leaf = make(leaf)
    return leaf


@pytest.mark.parametrize("leaf", [1, decimal.Decimal(1)])
@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
def test_depth_is_limited(leaf, make):
    """V4: 200 levels are kept, 201 are refused, 100,000 are refused in the same way."""
    to_json_value(nested(MAX_DEPTH, leaf, make))
    for depth in (MAX_DEPTH + 1, 100_000):
        value = nested(depth, leaf, make)
        assert "nested over 200" in refused(value).what
        while isinstance(value, list | dict | tuple):  # take it apart, for its own destructor is recursive
            value = value["a"] if isinstance(value, dict) else value[0]


def test_a_stack_that_is_nearly_full_is_no_recursion_error():
    """V4: a caller deep in its own stack gets the coded error too."""

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            refused(nested(MAX_DEPTH, decimal.Decimal(1)))

    deep(sys.getrecursionlimit() - len(inspect.stack()) - 150)


def test_a_small_value_with_huge_json_is_refused():
    """V4: a value that shares its parts a million times over is refused by size."""
    value: Any = [decimal.Decimal(1)]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(ToolError) as caught:
        to_json_value(value, max_parts=1000)
    assert caught.value.code == "E0310"


@pytest.mark.parametrize("leaf", [0, decimal.Decimal(0)])
def test_the_limit_of_parts_is_exact(leaf):
    """V4: a list of 999 is 1,000 parts, whether it is plain or not."""
    assert len(to_json_value([leaf] * 999, max_parts=1000)) == 999
    with pytest.raises(ToolError):
        to_json_value([leaf] * 1000, max_parts=1000)


@pytest.mark.parametrize(
    "value", ["a\ud800", {"a\ud800": 1}, [("a\udfff",)], {"k": {("\ud800")}}, pathlib.PurePath("\udc80")]
)
def test_lone_surrogates_are_refused(value):
    """Text that no UTF-8 can hold is E0611, with its path."""
    error = refused(value, "E0611")
    assert isinstance(error, ApiError)
    assert "result" in error.where


def test_check_text():
    """Any text of whole characters passes; half a character does not."""
    check_text("plain")
    check_text("naïve 😀")
    with pytest.raises(ApiError, match="surrogates"):
        check_text("\ud83d", "here")


def test_a_model_that_cannot_be_written_is_refused():
    """A Pydantic model whose serializer fails is refused with the model's own words."""

    class Odd(pydantic.BaseModel):
        x: int

        @pydantic.field_serializer("x")
        def write(self, value: int) -> int:
            raise LookupError("no luck")

    error = refused([Odd(x=1)])
    assert "Odd" in error.what
    assert "no luck" in error.why
    assert "result[0]" in error.where


def test_a_model_with_the_wrong_values_warns_nobody():
    """Serialising a model does not write warnings: what is wrong is an error or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odd = Order.model_construct(id="text", at="text", lines=[])
        assert to_json_value(odd) == {"id": "text", "at": "text", "lines": []}


def test_paths():
    """Paths look like Python."""
    assert path_text(("items", 3, "a b", "é")) == "result.items[3]['a b'].é"
    assert math.isfinite(len(path_text(())))
