"""HTTP messages to one server: the port, and its adapter over the network.

A transport knows nothing of JSON, keys or retries. There are two: `HttpTransport` here, and
`inprocess.InProcessTransport`, which hands the same messages to a server in this process. Both raise
`ConnectionLostError` when no whole answer came, and nothing else on purpose.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec


class ConnectionLostError(Exception):
    """No whole answer came. `refused`: nothing listens there, so the request was certainly not seen."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        self.why = why
        self.refused = refused
        super().__init__(why)


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamReply(msgspec.Struct, frozen=True):
    """An answer whose body arrives piece by piece; iterating raises `ConnectionLostError`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Transport(Protocol):
    """Carries requests to one server. `target` is the path with its query; timeouts are seconds of silence."""

    @property
    def address(self) -> str:
        """Where the server is, for people."""

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""

    def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AbstractAsyncContextManager[StreamReply]:
        """Send a request and read its answer as it comes; leaving the block hangs up."""

    async def aclose(self) -> None:
        """Close all connections."""


class HttpTransport:
    """The network, through httpx2. Belongs to the event loop that first uses it.

    httpx2 is imported with the first request: it is two thirds of what importing this package would cost.
    """

    def __init__(self, base_url: str, *, connect_timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._connect_timeout_s = connect_timeout_s
        self._client: Any = None

    @property
    def address(self) -> str:
        """The base URL."""
        return self._base_url

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        import httpx2

        try:
            reply = await self._open().request(
                method, target, headers=headers, content=body, timeout=self._timeout(timeout_s)
            )
        except httpx2.ConnectError as error:
            raise ConnectionLostError(_text(error), refused=True) from error
        except httpx2.TransportError as error:
            raise ConnectionLostError(_text(error)) from error
        return Reply(reply.status_code, reply.headers, reply.content)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        """Send a request and read its answer as it comes."""
        import httpx2

        client = self._open()
        request = client.build_request(method, target, headers=headers, timeout=self._timeout(timeout_s))
        try:
            reply = await client.send(request, stream=True)
        except httpx2.ConnectError as error:
            raise ConnectionLostError(_text(error), refused=True) from error
        except httpx2.TransportError as error:
            raise ConnectionLostError(_text(error)) from error
        chunks = _chunks(reply)
        try:
            yield StreamReply(reply.status_code, reply.headers, chunks)
        finally:
            await chunks.aclose()
            await reply.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    def _open(self) -> Any:
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self._base_url,
                # Every stream and every long poll holds a connection: a limit would make them starve each other.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
                # Loading the certificates takes longer than a whole run on this machine's own server.
                verify=self._base_url.startswith("https:"),
                # A proxy for the world outside must not be asked for a server on this machine or in this net.
                trust_env=self._base_url.startswith("https:"),
            )
        return self._client

    def _timeout(self, timeout_s: float) -> Any:
        import httpx2

        return httpx2.Timeout(timeout_s, connect=self._connect_timeout_s, pool=None)


async def _chunks(reply: Any) -> AsyncGenerator[bytes, None]:
    import httpx2

    try:
        async for chunk in reply.aiter_raw():
            yield chunk
    except httpx2.TransportError as error:
        raise ConnectionLostError(_text(error)) from error


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
