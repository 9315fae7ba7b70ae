"""Answers: JSON with the same headers on every one, errors included.

What a client may see of an error: its code, what happened and what to do. What went wrong inside (a stack trace, a
path, SQL) goes to the log, under a request id that the client is told.
"""

import importlib.metadata
from typing import Any

import msgspec
from starlette.types import Send

from perdure.core.errors import PerdureError
from perdure.wire import WIRE_VERSION
from perdure.wire.types import ErrorAnswer

VERSION = importlib.metadata.version("perdure")
ENCODER = msgspec.json.Encoder()

Headers = list[tuple[bytes, bytes]]

# No Access-Control-* header is ever sent: no page of another origin may read an answer.
COMMON: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"perdure-wire", str(WIRE_VERSION).encode()),
    (b"perdure-version", VERSION.encode()),
]
JSON: Headers = [(b"content-type", b"application/json"), *COMMON]


class RawAnswer(msgspec.Struct, frozen=True):
    """An answer that is not one of the wire's JSON types."""

    body: bytes
    content_type: bytes


async def send_bytes(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole answer. *headers* lack the content's length only."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: PerdureError) -> None:
    """Send an error with its code's status."""
    await send_bytes(send, error.http_status, encode_error(error), error_headers(error))


def encode_error(error: PerdureError) -> bytes:
    """The body of an error answer."""
    try:
        return ENCODER.encode(ErrorAnswer(error.to_wire()))
    except (UnicodeEncodeError, TypeError, ValueError):
        # Text of the request that JSON cannot carry has got into the message: the code says enough.
        return ENCODER.encode(ErrorAnswer(type(error)(error.code, "The request is not valid").to_wire()))


def error_headers(error: PerdureError) -> Headers:
    """Headers that go with an error."""
    extra: Headers = []
    status = error.http_status
    if status == 401:  # noqa: PLR2004 - unauthorized
        extra.append((b"www-authenticate", b"Bearer"))
    elif status == 405:  # noqa: PLR2004 - method not allowed
        extra.append((b"allow", ", ".join(error.fields.get("allowed", ())).encode()))
    elif status == 413:  # noqa: PLR2004 - too large: what else is coming is not read
        extra.append((b"connection", b"close"))
    elif status in {429, 503}:
        extra.append((b"retry-after", b"1"))
    return [*JSON, *extra]


def for_client(error: PerdureError, request_id: str) -> PerdureError:
    """The error without what only the operator may know: storage errors name files."""
    if error.family != "E05":
        return error
    fields: dict[str, Any] = {**error.fields, "request_id": request_id}
    return type(error)(error.code, error.what, fix=error.fix, **fields)
