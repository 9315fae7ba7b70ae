"""The OpenAPI 3.1 document, made from the table of routes and the wire types.

`python -m perdure.server.openapi` writes it to standard output; `docs/openapi.json` is that output, and a test
fails when it is not.
"""

import functools
import re
import sys
from typing import Any

import msgspec

from perdure.core.errors import CODES
from perdure.server.answers import VERSION
from perdure.server.routing import RouteSpec
from perdure.server.table import ROUTES
from perdure.wire import DEFAULT_PORT, WIRE_VERSION
from perdure.wire.types import DeltaRecord, ErrorAnswer, EventRecord

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")


def document() -> dict[str, Any]:
    """The whole document as data."""
    types: set[Any] = {ErrorAnswer, EventRecord, DeltaRecord}
    for spec in ROUTES:
        types |= {t for t in (spec.body, spec.answer) if t is not None and not isinstance(t, str)}
    ordered = sorted(types, key=lambda t: str(t.__name__))
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, Any] = {}
    for spec in ROUTES:
        paths.setdefault(spec.path, {})[spec.method.lower()] = _operation(spec)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perdure",
            "version": VERSION,
            "description": f"Wire protocol version {WIRE_VERSION}. Times are milliseconds since the epoch.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": f"http://127.0.0.1:{DEFAULT_PORT}"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(components.items())),
        },
    }


@functools.cache
def encode_document() -> bytes:
    """The document as indented JSON, always the same bytes for the same server."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n"


def _operation(spec: RouteSpec) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": spec.name,
        "summary": spec.summary,
        "tags": [spec.tag],
        "parameters": _parameters(spec),
        "responses": {"200": _good_answer(spec), **_errors(spec)},
    }
    if spec.body is not None:
        needed = any(f.required for f in msgspec.structs.fields(spec.body))
        operation["requestBody"] = {
            "required": needed,
            "content": {"application/json": {"schema": {"$ref": _REF.format(name=spec.body.__name__)}}},
        }
    if spec.open:
        operation["security"] = []
    return operation


def _parameters(spec: RouteSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(spec.path)
    ]
    schema = msgspec.json.schema_components([spec.query])[1][spec.query.__name__]
    for name, of_field in schema["properties"].items():
        found.append({"name": name, "in": "query", "required": False, "schema": of_field})
    if spec.streams:
        found.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "Go on after this seq; counts instead of `after`.",
                "schema": {"type": "integer", "minimum": 0},
            }
        )
    return found


def _good_answer(spec: RouteSpec) -> dict[str, Any]:
    if not isinstance(spec.answer, str):
        return {
            "description": _first_line(spec.answer),
            "content": {"application/json": {"schema": {"$ref": _REF.format(name=spec.answer.__name__)}}},
        }
    description = spec.summary
    if spec.streams:
        description = (
            "Events named by their kind, with `id` the seq and `data` an EventRecord; `delta` with a DeltaRecord "
            "and no id; `end` after the last event of an execution that has ended."
        )
    return {"description": description, "content": {spec.answer: {"schema": {"type": "string"}}}}


def _errors(spec: RouteSpec) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in spec.all_codes():
        by_status.setdefault(CODES[code][1], []).append(code)
    content = {"application/json": {"schema": {"$ref": _REF.format(name="ErrorAnswer")}}}
    return {
        str(status): {
            "description": "; ".join(f"{code} {CODES[code][2]}" for code in codes),
            "content": content,
        }
        for status, codes in sorted(by_status.items())
    }


def _first_line(of: type) -> str:
    return (of.__doc__ or of.__name__).strip().splitlines()[0]


if __name__ == "__main__":
    sys.stdout.buffer.write(encode_document())
