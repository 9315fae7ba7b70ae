"""Reading a request's body, and decoding what must be JSON of a certain type.

Everything that can be wrong with a body has a code: too large (E0604), not sent as JSON (E0608), not JSON or not of
the type (E0605), text that cannot be stored (E0611). Nothing that a client sends may end in E0609.
"""

import asyncio
import re
from typing import Any

import msgspec
from starlette.types import Receive

from perdure.core.errors import ApiError

MAX_DEPTH = 100

_NUL_ESCAPE = b"\\u0000"
_LONGEST_LENGTH = 15  # digits of a Content-Length

_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_REAL_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive, limit: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises:
        ApiError: E0604 more than *limit* bytes came; E0605 it did not arrive in *timeout_s*.
        ClientGoneError: it never came whole.
    """
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body: bytes = message.get("body", b"")
                if len(body) > limit:
                    raise too_large(limit)
                return body
            return await _read_on(message, receive, limit)
    except TimeoutError:
        raise ApiError("E0605", f"The request's body did not arrive within {timeout_s:g} s") from None


async def _read_on(message: Any, receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def too_large(limit: int) -> ApiError:
    """The error of a body over the limit."""
    return ApiError(
        "E0604",
        f"The request's body is larger than {limit} bytes",
        fix="Pass large data by reference (a path, a URL, an id) instead of by value.",
    )


def check_content(headers: dict[bytes, bytes], limit: int) -> None:
    """Refuse, before it is read, a body that says itself that it is too large or not plain JSON.

    Raises:
        ApiError: E0604, E0608.
    """
    length = headers.get(b"content-length")
    if length is not None:
        if not length.isdigit():
            raise ApiError("E0605", "The Content-Length header is not a number")
        if len(length) > _LONGEST_LENGTH or int(length) > limit:
            raise too_large(limit)
    if length == b"0" or (length is None and b"transfer-encoding" not in headers):
        return
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json":
        kind, _, parameters = content_type.partition(b";")
        charset = parameters.strip().lower().replace(b'"', b"")
        if kind.strip().lower() != b"application/json" or charset not in {b"", b"charset=utf-8"}:
            raise ApiError(
                "E0608", "The body is not sent as JSON", fix="Send it with `Content-Type: application/json`."
            )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ApiError("E0608", "The body is compressed", fix="Send it without Content-Encoding.")


def decode_body(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The body as its type.

    Raises:
        ApiError: E0605 not JSON, not of the type, or nested too deeply; E0611 lone surrogates or not UTF-8.
    """
    raw = raw or b"{}"
    unfit = ""
    try:
        body = _parse(raw, decoder)
    except msgspec.ValidationError as error:
        # The decoder stopped at the first misfit; what comes after it may not even be JSON.
        body, unfit = _parse(raw, _ANYTHING), str(error)
    # No depth over the limit without as many brackets: nearly every body passes at the count.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _deeper_than_limit(raw):
        raise _too_deep()
    if unfit:
        raise ApiError("E0605", "The body does not fit this address", why=unfit)
    return body


def _parse(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise _bad_text("The body is not UTF-8") from None
    except msgspec.ValidationError as error:
        if decoder is _ANYTHING:  # a number that no type of ours can hold
            raise ApiError("E0605", "The body has a value outside its range", why=str(error)) from None
        raise
    except msgspec.DecodeError as error:
        if _SURROGATE.search(raw):
            raise _bad_text("A text of the body has a lone surrogate") from None
        raise ApiError("E0605", "The body is not valid JSON", why=str(error)) from None


def has_nul(raw: bytes) -> bool:
    """Whether a text of the JSON *raw* has a NUL character."""
    return _NUL_ESCAPE in raw and _REAL_NUL.search(raw) is not None


def nul_error() -> ApiError:
    """The error of a text with a NUL character."""
    return _bad_text("A text of the request has a NUL character (\\u0000)")


def _deeper_than_limit(raw: bytes) -> bool:
    """Take away the innermost brackets again and again; every level costs one pass at C's speed."""
    brackets = _STRINGS.sub(b"", raw).translate(None, _ALL_BUT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def _too_deep() -> ApiError:
    return ApiError("E0605", f"The body is nested deeper than {MAX_DEPTH} levels", fix="Send flatter data.")


def _bad_text(what: str) -> ApiError:
    return ApiError(
        "E0611",
        what,
        fix="Clean the text first, e.g. text.encode('utf-8', 'replace').decode().replace('\\0', '').",
    )
