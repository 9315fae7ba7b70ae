"""`@tool`: options, names, descriptions, methods, and what is refused when it is decorated."""

import asyncio
import contextlib
import functools
import inspect

import pytest

from perdure.agents import ToolContext, ToolDef, bind_arguments, tool
from perdure.core.errors import DefinitionError, PerdureError, ToolError


def refused(code, make, *arguments, **options) -> PerdureError:
    """The error with which *make* refuses these arguments."""
    with pytest.raises(PerdureError) as caught:
        make(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def lookup(order_id: str, depth: int = 1) -> str:  # noqa: D417 - one parameter without a description
    """Look up an order.

    Args:
        order_id: As printed.
    """
    return f"{order_id}/{depth}"


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @tool(approval_required=True)
    def refund(self, order_id: str) -> str:
        """Give the money back."""
        return f"{self.name}: {order_id}"

    def find(self, order_id: str) -> str:
        """Find it."""
        return f"{self.name}? {order_id}"

    @staticmethod
    @tool
    def ping(times: int) -> int:
        """Ping."""
        return times

    shared = tool(lookup)


def test_bare_decoration():
    """A decorated function stays callable and gets name, description and schema."""
    made = tool(lookup)
    assert isinstance(made, ToolDef)
    assert made("A1", depth=2) == "A1/2"
    assert (made.name, made.description, made.external, made.is_async) == (
        "lookup",
        "Look up an order.",
        False,
        False,
    )
    assert made.input_schema == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "description": "As printed."},
            "depth": {"type": "integer", "default": 1},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }
    assert made.__doc__ == lookup.__doc__
    assert made.__name__ == "lookup"
    assert inspect.signature(made) == inspect.signature(lookup)
    assert repr(made) == "ToolDef('lookup')"


def test_options():
    """Options are kept; upper-case names of retry policies are taken too."""
    made = tool(
        name="find-it",
        approval_required=True,
        timeout_seconds=1.5,
        max_calls=3,
        retry_count=0,
        retry_delay_seconds=0,
        retry_policy="EXPONENTIAL_BACKOFF",
        on_unknown="ask",
    )(lookup)
    assert (made.name, made.timeout_seconds, made.max_calls) == ("find-it", 1.5, 3)
    assert (made.retry_count, made.retry_delay_seconds, made.retry_policy) == (0, 0, "exponential_backoff")
    assert made.on_unknown == "ask"
    assert repr(made) == "ToolDef('find-it', approval_required=True)"


