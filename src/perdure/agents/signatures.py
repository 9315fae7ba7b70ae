"""What a tool's function takes: its parameters with their types, whatever way they were annotated.

Annotations may be texts (`from __future__ import annotations`) and may name types that exist only where the
function was made. They are resolved with the function's globals, the variables it closes over, and the local
variables of the places that surround the decorator, the nearest first.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Optional

from perdure.agents.context import ToolContext
from perdure.agents.hints import describe
from perdure.core.errors import DefinitionError

Function = Callable[..., Any]
MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """A parameter that the model fills in. `default` is `MISSING` for a required one."""

    name: str
    hint: Any
    default: Any


@dataclass(frozen=True)
class Signature:
    """What a function takes.

    Attributes:
        parameters: those that the model fills in.
        context: the name of the parameter that gets the `ToolContext`, if there is one.
        is_unbound: the function stands in a class and still needs its `self`.
        namespace: names that its annotations may use.
    """

    parameters: tuple[Parameter, ...]
    context: str | None
    is_unbound: bool
    namespace: Mapping[str, Any]


def place_of(function: Any) -> str:
    """Where the function is written, as `file:line`; empty when it has no source."""
    code = getattr(innermost(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


def innermost(function: Any) -> Any:
    """The function inside of wrappers, partials, bound methods and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function) or inspect.isclass(function):
            return function
        else:
            function = type(function).__call__


def visible_locals(frame: types.FrameType | None) -> dict[str, Any]:
    """The local variables of a frame and of those around it in the same module, the nearest winning."""
    found: dict[str, Any] = {}
    module = frame.f_globals if frame else None
    while frame is not None and frame.f_globals is module and frame.f_code.co_name != "<module>":
        found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found


def read_signature(function: Function, where: str, local_names: Mapping[str, Any]) -> Signature:
    """The parameters of a tool's function.

    Raises:
        DefinitionError: E0101 a parameter that JSON cannot fill in; E0105 a hint that cannot be resolved.
    """
    inner = innermost(function)
    namespace = {**getattr(inner, "__globals__", {}), **local_names, **_closure_of(inner)}
    parameters: list[Parameter] = []
    context: str | None = None
    is_unbound = _is_unbound(function)
    given = function.keywords if isinstance(function, functools.partial) else {}
    for position, raw in enumerate(_raw_parameters(function, where)):
        if raw.name in given or (is_unbound and position == 0):
            continue
        _check_kind(raw, where)
        hint = _resolve(raw, namespace, where)
        if hint is ToolContext or (raw.name == "context" and hint is MISSING):
            if context is not None:
                raise DefinitionError(
                    "E0101",
                    "Two parameters of the tool take the context",
                    where=where,
                    fix="Keep one of them.",
                )
            context = raw.name
            continue
        parameters.append(_parameter(raw, hint))
    return Signature(tuple(parameters), context, is_unbound, namespace)


def _raw_parameters(function: Function, where: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError) as error:
        raise DefinitionError(
            "E0101",
            "A tool needs a signature",
            where=where,
            why=str(error),
            fix="Write a function of your own that calls it.",
        ) from error


def _is_unbound(function: Any) -> bool:
    """Whether this is a method that was decorated inside of its class."""
    if not inspect.isfunction(function):
        return False
    first = next(iter(inspect.signature(function).parameters), None)
    around = function.__qualname__.rpartition(".")[0]
    return first in {"self", "cls"} and bool(around) and not around.endswith("<locals>")


def _closure_of(function: Any) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    found = {}
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # the variable is not set yet
            continue
    return found


def _check_kind(raw: inspect.Parameter, where: str) -> None:
    kinds = {
        inspect.Parameter.VAR_POSITIONAL: f"*{raw.name}",
        inspect.Parameter.VAR_KEYWORD: f"**{raw.name}",
        inspect.Parameter.POSITIONAL_ONLY: f"the positional-only parameter {raw.name!r}",
    }
    if raw.kind in kinds:
        raise DefinitionError(
            "E0101",
            f"A tool cannot have {kinds[raw.kind]}",
            where=where,
            why="A model gives arguments by name, and must be told all the names.",
            fix="Write out the parameters; for a free object, take one parameter of type dict[str, Any].",
        )


def _resolve(raw: inspect.Parameter, namespace: Mapping[str, Any], where: str) -> Any:
    if raw.annotation is MISSING:
        return MISSING
    holder = types.SimpleNamespace(__annotations__={raw.name: raw.annotation})
    try:
        hint = typing.get_type_hints(holder, dict(namespace), include_extras=True)[raw.name]
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise DefinitionError(
            "E0105",
            f"The type {describe(raw.annotation)} of the parameter {raw.name!r} cannot be resolved",
            where=where,
            why=str(error),
            fix="Define or import it where the annotation can see it, not under `if TYPE_CHECKING:`.",
        ) from error
    return ToolContext if _is_context(hint) else hint


def _is_context(hint: Any) -> bool:
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return any(_is_context(argument) for argument in typing.get_args(hint))
    return isinstance(hint, type) and issubclass(hint, ToolContext)


def _parameter(raw: inspect.Parameter, hint: Any) -> Parameter:
    if hint is MISSING:
        hint = Any
    elif raw.default is None and typing.get_origin(hint) is Annotated:
        hint = Annotated[Optional[typing.get_args(hint)[0]], *hint.__metadata__]  # noqa: UP045 - a value
    elif raw.default is None:
        hint = Optional[hint]  # noqa: UP045 - a value
    return Parameter(raw.name, hint, raw.default)


def read_hints(function: Any) -> list[tuple[inspect.Parameter, Any]]:
    """The parameters of a function that JSON does not fill in, with their types as far as they can be known.

    A hint is `ToolContext` for a parameter that takes the context, `MISSING` for one without a hint or with one that
    cannot be resolved here. A function without a signature (some of C) counts as one with one parameter.
    """
    inner = innermost(function)
    namespace = {**getattr(inner, "__globals__", {}), **_closure_of(inner)}
    try:
        raw_parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return [(inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY), MISSING)]
    return [(raw, _lenient(raw, namespace)) for raw in raw_parameters]


def _lenient(raw: inspect.Parameter, namespace: Mapping[str, Any]) -> Any:
    try:
        hint = _resolve(raw, namespace, "")
    except DefinitionError:
        # A text that names the type, where the name is imported for type checkers alone.
        hint = ToolContext if "ToolContext" in str(raw.annotation) else MISSING
    return ToolContext if hint is MISSING and raw.name == "context" else hint
