"""Tools: functions of the user's that an agent may call.

`@tool` reads a function once, when it is decorated: its parameters become the JSON Schema that the model sees, its
docstring the description. Whatever is wrong with it is said there and then, with the file and line. The function
stays what it was: calling the `ToolDef` calls it, so it can be tested like any other.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from perdure.agents.checks import (
    MAX_COUNT,
    MAX_RETRIES,
    MAX_SECONDS,
    check_choice,
    check_name,
    check_number,
    invalid_option,
)
from perdure.agents.context import ToolContext
from perdure.agents.docstrings import parse_docstring
from perdure.agents.guardrails import Guardrail, checked_guardrails
from perdure.agents.schema import Parameters, bind_arguments, read_parameters
from perdure.agents.schema_shape import Schema
from perdure.agents.signatures import innermost, place_of, visible_locals
from perdure.agents.values import check_text, to_json_value
from perdure.core.definition import Backoff, OnUnknown
from perdure.core.errors import DefinitionError, PerdureError, ToolError

P = ParamSpec("P")
R = TypeVar("R")

RetryPolicyName = Literal["fixed", "linear_backoff", "exponential_backoff"]
BACKOFFS: dict[str, Backoff] = {
    "fixed": "fixed",
    "linear_backoff": "linear",
    "exponential_backoff": "exponential",
}
_ON_UNKNOWN: tuple[OnUnknown, ...] = ("retry", "ask", "fail")
ToolKind = Literal["worker", "agent", "human", "message"]


@dataclass(frozen=True)
class PrefillToolCall:
    """A call that is made before the model is first asked; made by `ToolDef.call`.

    Attributes:
        tool_name: the tool, which the agent must have.
        arguments: JSON.
    """

    tool_name: str
    arguments: dict[str, Any]


class ToolDef(Generic[P, R]):
    """A tool: a function with what the model and the engine must know of it. Made by `@tool`.

    Attributes:
        name: what the model calls it.
        description: what it does, from the docstring.
        input_schema: JSON Schema of its arguments.
        func: the function; None when it is served by a worker elsewhere (`external=True`).
        parameters: how JSON arguments become the function's; None without a function.
        approval_required: a person must agree to each call.
        timeout_seconds: limit of one attempt; None: no limit.
        max_calls: calls allowed in one execution; None: no limit.
        retry_count: how often a failed call is tried again.
        retry_delay_seconds: the wait before the first retry.
        retry_policy: how the wait grows.
        on_unknown: what happens when a worker died in mid-call: `retry` with the same idempotency key, `ask` a
            person, or `fail`.
        kind: `worker`: a function; `agent`, `human` and `message`: see `agent_tool`, `human_tool`,
            `wait_for_message_tool`.
        guardrails: checks on its arguments (position input) and its result (output).
        output_schema: JSON Schema of the result, where one is known.
        agent: of the kind `agent`: the agent that is called.
        batch_size: of the kind `message`: how many messages are taken at most.
        blocking: of the kind `message`: whether to wait for one.
        where: the tool and its place in the source, for errors.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        input_schema: Schema | None = None,
        func: Callable[P, R] | None = None,
        *,
        parameters: Parameters | None = None,
        approval_required: bool = False,
        timeout_seconds: float | None = None,
        max_calls: int | None = None,
        retry_count: int = 2,
        retry_delay_seconds: float = 2,
        retry_policy: str = "linear_backoff",
        on_unknown: OnUnknown = "retry",
        kind: ToolKind = "worker",
        guardrails: Sequence[Guardrail] | None = None,
        output_schema: Schema | None = None,
        agent: Any = None,
        batch_size: int = 1,
        blocking: bool = True,
        where: str = "",
    ) -> None:
        self.name = name
        self.description = description
        self.input_schema: Schema = input_schema or {"type": "object", "properties": {}}
        self.func = func
        self.parameters = parameters
        self.approval_required = approval_required
        self.timeout_seconds = timeout_seconds
        self.max_calls = max_calls
        self.retry_count = retry_count
        self.retry_delay_seconds = retry_delay_seconds
        self.retry_policy = str(retry_policy).lower()
        self.on_unknown: OnUnknown = on_unknown
        self.where = where or f"tool {name!r}"
        self.kind: ToolKind = kind
        self.guardrails = checked_guardrails(guardrails, self.where)
        self.output_schema = output_schema
        self.agent = agent
        self.batch_size = batch_size
        self.blocking = blocking
        self._check()
        if func is not None:
            functools.update_wrapper(cast("Any", self), func, updated=())

    def _check(self) -> None:
        check_name(self.name, "tool", self.where)
        check_text(self.description, self.where)
        if self.timeout_seconds is not None:
            check_number(
                "timeout_seconds", self.timeout_seconds, 0.001, MAX_SECONDS, whole=False, where=self.where
            )
        if self.max_calls is not None:
            check_number("max_calls", self.max_calls, 1, MAX_COUNT, where=self.where)
        check_number("retry_count", self.retry_count, 0, MAX_RETRIES, where=self.where)
        check_number(
            "retry_delay_seconds", self.retry_delay_seconds, 0, MAX_SECONDS, whole=False, where=self.where
        )
        check_choice("retry_policy", self.retry_policy, tuple(BACKOFFS), self.where)
        check_choice("on_unknown", self.on_unknown, _ON_UNKNOWN, self.where)
        check_number("batch_size", self.batch_size, 1, MAX_COUNT, where=self.where)
        if not isinstance(self.approval_required, bool):
            raise invalid_option("approval_required", self.approval_required, "True or False", self.where)

    @property
    def external(self) -> bool:
        """Whether the function is served by a worker elsewhere."""
        return self.func is None and self.kind == "worker"

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function. A plain one may still return something to await."""
        return self.func is not None and inspect.iscoroutinefunction(_callee(self.func))

    @property
    def is_unbound(self) -> bool:
        """Whether this is a method of a class, still without its object."""
        return self.parameters is not None and self.parameters.is_unbound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, as if it had never been decorated.

        Raises:
            ToolError: E0309 the function is served by a worker elsewhere.
        """
        if self.func is None:
            raise ToolError(
                "E0309", f"The function of the tool {self.name!r} is not in this process", where=self.where
            )
        return self.func(*args, **kwargs)

    def call(self, **arguments: Any) -> PrefillToolCall:
        """A call that an agent makes before its model is first asked: `Agent(prefill_tools=[now.call(zone="UTC")])`.

        Raises:
            DefinitionError: E0101 the arguments do not fit.
        """
        properties = self.input_schema.get("properties", {})
        missing = [n for n in self.input_schema.get("required", ()) if n not in arguments]
        unknown = [n for n in arguments if n not in properties]
        try:
            plain = to_json_value(arguments, self.where, root="arguments")
            if self.parameters is not None:
                bind_arguments(self, plain, ToolContext())
            elif missing or unknown:
                raise ToolError(
                    "E0305",
                    f"The arguments do not fit the tool {self.name!r}",
                    why=f"missing: {missing}, unknown: {unknown}",
                )
        except PerdureError as error:
            raise DefinitionError("E0101", error.what, where=self.where, why=error.why) from error
        return PrefillToolCall(self.name, plain)

    def __get__(self, instance: object, owner: type | None = None) -> "ToolDef[..., R]":
        """The tool of one object, when it was made of a method: `Agent(tools=[shop.lookup])`."""
        if instance is None or self.func is None or not self.is_unbound:
            return self
        return self._bound(self.func.__get__(instance, owner))

    def _bound(self, method: Callable[..., R]) -> "ToolDef[..., R]":
        bound: ToolDef[..., R] = ToolDef.__new__(ToolDef)
        bound.__dict__.update(self.__dict__)
        bound.func = method
        parameters = cast("Parameters", self.parameters)
        bound.parameters = Parameters(parameters.schema, parameters.context, False, parameters.adapter)
        return bound

    def __repr__(self) -> str:
        flags = "".join(f", {flag}=True" for flag in ("approval_required", "external") if getattr(self, flag))
        return f"ToolDef({self.name!r}{flags})"


