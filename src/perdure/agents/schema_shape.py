"""JSON Schemas in the shape that models read best: no generated titles, no `$defs` where they can be avoided.

`subschemas` knows where a schema holds other schemas, so that a property called `title` or a default that looks
like a schema is never mistaken for one.
"""

from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]
PathPart = str | int

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = (
    "items",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
)
_NOISE = ("title", "discriminator")  # `discriminator` is OpenAPI's and points into `$defs`
_PREFIX = "#/$defs/"
_MAX_INLINED = 2_000  # schemas; more than that is longer than its `$defs` were


def subschemas(schema: Schema) -> Iterator[tuple[tuple[PathPart, ...], Any]]:
    """The schemas that stand directly in *schema*, each with its path from here."""
    for word in _MAPS:
        inner = schema.get(word)
        if isinstance(inner, dict):
            yield from (((word, name), sub) for name, sub in inner.items())
    for word in _LISTS:
        inner = schema.get(word)
        if isinstance(inner, list):
            yield from (((word, index), sub) for index, sub in enumerate(inner))
    for word in _SINGLES:
        if word in schema:
            yield (word,), schema[word]


def tidy(schema: Schema) -> Schema:
    """The same schema without noise: titles gone, and every definition that is not recursive put in its place."""
    bare: Schema = _without_noise(schema)
    definitions = bare.get("$defs", {})
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    try:
        inliner = _Inliner(definitions, recursive)
        inlined: Schema = inliner.inline({k: v for k, v in bare.items() if k != "$defs"})
        kept = {name: inliner.inline(definitions[name]) for name in sorted(recursive)}
    except _TooLargeError:
        return bare
    return inlined | {"$defs": kept} if kept else inlined


def _map_subschemas(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """A copy with *change* made to every schema that stands directly in it."""
    copy = dict(schema)
    for path, sub in subschemas(schema):
        if len(path) == 1:
            copy[str(path[0])] = change(sub)
            continue
        word, place = str(path[0]), path[1]
        if copy[word] is schema[word]:
            copy[word] = schema[word].copy()
        copy[word][place] = change(sub)
    return copy


def _without_noise(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return _map_subschemas({k: v for k, v in schema.items() if k not in _NOISE}, _without_noise)


def _references(schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref.startswith(_PREFIX):
        yield ref.removeprefix(_PREFIX)
    for _, sub in subschemas(schema):
        yield from _references(sub)


def _reaches(start: str, goal: str, definitions: dict[str, Any]) -> bool:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in _references(definitions.get(todo.pop())):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


class _TooLargeError(Exception):
    """Inlining would repeat shared definitions too often."""


class _Inliner:
    """Puts definitions in the place of references, as long as the whole stays small."""

    def __init__(self, definitions: dict[str, Any], recursive: set[str]) -> None:
        self._definitions = definitions
        self._recursive = recursive
        self._count = 0

    def inline(self, schema: Any) -> Any:
        """The schema with its references replaced."""
        self._count += 1
        if self._count > _MAX_INLINED:
            raise _TooLargeError
        if not isinstance(schema, dict):
            return schema
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref.startswith(_PREFIX):
            name = ref.removeprefix(_PREFIX)
            if name in self._definitions and name not in self._recursive:
                beside = {k: v for k, v in schema.items() if k != "$ref"}
                # What stands beside a reference is said about this use, so it wins over the definition's own.
                return self.inline({**self._definitions[name], **beside})
        return _map_subschemas(schema, self.inline)
