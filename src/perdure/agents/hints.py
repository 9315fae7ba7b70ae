"""Type hints: what a Python type is as JSON Schema, and JSON read back as that type. Pydantic does both.

Pydantic is imported when the first tool or output type is made, not with this module: it takes longer to import
than all of the SDK.
"""

import functools
import operator
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Protocol

from perdure.agents.schema_shape import Schema, tidy
from perdure.core.errors import DefinitionError


class Adapter(Protocol):
    """What is used of a `pydantic.TypeAdapter`."""

    def validate_python(self, value: Any, /) -> Any:
        """The Python value of a JSON value."""

    def json_schema(self, *, schema_generator: Any) -> dict[str, Any]:
        """The type's JSON Schema, as Pydantic writes it."""


def describe(hint: Any) -> str:
    """A type as its author wrote it, nearly: `int`, `list[Order]`, `app.Order | None`."""
    if type(hint) is types.GenericAlias or not isinstance(hint, type):
        return str(hint).removeprefix("typing.")
    return hint.__qualname__


def unsupported(subject: str, hint: Any, where: str, why: str, fix: str = "") -> DefinitionError:
    """The error E0105: *subject* has a type hint without a JSON Schema."""
    return DefinitionError(
        "E0105",
        f"{subject} has the type {describe(hint)}, which has no JSON Schema",
        where=where,
        why=why,
        fix=fix or "Use plain types, Literal, Enum, a dataclass, a TypedDict or a Pydantic model.",
    )


def adapter_of(
    hint: Any, subject: str, where: str, namespace: Mapping[str, Any] | None = None
) -> tuple[Adapter, Schema]:
    """What reads JSON as this type, and the type's JSON Schema.

    Args:
        hint: any type hint.
        subject: what has this type, for the error: `The parameter 'order'`.
        where: the place, for the error.
        namespace: names for annotations that are texts inside of the type.

    Raises:
        DefinitionError: E0105 the type has no JSON Schema, or a name in it cannot be resolved.
    """
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(portable(hint))
        adapter.rebuild(raise_errors=True, _types_namespace=namespace)
        schema = tidy(adapter.json_schema(schema_generator=_schema_generator()))
    except PydanticUndefinedAnnotation as error:
        raise unsupported(
            subject, hint, where, f"The name {error.name!r} in it is not defined.", _NAME_FIX
        ) from error
    except PydanticUserError as error:
        raise unsupported(subject, hint, where, str(error.message).partition("\n")[0]) from error
    except (TypeError, ValueError, NameError, AttributeError, RecursionError) as error:
        raise unsupported(subject, hint, where, f"{type(error).__name__}: {error}") from error
    return adapter, schema


_NAME_FIX = "Define or import it where the annotation can see it, not under `if TYPE_CHECKING:`."


def problems_of(error: Exception) -> list[tuple[str, str]]:
    """What a `pydantic.ValidationError` found: pairs of path and sentence, the path empty for the whole value."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return [("", f"{type(error).__name__}: {error}")]
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
        found.append((path.lstrip("."), item["msg"]))
    return found


@functools.cache
def _schema_generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """Leaves out defaults that JSON cannot hold without a warning: the function's own default applies."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - Pydantic's name

    return Quiet


def typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """A TypedDict that Pydantic takes in every version of Python; *fields* say `Required` or `NotRequired`."""
    import typing_extensions

    make: Any = typing_extensions.TypedDict
    return make(name, fields)


def portable(hint: Any) -> Any:
    """The hint with each `typing.TypedDict` made anew from `typing_extensions`, which Pydantic needs before 3.12."""
    return hint if sys.version_info >= (3, 12) else _portable(hint, ())


def _portable(hint: Any, inside: tuple[Any, ...]) -> Any:
    if typing.is_typeddict(hint) and type(hint).__module__ == "typing":
        return _portable_typed_dict(hint, inside)
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return hint
    changed = tuple(_portable(argument, inside) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return hint
    if origin is typing.Annotated:
        return typing.Annotated[changed[0], *hint.__metadata__]
    if origin in {typing.Union, types.UnionType}:
        return functools.reduce(operator.or_, changed)
    return hint.copy_with(changed) if hasattr(hint, "copy_with") else origin[changed]


def _portable_typed_dict(hint: Any, inside: tuple[Any, ...]) -> Any:
    if hint in inside:
        raise TypeError(f"{hint.__name__} is recursive; take TypedDict from typing_extensions for that")
    fields: dict[str, Any] = {}
    for name, field in typing.get_type_hints(hint, include_extras=True).items():
        qualifier = typing.get_origin(field)
        required = name in hint.__required_keys__
        inner = field
        if qualifier in {typing.Required, typing.NotRequired}:
            # With postponed annotations `__required_keys__` does not know of the qualifier; the hint does.
            required = qualifier is typing.Required
            inner = typing.get_args(field)[0]
        inner = _portable(inner, (*inside, hint))
        fields[name] = typing.Required[inner] if required else typing.NotRequired[inner]
    made = typed_dict(hint.__name__, fields)
    made.__doc__ = hint.__doc__
    made.__module__ = hint.__module__
    return made
