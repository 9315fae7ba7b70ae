"""HTTP messages to one server: the port that the network and the in-process transport implement.

A transport knows nothing of JSON, keys or retries. It raises `ConnectionLostError` when no whole answer came,
and nothing else on purpose.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

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

    def twin(self) -> "Transport":
        """Another transport to the same server, for another event loop."""

    async def aclose(self) -> None:
        """Close all connections."""
