"""The network with all that it may need: certificates, proxies. Through httpx2, for `https:` addresses."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any

from perdure.client.transport.messages import ConnectionLostError, Reply, StreamReply

POOL_SIZE = 16  # connections in use of one pool


class LibraryTransport:
    """Carries requests through httpx2. Belongs to the event loop that first uses it.

    httpx2 is imported with the first request: it is two thirds of what importing this package would cost.

    For each request its pool looks at every connection that it has. Waits and streams hold theirs for long, and
    a thousand of them in one pool would make each small request of a worker cost milliseconds; so there are
    many small pools, and a request takes the first one that has room.
    """

    def __init__(self, base_url: str, *, connect_timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._connect_timeout_s = connect_timeout_s
        self._pools: list[_Pool] = []
        self._verify: Any = None

    @property
    def address(self) -> str:
        """The base URL."""
        return self._base_url

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        with self._pool() as client, _losses():
            reply = await client.request(
                method,
                self._base_url + target,
                headers=headers,
                content=body,
                timeout=self._timeout(timeout_s),
            )
            return Reply(reply.status_code, reply.headers, reply.content)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        """Send a request and read its answer as it comes."""
        with self._pool() as client:
            request = client.build_request(
                method, self._base_url + target, headers=headers, timeout=self._timeout(timeout_s)
            )
            with _losses():
                reply = await client.send(request, stream=True)
            chunks = _chunks(reply)
            try:
                yield StreamReply(reply.status_code, reply.headers, chunks)
            finally:
                await chunks.aclose()
                await reply.aclose()

    def twin(self) -> "LibraryTransport":
        """Another transport to the same server, for another event loop."""
        return LibraryTransport(self._base_url, connect_timeout_s=self._connect_timeout_s)

    async def aclose(self) -> None:
        """Close all connections."""
        pools, self._pools = self._pools, []
        for pool in pools:
            await pool.client.aclose()

    @contextlib.contextmanager
    def _pool(self) -> Iterator[Any]:
        """The client of the first pool that has room."""
        pool = next((p for p in self._pools if p.busy < POOL_SIZE), None)
        if pool is None:
            pool = _Pool(self._client())
            self._pools.append(pool)
        pool.busy += 1
        try:
            yield pool.client
        finally:
            pool.busy -= 1

    def _client(self) -> Any:
        import httpx2

        # Loading the certificates takes longer than a whole run on this machine's own server, and a proxy for the
        # world outside must not be asked for it.
        encrypted = self._base_url.startswith("https:")
        if self._verify is None:
            self._verify = httpx2.create_ssl_context() if encrypted else False
        return httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=POOL_SIZE),
            verify=self._verify,
            trust_env=encrypted,
        )

    def _timeout(self, timeout_s: float) -> Any:
        import httpx2

        return httpx2.Timeout(timeout_s, connect=self._connect_timeout_s, pool=None)


class _Pool:
    """An httpx2 client and how many requests it is busy with."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.busy = 0


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """Tell the library's errors in our words."""
    import httpx2

    try:
        yield
    except httpx2.ConnectError as error:
        raise ConnectionLostError(_text(error), refused=True) from error
    except httpx2.TransportError as error:
        raise ConnectionLostError(_text(error)) from error


async def _chunks(reply: Any) -> AsyncGenerator[bytes, None]:
    with _losses():
        async for chunk in reply.aiter_raw():
            yield chunk


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
