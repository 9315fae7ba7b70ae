"""HTTP over the network, through aiohttp (docs/decisions/0006 says why that library)."""

import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any

from perdure.client.transport.messages import ConnectionLostError, Reply, StreamReply

LARGE_BODY = 1024 * 1024  # bytes; over this a body is sent in pieces


class HttpTransport:
    """Carries requests to one address. Belongs to the event loop that first uses it.

    aiohttp is imported with the first request: it is most of what importing this package would cost. A proxy
    from the environment is asked for `https:` addresses only: plain ones are this machine or a trusted net.
    """

    def __init__(self, base_url: str, *, connect_timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._connect_timeout_s = connect_timeout_s
        self._session: Any = None

    @property
    def address(self) -> str:
        """The base URL."""
        return self._base_url

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        with _losses():
            async with self._open(method, target, headers, body, timeout_s) as reply:
                return Reply(reply.status, _lower(reply.headers), await reply.read())

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        """Send a request and read its answer as it comes."""
        with _losses():
            reply = await self._open(method, target, headers, b"", timeout_s)
        chunks = _chunks(reply)
        try:
            yield StreamReply(reply.status, _lower(reply.headers), chunks)
        finally:
            await chunks.aclose()
            reply.close()

    def twin(self) -> "HttpTransport":
        """Another transport to the same server, for another event loop."""
        return HttpTransport(self._base_url, connect_timeout_s=self._connect_timeout_s)

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, silence_s: float
    ) -> Any:
        import aiohttp
        from yarl import URL

        if not target.isprintable() or " " in target:
            raise ValueError(f"the target has a space or a line break: {target!r}")
        try:
            address = URL(self._base_url + target, encoded=True)
            address.port  # noqa: B018 - read here: the library looks at it only now
        except ValueError as error:  # a port that is none
            raise ConnectionLostError(f"{self._base_url} is no address: {error}", refused=True) from error

        if self._session is None:
            # Waits and streams hold a connection each, so their number is not limited.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                trust_env=self._base_url.startswith("https:"),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session.request(
            method,
            address,
            headers=headers,
            data=body if len(body) < LARGE_BODY else io.BytesIO(body),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._connect_timeout_s, sock_read=silence_s
            ),
        )


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """Tell the library's errors in our words."""
    import aiohttp

    try:
        yield
    except aiohttp.ClientConnectorError as error:
        # Without the library's words about TLS, which a plain address has nothing of.
        raise ConnectionLostError(_reason(error.os_error), refused=True) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        refused = isinstance(error, aiohttp.ConnectionTimeoutError)
        raise ConnectionLostError(_text(error), refused=refused) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ConnectionLostError(_text(error)) from error


async def _chunks(reply: Any) -> AsyncGenerator[bytes, None]:
    with _losses():
        async for chunk in reply.content.iter_any():
            yield chunk


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _reason(error: OSError) -> str:
    return "Connection refused" if isinstance(error, ConnectionRefusedError) else _text(error)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
