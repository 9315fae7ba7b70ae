"""JSON Schema checks of tool arguments and answers. Pure: no schema is ever fetched.

E8: a value that cannot be checked (a schema with a reference to nowhere, a number out of all bounds) does not fit.
The model is told so as of any other problem; it is no fault of the engine.

Validators are kept by the identity of the schema object: plans are cached by hash, so each schema of a running
agent is compiled once.
"""

import re
from collections.abc import Collection
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType
from referencing import Registry
from referencing.exceptions import Unresolvable

from perdure.core.fences import FENCE, behind_fence

_LIMIT = 256
_cache: dict[int, tuple[dict[str, Any], Draft202012Validator]] = {}
_NO_REMOTE: Registry[Any] = Registry()
_MAX_PROBLEMS = 10
# Keywords that look at the type, the size and the names of a value, and not at the values in it.
_ABOUT_THE_OUTSIDE = frozenset({
    "type", "required", "additionalProperties", "minProperties", "maxProperties", "minItems", "maxItems",
    "propertyNames", "dependentRequired",
})  # fmt: skip
_ENCODER = msgspec.json.Encoder()
# What the checker raises when a schema or a value is beyond it.
_UNCHECKABLE = (Unresolvable, UnknownType, re.error, ArithmeticError, TypeError, ValueError, RecursionError)


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    entry = _cache.get(id(schema))
    if entry is None or entry[0] is not schema:
        if len(_cache) >= _LIMIT:
            _cache.clear()
        entry = _cache[id(schema)] = (schema, Draft202012Validator(schema, registry=_NO_REMOTE))
    return entry[1]


def problems(
    schema: dict[str, Any], value: Any, unknown: Collection[tuple[str | int, ...]] = ()
) -> tuple[str, ...]:
    """What is wrong with *value*, one sentence each; empty when it fits. At most ten.

    Args:
        schema: a JSON Schema; an empty one fits everything.
        value: the JSON value.
        unknown: places in *value* whose values are not known yet: what depends on them is not judged.
    """
    if not schema:
        return ()
    found: list[str] = []
    try:
        for error in _validator(schema).iter_errors(value):
            if unknown and _depends(tuple(error.absolute_path), str(error.validator), unknown):
                continue
            where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
            found.append(f"{where.lstrip('.')}: {error.message}"[:500] if where else error.message[:500])
            if len(found) >= _MAX_PROBLEMS:
                break
    except _UNCHECKABLE as error:
        found.append(f"it cannot be checked against its schema ({type(error).__name__}: {error})"[:500])
    return tuple(found)


def _depends(path: tuple[str | int, ...], keyword: str, unknown: Collection[tuple[str | int, ...]]) -> bool:
    """Whether an error at *path* may come from one of the unknown values: from one above or one below it."""
    return any(
        path[: len(place)] == place or (place[: len(path)] == path and keyword not in _ABOUT_THE_OUTSIDE)
        for place in unknown
    )


def is_schema(value: Any) -> bool:
    """Whether *value* is a JSON Schema, and not just an object: only one that is can be held to."""
    if not isinstance(value, dict):
        return False
    try:
        Draft202012Validator.check_schema(value)
    except (SchemaError, *_UNCHECKABLE):
        return False
    return True


def not_storable(value: Any) -> str | None:
    """Why *value* cannot be written to the journal as JSON: lone surrogates, numbers or nesting out of bounds."""
    try:
        _ENCODER.encode(value)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None


def parse_answer(text: str) -> tuple[Any, str | None]:
    """The JSON value of a model's text, with or without a code fence, and what is wrong when there is none."""
    body = text.strip()
    if body.startswith(FENCE) and body.endswith(FENCE):
        body = behind_fence(body.removesuffix(FENCE)).strip()
    if not body:
        return None, "the answer is empty"
    try:
        return msgspec.json.decode(body), None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return None, f"the answer is not JSON: {error}"
