"""Plain HTTP/1.1 over asyncio, parsed by httptools (llhttp, as in the server).

A connection carries one exchange at a time and is then kept for the next, as long as the server keeps it open. A
kept connection may be closed by the server in the moment of its use: when it ends before the first byte of an
answer, the request is sent once more over a new one.
"""

import asyncio
import contextlib
import importlib.util
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from perdure.client.transport.messages import ConnectionLostError, Reply, StreamReply

KEPT = 64  # idle connections
HIGH_WATER = 1024 * 1024  # bytes of a body that may wait for a slow reader before the server is made to wait


def can_parse() -> bool:
    """Whether the parser is installed; it is not on Windows."""
    return importlib.util.find_spec("httptools") is not None


class PlainTransport:
    """Carries requests to one `http:` address. Belongs to the event loop that first uses it."""

    def __init__(self, base_url: str, *, connect_timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        parts = urlsplit(self._base_url)
        self._host, self._port, self._prefix = parts.hostname or "", parts.port or 80, parts.path
        self._host_header = f"host: {parts.netloc.rpartition('@')[2]}\r\n"
        self._connect_timeout_s = connect_timeout_s
        self._kept: list[_Connection] = []

    @property
    def address(self) -> str:
        """The base URL."""
        return self._base_url

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        connection = await self._exchange(method, target, headers, body, timeout_s)
        try:
            while not connection.is_complete:
                await connection.more(timeout_s)
            return Reply(connection.status, connection.headers, b"".join(connection.chunks))
        finally:
            self._keep_or_drop(connection)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        """Send a request and read its answer as it comes."""
        connection = await self._exchange(method, target, headers, b"", timeout_s)
        try:
            yield StreamReply(connection.status, connection.headers, connection.body(timeout_s))
        finally:
            self._keep_or_drop(connection)

    def twin(self) -> "PlainTransport":
        """Another transport to the same server, for another event loop."""
        return PlainTransport(self._base_url, connect_timeout_s=self._connect_timeout_s)

    async def aclose(self) -> None:
        """Close all connections."""
        kept, self._kept = self._kept, []
        for connection in kept:
            connection.abort()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> "_Connection":
        """A connection on which the request was sent and whose answer has begun."""
        head = self._head(method, target, headers, len(body))
        while True:
            connection = self._take()
            is_new = connection is None
            if connection is None:
                connection = await self._connect()
            try:
                connection.send(head, body)
                while not connection.has_headers:
                    await connection.more(timeout_s)
            except ConnectionLostError:
                connection.abort()
                if is_new or connection.has_answered or connection.is_silent:
                    raise
            except BaseException:
                connection.abort()
                raise
            else:
                return connection

    def _head(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sized = f"content-length: {length}\r\n" if length or method != "GET" else ""
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\n{self._host_header}{lines}{sized}"
        if head.count("\r\n") != len(headers) + 2 + bool(sized):  # a line break in a value would be a header
            raise ValueError("a header or the target has a line break")
        return f"{head}\r\n".encode("latin-1")

    def _take(self) -> "_Connection | None":
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_lost:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except TimeoutError as error:
            why = f"no connection within {self._connect_timeout_s:g} s"
            raise ConnectionLostError(why, refused=True) from error
        except OSError as error:
            raise ConnectionLostError(str(error), refused=True) from error
        return connection

    def _keep_or_drop(self, connection: "_Connection") -> None:
        if connection.is_complete and connection.is_reusable and len(self._kept) < KEPT:
            self._kept.append(connection)
        else:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection and the answer that it is reading.

    Attributes:
        status, headers: of the answer, once `has_headers`.
        chunks: of its body, not yet read.
        has_answered: a byte of the answer has come.
        is_silent: nothing came for too long.
    """

    def __init__(self) -> None:
        import httptools

        self._new_parser: Any = httptools.HttpResponseParser
        self._bad: type[Exception] = httptools.HttpParserError
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._why: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser: Any = self._new_parser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self.has_headers = self.is_complete = self.has_answered = self.is_silent = False
        self.is_reusable = True

    @property
    def is_lost(self) -> bool:
        """Whether it can carry nothing more."""
        return self._why is not None or self._transport is None or self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request; what is read from now on is its answer."""
        self._begin()
        if self._transport is not None:
            self._transport.write(head + body if len(body) < HIGH_WATER else head)
            if len(body) >= HIGH_WATER:
                self._transport.write(body)

    async def more(self, timeout_s: float) -> None:
        """Wait for the next piece of the answer.

        Raises:
            ConnectionLostError: the connection has ended, or nothing came in *timeout_s* seconds.
        """
        self._check()
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._silence, timeout_s)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        self._check()

    def _check(self) -> None:
        if self._why is not None and not self.is_complete:
            raise ConnectionLostError(self._why)

    async def body(self, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """The pieces of the body as they come."""
        while True:
            while self.chunks:
                chunk = self.chunks.popleft()
                self._waiting_bytes -= len(chunk)
                yield chunk
            if self.is_complete:
                return
            if self._is_paused and self._transport is not None:
                self._transport.resume_reading()
                self._is_paused = False
            await self.more(timeout_s)

    def abort(self) -> None:
        """Close without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except self._bad as error:
            self._lose(f"what answers does not speak HTTP: {error}")
            self.abort()
            return
        slow = self._waiting_bytes > HIGH_WATER and not self.is_complete and self._waiter is None
        if slow and not self._is_paused and self._transport is not None:
            self._transport.pause_reading()
            self._is_paused = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended. An answer without a length ends with its connection."""
        unsized = not self.headers.keys() & {"content-length", "transfer-encoding"}
        if self.has_headers and not self.is_complete and unsized and exc is None:
            self.is_complete = True
        self._lose(str(exc) if exc else "the server closed the connection")

    # Called by the parser --------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Status and headers are known."""
        self.status = self._parser.get_status_code()
        self.has_headers = self.status >= 200  # noqa: PLR2004 - 1xx announces an answer and is none

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.chunks.append(body)
        self._waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.has_headers:
            self.is_complete = True
            self.is_reusable = self._parser.should_keep_alive()
        else:
            self.headers = {}

    def _lose(self, why: str) -> None:
        if self._why is None:
            self._why = why
        self._wake()

    def _silence(self, timeout_s: float) -> None:
        self.is_silent = True
        self._lose(f"silent for {timeout_s:g} s")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
