"""Calling the server: JSON in and out, errors as `PerdureError`, and patience while no server answers.

Every request of the API may be sent twice without harm (a start carries an idempotency key, a result its
epoch, a decision is one per approval), so each is repeated over lost connections and over a server that is
stopping, with growing waits, until the caller's patience ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from perdure.client.transport import ConnectionLostError, Reply, Transport
from perdure.clock import Clock
from perdure.core.errors import ApiError, ClientError, PerdureError, from_wire
from perdure.wire import API_PREFIX, WIRE_VERSION
from perdure.wire.types import ErrorAnswer

T = TypeVar("T")

# A server that answers so is on its way out or in: the request was not carried out and may be sent again.
TRY_AGAIN = frozenset({"E0610", "E0506"})
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0  # a server that is back is noticed within a second and a half

_ENCODER = msgspec.json.Encoder()


class Backoff:
    """Growing waits with jitter, until *patience_s* seconds after the first failure are over."""

    def __init__(self, clock: Clock, patience_s: float) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self.reset()

    def reset(self) -> None:
        """Begin anew: something went well."""
        self._give_up_at: float | None = None
        self._wait_s = FIRST_WAIT_S

    @property
    def is_fresh(self) -> bool:
        """Nothing has failed since the beginning, or since `reset`."""
        return self._give_up_at is None

    async def pause(self) -> bool:
        """Wait before the next try; False, at once, when patience is over."""
        now = self._clock.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + self._patience_s
        if now >= self._give_up_at:
            return False
        await asyncio.sleep(min(self._wait_s * (0.5 + self._clock.random_unit()), self._give_up_at - now))
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
        return True


class Caller:
    """Sends requests over a transport.

    Args:
        patience_s: how long a request is repeated while no server answers.
        reconnect_s: the same for waiting and streaming, which outlive a server's restart.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        api_key: str | None = None,
        patience_s: float = 30.0,
        reconnect_s: float = 300.0,
    ) -> None:
        self.transport = transport
        self._api_key = api_key
        self.clock = clock
        self.patience_s = patience_s
        self.reconnect_s = reconnect_s
        self._headers = {"accept": "application/json", "content-type": "application/json"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: msgspec.Struct | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_s: float = 30.0,
        patience_s: float | None = None,
        after_loss: Callable[[PerdureError], Awaitable[T | None]] | None = None,
    ) -> T:
        """Send a request; return its decoded answer.

        *answer* is the wire type of a good answer. *timeout_s* seconds of silence count as a lost connection.
        *after_loss* is asked when the server refuses a request that had been sent before and whose answer was
        lost: what it returns is the answer, unless None.

        Raises:
            ClientError: E0701 no server answers; E0703 what answers is not a server of this version.
            PerdureError: the server's error.
        """
        target = _target(path, params)
        payload = _encode(body, path)
        backoff = Backoff(self.clock, self.patience_s if patience_s is None else patience_s)
        lost = False
        while True:
            try:
                reply = await self.transport.request(method, target, self._headers, payload, timeout_s)
                return decode(reply, answer, self.transport.address)
            except ConnectionLostError as error:
                lost = lost or not error.refused
                if not await backoff.pause():
                    raise unreachable(self.transport.address, error.why) from error
            except PerdureError as error:
                if error.code in TRY_AGAIN and await backoff.pause():
                    continue
                if lost and after_loss is not None and (found := await after_loss(error)) is not None:
                    return found
                raise

    def stream_headers(self, last_seq: int) -> dict[str, str]:
        """Headers that ask for an event stream after *last_seq*."""
        return self._headers | {"accept": "text/event-stream", "last-event-id": str(last_seq)}

    def twin(self) -> Self:
        """Another client of the same server, for another event loop."""
        return type(self)(
            self.transport.twin(),
            self.clock,
            api_key=self._api_key,
            patience_s=self.patience_s,
            reconnect_s=self.reconnect_s,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()


def decode(reply: Reply, answer: type[T], address: str) -> T:
    """The answer in *reply*, or its error raised."""
    wire = reply.headers.get("perdure-wire")
    if wire is not None and wire != str(WIRE_VERSION):
        raise ClientError(
            "E0703",
            f"The server speaks version {wire} of the wire protocol, this SDK version {WIRE_VERSION}",
            where=address,
            fix="Install the same version of perdure for both.",
        )
    if reply.status >= 400:  # noqa: PLR2004 - the first error status of HTTP
        raise error_of(reply, address)
    try:
        return msgspec.json.decode(reply.body, type=answer)
    except msgspec.MsgspecError as error:
        raise ClientError(
            "E0703",
            "The answer is not one of a Perdure server",
            where=address,
            why=str(error),
            fix="Check the address, and that server and SDK are of the same version.",
        ) from error


def error_of(reply: Reply, address: str) -> PerdureError:
    """The error that an answer of status 400 or over carries."""
    try:
        return from_wire(msgspec.json.decode(reply.body, type=ErrorAnswer).error)
    except msgspec.MsgspecError:
        text = reply.body[:200].decode(errors="replace")
    if reply.status in {502, 503, 504}:  # a proxy in front says that its server is away
        return ApiError("E0610", f"The server is away (HTTP {reply.status})", where=address, why=text)
    code = "E0601" if reply.status == 401 else "E0609"  # noqa: PLR2004 - unauthorized
    return ApiError(code, f"HTTP status {reply.status} without a Perdure error", where=address, why=text)


def unreachable(address: str, why: str) -> ClientError:
    """No server answers."""
    return ClientError(
        "E0701",
        "No server answers",
        where=address,
        why=why,
        fix="Start one with `perdure server start`, or set PERDURE_SERVER_URL to where it runs.",
    )


def path_of(*parts: str) -> str:
    """A path under the API's prefix, each part escaped."""
    return "/".join((API_PREFIX, *(quote(part, safe="") for part in parts)))


def _target(path: str, params: Mapping[str, Any] | None) -> str:
    given = [(k, v) for k, v in (params or {}).items() if v is not None]
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _encode(body: msgspec.Struct | None, path: str) -> bytes:
    if body is None:
        return b""
    try:
        return _ENCODER.encode(body)
    except UnicodeEncodeError as error:
        raise ApiError(
            "E0611",
            "The request has a text with lone surrogates, which is not valid Unicode",
            where=path,
            why=str(error),
            fix="Clean the text, e.g. text.encode('utf-8', 'replace').decode().",
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ApiError(
            "E0605", "The request cannot be written as JSON", where=path, why=str(error)
        ) from error
