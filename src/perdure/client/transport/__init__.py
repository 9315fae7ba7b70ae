"""HTTP to one server, over the network.

`https:` goes through httpx2 (`library`). Plain `http:`, which is this machine or a trusted net, is spoken
directly (`plain`): a library's request costs 1 to 2 ms of processor time where the whole work of a step is less
than that, and importing it 200 ms. What is carried is the same.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from perdure.client.transport.library import LibraryTransport
from perdure.client.transport.messages import ConnectionLostError, Reply, StreamReply, Transport
from perdure.client.transport.plain import PlainTransport, can_parse

__all__ = ["ConnectionLostError", "HttpTransport", "Reply", "StreamReply", "Transport"]


class HttpTransport:
    """The network. Belongs to the event loop that first uses it."""

    def __init__(self, base_url: str, *, connect_timeout_s: float = 5.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        plain = base_url.startswith("http:") and can_parse()
        kind = PlainTransport if plain else LibraryTransport
        self._carrier: Transport = kind(base_url, connect_timeout_s=connect_timeout_s)

    @property
    def address(self) -> str:
        """The base URL."""
        return self._carrier.address

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        return await self._carrier.request(method, target, headers, body, timeout_s)

    def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AbstractAsyncContextManager[StreamReply]:
        """Send a request and read its answer as it comes."""
        return self._carrier.stream(method, target, headers, timeout_s)

    def twin(self) -> "HttpTransport":
        """Another transport to the same server, for another event loop."""
        return HttpTransport(self.address, connect_timeout_s=self._connect_timeout_s)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._carrier.aclose()
