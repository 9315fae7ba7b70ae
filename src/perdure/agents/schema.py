"""The arguments of a tool: their JSON Schema for the model, and the way from JSON back to Python values.

Both come from one Pydantic adapter for the object of all arguments, so that what the schema promises is what the
function gets. An argument that the model leaves out is not passed, so that the function's own default applies; only a
default written as a Pydantic `Field(...)` comes out of the adapter, because the function's own is the `Field`.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from perdure.agents.context import ToolContext
from perdure.agents.hints import Adapter, adapter_of, portable, problems_of, typed_dict
from perdure.agents.schema_shape import Schema
from perdure.agents.signatures import MISSING, Function, Parameter, read_signature
from perdure.agents.values import to_json_value
from perdure.core.errors import DefinitionError, PerdureError, ToolError


@dataclass(frozen=True)
class Parameters:
    """What a tool's function takes.

    Attributes:
        schema: JSON Schema of type object; no other properties than the parameters.
        context: the name of the parameter that gets the `ToolContext`, if there is one.
        is_unbound: the function is a method that still needs its object.
        adapter: reads the object of all arguments.
    """

    schema: Schema
    context: str | None
    is_unbound: bool
    adapter: Adapter


class TakesArguments(Protocol):
    """A tool, as far as its arguments go. `parameters` is None when its function is in another process."""

    @property
    def name(self) -> str:
        """The tool's name."""

    @property
    def parameters(self) -> Parameters | None:
        """How JSON arguments become the function's."""


def read_parameters(
    function: Function, descriptions: Mapping[str, str], where: str, local_names: Mapping[str, Any]
) -> Parameters:
    """The schema and the reader of a function's parameters.

    Args:
        function: the tool's function.
        descriptions: of the parameters by name; a description in the type hint wins.
        where: the tool and its place, for errors.
        local_names: variables around the function, for annotations that are texts.

    Raises:
        DefinitionError: E0101 a parameter that JSON cannot fill in; E0105 a type without a JSON Schema.
    """
    signature = read_signature(function, where, local_names)
    fields = {p.name: _Field.of(p, descriptions.get(p.name, "")) for p in signature.parameters}
    adapter, schema = _object_adapter(fields, where, signature.namespace)
    properties = schema.setdefault("properties", {})
    for name, field in fields.items():
        if name in properties:  # under its own name, not under an alias
            _describe(properties[name], field, where)
    return Parameters(schema, signature.context, signature.is_unbound, adapter)


def bind_arguments(tool: TakesArguments, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    """The keyword arguments with which to call the tool's function.

    Args:
        tool: the tool.
        arguments: the JSON object that the model, or a person who approved, gave.
        context: goes to the parameter that takes the context, if there is one.

    Raises:
        ToolError: E0305 the arguments do not fit; `fields["problems"]` has a pair of parameter and problem for
            each. E0309 the tool's function is in another process.
    """
    parameters = tool.parameters
    if parameters is None:
        raise ToolError(
            "E0309", f"The function of the tool {tool.name!r} is not in this process", where=tool.name
        )
    try:
        bound = dict(parameters.adapter.validate_python(arguments))
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise _invalid(tool.name, problems_of(error)) from error
    if parameters.context is not None:
        bound[parameters.context] = context
    return bound


def _invalid(tool: str, problems: list[tuple[str, str]]) -> ToolError:
    listed = [f"{path}: {problem}" if path else problem for path, problem in problems]
    return ToolError(
        "E0305",
        f"The arguments do not fit the tool {tool!r}",
        where=f"tool {tool!r}",
        why="; ".join(listed),
        fix="Call it again with arguments that fit its schema.",
        problems=[{"parameter": path, "problem": problem} for path, problem in problems],
    )


@dataclass(frozen=True)
class _Field:
    """A parameter on its way into the adapter. `default` is `MISSING` when there is none for the schema to show."""

    hint: Any
    description: str
    is_required: bool
    default: Any = MISSING

    @classmethod
    def of(cls, parameter: Parameter, described: str) -> "_Field":
        """The field of a parameter, described by its hint or else by the docstring."""
        description = _text_in(parameter.hint) or described
        hint, default = parameter.hint, parameter.default
        if default is MISSING:
            return cls(hint, description, is_required=True)
        if _is_pydantic_field(default):
            return cls(Annotated[hint, default], description, is_required=default.is_required())
        return cls(hint, description, is_required=False, default=default)


def _text_in(hint: Any) -> str:
    """The description of `Annotated[int, "how many"]`."""
    if typing.get_origin(hint) is not Annotated:
        return ""
    return next((item for item in hint.__metadata__ if isinstance(item, str)), "")


def _is_pydantic_field(value: Any) -> bool:
    """Whether a default was written as `Field(...)`; told by name, because Pydantic may not be imported."""
    kind = type(value)
    return kind.__name__ == "FieldInfo" and kind.__module__ == "pydantic.fields"


def _object_adapter(
    fields: Mapping[str, _Field], where: str, namespace: Mapping[str, Any]
) -> tuple[Adapter, Schema]:
    def of(some: Mapping[str, _Field], subject: str) -> tuple[Adapter, Schema]:
        keys = {
            name: typing.Required[field.hint] if field.is_required else typing.NotRequired[field.hint]
            for name, field in some.items()
        }
        shape = typed_dict("Arguments", keys)
        shape.__pydantic_config__ = {"extra": "forbid"}
        return adapter_of(shape, subject, where, namespace)

    try:
        return of({name: replace(f, hint=portable(f.hint)) for name, f in fields.items()}, "The tool")
    except (DefinitionError, NameError, TypeError):
        for name, field in fields.items():
            # Alone, to say which one it is, and with its own hint, to show what was written.
            adapter_of(field.hint, f"The parameter {name!r}", where, namespace)
        raise  # pragma: no cover - each alone is fine, only all together are not: no such case is known


def _describe(schema: Schema, field: _Field, where: str) -> None:
    if field.description and "description" not in schema:
        schema["description"] = field.description
    if field.default is not MISSING and field.default is not None and "default" not in schema:
        try:
            schema["default"] = to_json_value(field.default, where, root="default")
        except PerdureError:
            return  # a default that only Python can hold; the function still has it