def test_defaults_are_the_documented_ones():
    """Two retries, linear, two seconds."""
    made = tool(lookup)
    assert (made.retry_count, made.retry_delay_seconds, made.retry_policy) == (2, 2, "linear_backoff")
    assert (made.approval_required, made.timeout_seconds, made.max_calls, made.on_unknown) == (
        False,
        None,
        None,
        "retry",
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout_seconds", 0),
        ("timeout_seconds", -1),
        ("timeout_seconds", "5"),
        ("timeout_seconds", float("nan")),
        ("max_calls", 0),
        ("max_calls", 1.5),
        ("max_calls", True),
        ("retry_count", -1),
        ("retry_count", 1000),
        ("retry_delay_seconds", -1),
        ("retry_policy", "sometimes"),
        ("retry_policy", None),
        ("on_unknown", "guess"),
        ("approval_required", "yes"),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    """E0106 names the option, its value and what it may be, with the function's file and line."""
    error = refused("E0106", tool, lookup, **{option: value})
    assert option in error.what
    assert f"test_tools.py:{lookup.__code__.co_firstlineno}" in error.where
    assert error.fix


@pytest.mark.parametrize("name", ["", "1st", "a b", "é", "a\n", "x" * 65, 5])
def test_names_are_checked(name):
    """E0104: letters, digits, _ and -, 64 at most."""
    refused("E0104", tool, lookup, name=name)


def test_a_lambda_needs_a_name():
    """A lambda's own name is none; with a name it is a tool."""
    refused("E0104", tool, lambda x: x)
    assert tool(lambda x: x, name="same")(3) == 3


def test_an_external_tool_has_no_function_here():
    """Only the signature is meant: calling it, or binding arguments, says so."""
    made = tool(lookup, external=True)
    assert made.external
    assert not made.is_async
    assert not made.is_unbound
    assert made.input_schema["required"] == ["order_id"]
    assert "external" in repr(made)
    with pytest.raises(ToolError, match="not in this process"):
        made("A1")
    with pytest.raises(ToolError, match="not in this process"):
        bind_arguments(made, {}, ToolContext())


def test_a_tool_without_anything_has_an_empty_schema():
    """A ToolDef made by hand takes no arguments unless its schema says so."""
    assert ToolDef("ping").input_schema == {"type": "object", "properties": {}}
    refused("E0611", ToolDef, "ping", "\ud800")


def test_async_functions():
    """A coroutine function is a tool; calling it gives its coroutine."""

    @tool
    async def answer(x: int) -> int:
        return x

    assert answer.is_async
    assert asyncio.run(answer(4)) == 4


def test_methods_decorated_in_the_class():
    """`obj.method` is the tool of that object; through the class it is unbound."""
    shop = Shop("north")
    bound = shop.refund
    assert Shop.refund.is_unbound
    assert not bound.is_unbound
    assert bound.approval_required
    assert list(bound.input_schema["properties"]) == ["order_id"]
    assert bound("A1") == "north: A1"
    assert bound(**bind_arguments(bound, {"order_id": "A2"}, ToolContext())) == "north: A2"


def test_other_tools_in_a_class_are_left_alone():
    """A tool that takes no object is the same through object and class."""
    assert Shop("x").shared is Shop.shared
    assert Shop("x").ping(3) == 3


def test_bound_methods():
    """`tool(obj.method)` is a tool of that object."""
    made = tool(Shop("south").find)
    assert made.description == "Find it."
    assert made(order_id="A1") == "south? A1"


def test_partials_hide_what_they_fill_in():
    """The parameters that a partial has filled in are not shown to the model, whatever their type."""

    def query(client: object, text: str, limit: int = 3) -> str:
        """Ask."""
        return f"{text} {limit}"

    made = tool(functools.partial(query, object(), limit=9), name="query")
    assert list(made.input_schema["properties"]) == ["text"]
    assert made(**bind_arguments(made, {"text": "a"}, ToolContext())) == "a 9"
    assert tool(functools.partial(query, client=1)).name == "query"


def test_callable_objects():
    """An object with `__call__` is a tool with the name that it is given."""

    class Adder:
        async def __call__(self, a: int, b: int) -> int:
            """Add."""
            return a + b

    made = tool(Adder(), name="add")
    assert made.is_async
    assert made.description == "Add."
    assert list(made.input_schema["properties"]) == ["a", "b"]


def test_wrapped_functions_keep_their_signature():
    """A decorator that uses functools.wraps does not hide the parameters."""

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    made = tool(logged(lookup))
    assert list(made.input_schema["properties"]) == ["order_id", "depth"]


def test_what_cannot_be_a_tool():
    """Classes, values, tools and generators are refused with E0101 and a fix."""

    def numbers():
        yield 1

    async def more():
        yield 1

    for thing in (Shop, 5, "x", tool(lookup), numbers, more, staticmethod(5)):
        assert refused("E0101", tool, thing, name="x").fix


@pytest.mark.parametrize("kind", ["*args", "**kwargs", "x, /"])
def test_parameters_without_names_are_refused(kind):
    """E0101: *args, **kwargs and positional-only parameters, with file and line."""
    functions = {
        "*args": lambda *args: args,
        "**kwargs": lambda **kwargs: kwargs,
        "x, /": lambda x, /: x,
    }
    error = refused("E0101", tool, functions[kind], name="t")
    assert "test_tools.py:" in error.where
    assert "dict[str, Any]" in error.fix


def test_builtin_functions():
    """A function without source has no place, and without a signature it is refused."""
    assert refused("E0101", tool, len).where == "tool 'len'"
    assert "signature" in refused("E0101", tool, max).what


def test_a_context_manager_function_is_no_generator():
    """What is called counts, not what it wraps."""

    @contextlib.contextmanager
    def opened(x: int):
        yield x

    assert tool(opened).name == "opened"


def test_the_error_is_a_value_error_too():
    """Definition errors are ValueErrors, as in the programs that people have."""
    assert issubclass(DefinitionError, ValueError)