@overload
def tool(
    func: Callable[P, R],
    /,
    *,
    name: str | None = ...,
    approval_required: bool = ...,
    timeout_seconds: float | None = ...,
    max_calls: int | None = ...,
    retry_count: int = ...,
    retry_delay_seconds: float = ...,
    retry_policy: RetryPolicyName = ...,
    external: bool = ...,
    on_unknown: OnUnknown = ...,
    guardrails: Sequence[Guardrail] | None = ...,
) -> ToolDef[P, R]: ...


@overload
def tool(
    func: None = None,
    /,
    *,
    name: str | None = ...,
    approval_required: bool = ...,
    timeout_seconds: float | None = ...,
    max_calls: int | None = ...,
    retry_count: int = ...,
    retry_delay_seconds: float = ...,
    retry_policy: RetryPolicyName = ...,
    external: bool = ...,
    on_unknown: OnUnknown = ...,
    guardrails: Sequence[Guardrail] | None = ...,
) -> Callable[[Callable[P, R]], ToolDef[P, R]]: ...


def tool(
    func: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    approval_required: bool = False,
    timeout_seconds: float | None = None,
    max_calls: int | None = None,
    retry_count: int = 2,
    retry_delay_seconds: float = 2,
    retry_policy: RetryPolicyName = "linear_backoff",
    external: bool = False,
    on_unknown: OnUnknown = "retry",
    guardrails: Sequence[Guardrail] | None = None,
) -> ToolDef[P, R] | Callable[[Callable[P, R]], ToolDef[P, R]]:
    """Make a tool of a function: `@tool`, `@tool(approval_required=True)` or `tool(shop.lookup)`.

    A call may run more than once: after an error, and after the loss of the worker that ran it. A tool that
    changes something hands `context.idempotency_key` to whatever it changes, or says `on_unknown="ask"`.

    Args:
        func: a function, coroutine function or bound method, whose parameters have type hints. A parameter
            annotated `ToolContext`, or named `context`, gets the `ToolContext` and is not shown to the model.
        name: what the model calls it; the function's own name by default.
        approval_required: a person must agree to each call before it runs.
        timeout_seconds: limit of one attempt; None: no limit.
        max_calls: calls allowed in one execution; None: no limit.
        retry_count: how often a failed call is tried again, before the model is told.
        retry_delay_seconds: the wait before the first retry.
        retry_policy: `fixed`, `linear_backoff` (n times the delay) or `exponential_backoff` (doubled each time).
        external: only the signature is meant; a worker elsewhere has the function.
        on_unknown: when the worker died in mid-call: `retry` (with the same idempotency key; after ten lost attempts
            as `fail`), `ask` a person, or `fail` (the model is told that the outcome is unknown).
        guardrails: checks on the arguments (position input) and the result (output).

    Raises:
        DefinitionError: E0101 parameters that JSON cannot fill in; E0104 the name; E0105 a type without a JSON
            Schema; E0106 an option out of its range.
    """
    options: dict[str, Any] = {
        "approval_required": approval_required,
        "timeout_seconds": timeout_seconds,
        "max_calls": max_calls,
        "retry_count": retry_count,
        "retry_delay_seconds": retry_delay_seconds,
        "retry_policy": retry_policy,
        "on_unknown": on_unknown,
        "guardrails": guardrails,
    }
    if func is not None:
        around = visible_locals(sys._getframe(1))  # noqa: SLF001 - names that annotations may use
        return _tool_of(func, name, external, options, around)

    def decorate(function: Callable[P, R]) -> ToolDef[P, R]:
        around = visible_locals(sys._getframe(1))  # noqa: SLF001 - names that annotations may use
        return _tool_of(function, name, external, options, around)

    return decorate


