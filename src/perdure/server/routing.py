"""Routes as data, and the one place where a request becomes a call and an answer becomes bytes.

A `RouteSpec` says all there is to say about a route; the server is built from the table of them (`table.py`), and so
is the OpenAPI document, so that the two cannot differ. `Endpoint` is the named boundary for unexpected errors: what a
handler did not foresee becomes E0609 with a request id that is also in the log.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from perdure.core.errors import CODES, ApiError, PerdureError
from perdure.log import get_logger
from perdure.server.answers import (
    ENCODER,
    JSON,
    RawAnswer,
    encode_error,
    error_headers,
    for_client,
    send_bytes,
    send_error,
)
from perdure.server.bodies import ClientGoneError, check_content, decode_body, has_nul, nul_error, read_body
from perdure.server.deps import Service

T = TypeVar("T")
Method = Literal["GET", "POST"]

ABORT = "perdure.abort"  # the ASGI extension by which a connection can be dropped
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_LONGEST_QUERY = 4_096
_LONGEST_ACTOR = 200
_LOG = get_logger("perdure.server")


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query parameters of a route; a tuple takes a repeated parameter, or one with commas."""


class NoQuery(Query, frozen=True):
    """No parameters."""


class _RawDefinition(msgspec.Struct):
    """The definition of a body, as it was written."""

    definition: msgspec.Raw


