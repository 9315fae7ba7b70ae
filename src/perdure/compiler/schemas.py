"""JSON Schemas from outside: valid, finite and closed, before anything is validated with them.

* valid: a schema of draft 2020-12 whose patterns compile;
* closed: every reference points into the schema itself, to something that is there; nothing is ever fetched;
* finite: no reference leads back to itself before some part of the value is consumed, which would never end;
  and the nesting is small enough for validators, which are recursive.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from perdure.agents.schema_shape import Schema, subschemas
from perdure.core.errors import DefinitionError

MAX_SCHEMA_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 64
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Applied to the same value as the schema that they stand in: going through them consumes nothing.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})


def check_schema(schema: Schema, where: str) -> None:
    """Refuse a schema that cannot be used to validate.

    Raises:
        DefinitionError: E0101, with the reason.
    """
    _check_depth(schema, where)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        raise _invalid(f"The schema is not valid: {error.message:.300}", f"{where}{path}") from error
    except (OverflowError, RecursionError) as error:  # a pattern with a count or a nesting beyond all limits
        raise _invalid(f"The schema is not valid: {error}", where) from error
    _Walk(schema, where).check()


def check_object_schema(schema: Schema, where: str) -> None:
    """As `check_schema`, and the schema must be of type object.

    Raises:
        DefinitionError: E0101, with the reason.
    """
    if schema.get("type") != "object":
        raise _invalid("The schema of a tool's arguments must have the type object", f"{where}.type")
    check_schema(schema, where)


def _check_depth(schema: Schema, where: str) -> None:
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below
    if level:
        raise _invalid(f"The schema is nested over {MAX_SCHEMA_DEPTH} levels", where)


def _invalid(what: str, where: str) -> DefinitionError:
    return DefinitionError(
        "E0101", what, where=where, fix="Give a JSON Schema of draft 2020-12 that stands alone."
    )


class _Walk:
    """One schema with all the schemas inside of it."""

    def __init__(self, schema: Schema, where: str) -> None:
        self._root = schema
        self._where = where
        self._nodes: dict[int, Schema] = {}
        self._anchors: dict[str, Schema] = {}
        for node in _nodes(schema):
            self._nodes[id(node)] = node
            for word in ("$anchor", "$dynamicAnchor"):
                if word in node:
                    self._anchors[node[word]] = node

    def check(self) -> None:
        """Check references and identifiers, then that every chain of references ends."""
        steps: dict[int, list[int]] = {}
        for key, node in self._nodes.items():
            if "$id" in node and node is not self._root:
                raise _invalid(
                    "An $id inside of a schema is not supported", f"{self._where}, $id {node['$id']!r:.80}"
                )
            same_value = [self._target(node[word]) for word in _REFERENCES if word in node]
            same_value += [sub for path, sub in subschemas(node) if path[0] in _IN_PLACE]
            steps[key] = [id(sub) for sub in same_value if isinstance(sub, dict)]
        self._check_finite(steps)

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise _invalid(
                f"The reference {reference!r:.200} leads out of the schema; schemas are never fetched",
                self._where,
            )
        target = self._pointed(unquote(reference[1:]))
        if not isinstance(target, bool) and id(target) not in self._nodes:
            raise _invalid(f"The reference {reference!r:.200} leads to no schema", self._where)
        return target

    def _pointed(self, fragment: str) -> Any:
        if not fragment:
            return self._root
        if not fragment.startswith("/"):
            return self._anchors.get(fragment)
        found: Any = self._root
        for raw in fragment[1:].split("/"):
            part = raw.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = found.get(part)
            elif isinstance(found, list) and part.isascii() and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found

    def _check_finite(self, steps: dict[int, list[int]]) -> None:
        """Topological order over the steps that consume nothing: what cannot be ordered goes round in circles."""
        incoming = dict.fromkeys(steps, 0)
        for targets in steps.values():
            for target in targets:
                incoming[target] += 1
        ready = [key for key, count in incoming.items() if count == 0]
        ordered = 0
        while ready:
            ordered += 1
            for target in steps[ready.pop()]:
                incoming[target] -= 1
                if incoming[target] == 0:
                    ready.append(target)
        if ordered < len(steps):
            raise _invalid("A reference of the schema leads back to itself and would never end", self._where)


def _nodes(schema: Schema) -> Iterator[Schema]:
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(sub for _, sub in subschemas(node))