def _tool_of(
    function: Any,
    name: str | None,
    external: bool,  # noqa: FBT001 - private, and always passed by `tool`
    options: Mapping[str, Any],
    local_names: Mapping[str, Any],
) -> ToolDef[P, R]:
    inner = innermost(function) if callable(function) else function
    given = name if name is not None else getattr(function, "__name__", getattr(inner, "__name__", ""))
    place = place_of(function) if callable(function) else ""
    where = f"tool {given!r} ({place})" if place else f"tool {given!r}"
    _check_function(function, where)
    check_name(given, "tool", where)
    docstring = parse_docstring(inspect.getdoc(function) if inspect.isroutine(function) else inner.__doc__)
    parameters = read_parameters(function, docstring.parameters, where, local_names)
    return ToolDef(
        given,
        docstring.body,
        parameters.schema,
        None if external else function,
        parameters=None if external else parameters,
        where=where,
        **options,
    )


def _check_function(function: Any, where: str) -> None:
    if isinstance(function, ToolDef):
        raise DefinitionError(
            "E0101", "This is a tool already", where=where, fix="Decorate the function once."
        )
    if not callable(function) or inspect.isclass(function):
        raise DefinitionError(
            "E0101",
            f"A {type(function).__name__} cannot be a tool",
            where=where,
            fix="Give a function, a coroutine function or a bound method; @tool stands below @staticmethod.",
        )
    callee = _callee(function)
    if inspect.isgeneratorfunction(callee) or inspect.isasyncgenfunction(callee):
        raise DefinitionError(
            "E0101",
            "A generator cannot be a tool",
            where=where,
            why="A call has one result, which is recorded once.",
            fix="Return a list of what it yields.",
        )


def _callee(function: Any) -> Any:
    """What runs when it is called: the function itself, or the `__call__` of a callable object."""
    is_function = inspect.isroutine(function) or isinstance(function, functools.partial)
    return function if is_function else type(function).__call__