class Call:
    """One request, checked and decoded.

    Attributes:
        principal: the name of the key it came with.
        path: the path's parameters.
        query: an instance of the route's query type.
        body: an instance of the route's body type, or None.
        nul: whether a text of the body has a NUL character (only where the route allows it).
    """

    __slots__ = (
        "_abort",
        "body",
        "headers",
        "nul",
        "path",
        "principal",
        "query",
        "receive",
        "send",
        "service",
    )

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service = service
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = scope["perdure.headers"]
        self.principal: str = scope["perdure.principal"]
        self.path: dict[str, str] = scope["path_params"]
        self.query: Any = None
        self.body: Any = None
        self.nul = False
        self._abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)

    def actor(self, by: str | None) -> str:
        """Who acts, for the record: the person that the holder of the key names, else the key's own name."""
        if by is None:
            return self.principal
        if not 1 <= len(by) <= _LONGEST_ACTOR:
            raise ApiError("E0605", f"`by` must have 1 to {_LONGEST_ACTOR} characters")
        return by

    async def cut_off(self) -> None:
        """Drop the connection of a client that does not read, with all that waits to be written to it."""
        if self._abort is not None:
            self._abort()
            await self.gone()

    async def gone(self) -> None:
        """Return when the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def while_wanted(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await *work*; cancel it when the client hangs up or the server stops, and give None then."""
        doing = asyncio.ensure_future(work)
        others = [
            asyncio.ensure_future(self.gone()),
            asyncio.ensure_future(self.service.stopping.wait()),
        ]
        try:
            await asyncio.wait([doing, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (doing, *others):
                task.cancel()
            await asyncio.gather(doing, *others, return_exceptions=True)
        return None if doing.cancelled() else doing.result()


Handler = Callable[[Call], Awaitable[Any]]


class RouteSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One method at one address.

    Attributes:
        path: template below the server's root, `{name}` for parameters.
        answer: the wire type of the answer, or a content type for an answer that is not JSON.
        codes: errors of its own; those of the door (`DOOR_CODES`) and of its body come by themselves.
        open: needs no key. Only /health.
        streams: the handler sends the answer itself.
        nul_allowed: the handler looks after NUL characters itself.
    """

    method: Method
    path: str
    name: str
    summary: str
    tag: str
    handler: Handler
    answer: type[msgspec.Struct] | str
    body: type[msgspec.Struct] | None = None
    query: type[Query] = NoQuery
    codes: tuple[str, ...] = ()
    open: bool = False
    streams: bool = False
    nul_allowed: bool = False

    def all_codes(self) -> list[str]:
        """Every error that the route can answer with."""
        codes = {"E0602", "E0603", "E0605", "E0609", *self.codes}
        if not self.open:
            codes |= {"E0601", "E0615"}
        if self.body is not None:
            codes |= {"E0604", "E0608", "E0611"}
        return sorted(codes & CODES.keys())


class Endpoint:
    """Runs one route."""

    def __init__(self, spec: RouteSpec, service: Service) -> None:
        self._spec = spec
        self._service = service
        self._handler = spec.handler
        self._decoder = msgspec.json.Decoder(spec.body) if spec.body is not None else None
        self._no_query = msgspec.convert({}, spec.query)
        self._many = {
            f.encode_name for f in msgspec.structs.fields(spec.query) if isinstance(f.default, tuple)
        }
        self._observe = service.metrics.observer(spec.method, spec.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._service.in_flight += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._service.in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = self._service.clock.monotonic()
        try:
            call = await self._call(scope, receive, send)
            answer = await self._handler(call)
            if self._spec.streams:
                return
            if isinstance(answer, RawAnswer):
                status, body, headers = 200, answer.body, [(b"content-type", answer.content_type), *JSON[1:]]
            else:
                status, body, headers = 200, ENCODER.encode(answer), JSON
        except ClientGoneError:
            return
        except PerdureError as error:
            status, body, headers = self._refusal(error)
        except Exception as error:  # noqa: BLE001 - the named boundary: E0609, logged under the id that it carries
            status, body, headers = self._refusal(self._unexpected(error))
        self._observe(status, self._service.clock.monotonic() - begun)
        await send_bytes(send, status, body, headers)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> Call:
        call = Call(self._service, scope, receive, send)
        for value in call.path.values():
            if not _ID.fullmatch(value):
                raise ApiError("E0606", "There is nothing at this address")
        raw_query = scope["query_string"]
        call.query = self._query(raw_query) if raw_query else self._no_query
        if self._decoder is not None:
            settings = self._service.settings
            check_content(call.headers, settings.max_body_bytes)
            raw = await read_body(receive, settings.max_body_bytes, settings.body_timeout_s)
            call.body = self._body(raw, self._decoder)
            call.nul = has_nul(raw)
            if call.nul and not self._spec.nul_allowed:
                raise nul_error()
        return call

    def _body(self, raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
        try:
            return decode_body(raw, decoder)
        except ApiError as error:
            if "`$.definition" in error.why:
                # The compiler's own reader tells a newer version (E0102) from a mistake (E0101), and where it is.
                found = msgspec.json.decode(raw, type=_RawDefinition)
                self._service.deps.decode_definition(bytes(found.definition))
            raise

    def _query(self, raw: bytes) -> Any:
        if len(raw) > _LONGEST_QUERY:
            raise ApiError("E0605", f"The query is longer than {_LONGEST_QUERY} characters")
        found: dict[str, Any] = {}
        try:
            for name, value in parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict"):
                if "\0" in value or "\0" in name:
                    raise nul_error()
                if name in self._many:
                    found.setdefault(name, []).extend(value.split(","))
                elif name in found:
                    raise ApiError("E0605", f"The query parameter {name!r} is there twice")
                else:
                    found[name] = value
            return msgspec.convert(found, self._spec.query, strict=False)
        except msgspec.ValidationError as error:
            raise ApiError("E0605", "The query does not fit this address", why=str(error)) from None
        except ValueError as error:
            if isinstance(error, PerdureError):
                raise
            raise ApiError("E0605", "The query cannot be read") from None

    def _refusal(self, error: PerdureError) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if error.family == "E05":
            request_id = self._request_id()
            _LOG.error("storage_error", request_id=request_id, code=error.code, error=str(error))
            error = for_client(error, request_id)
        return error.http_status, encode_error(error), error_headers(error)

    def _unexpected(self, error: Exception) -> ApiError:
        request_id = self._request_id()
        _LOG.error("unexpected_error", request_id=request_id, route=self._spec.name, exc_info=error)
        return ApiError(
            "E0609",
            "The server met an error it did not expect",
            fix=f"The server's log has the details under {request_id}.",
            request_id=request_id,
        )

    def _request_id(self) -> str:
        return "req_" + self._service.clock.random_bytes(8).hex()


class Methods:
    """The endpoints of one path, by method."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            allowed = sorted(self._endpoints)
            await send_error(
                send, ApiError("E0607", f"This address takes {', '.join(allowed)}", allowed=allowed)
            )
            return
        await endpoint(scope, receive, send)
