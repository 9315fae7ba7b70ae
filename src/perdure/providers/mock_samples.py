"""Arguments made from a JSON Schema: what the mock model calls tools with when nobody said.

The smallest honest value: required properties only, the first of an enumeration, the default when there is one,
the lower bound of a number. The result is the same every time.
"""

from typing import Any

MAX_DEPTH = 8

_STRINGS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00",
    "email": "someone@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: dict[str, Any]) -> dict[str, Any]:
    """An object that fits *schema*, a JSON Schema of type object."""
    value = _value(schema, schema, "", 0)
    return value if isinstance(value, dict) else {}


def _value(schema: Any, root: dict[str, Any], name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    if "$ref" in schema:
        return _value(_target(root, str(schema["$ref"])), root, name, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _value(schema[key][0], root, name, depth + 1)
    return _of_type(schema, root, name, depth)


def _of_type(schema: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {k: _value(properties.get(k), root, k, depth + 1) for k in schema.get("required", ())}
        case "array":
            return [
                _value(schema.get("items"), root, name, depth + 1) for _ in range(schema.get("minItems", 0))
            ]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = _STRINGS.get(schema.get("format", ""), name or "text")
            return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _target(root: dict[str, Any], ref: str) -> Any:
    """What a reference inside the same document points to."""
    found: Any = root
    for key in ref.removeprefix("#/").split("/"):
        found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
