"""A small server for tests of worker and client: the routes of the task gateway over lists in memory.

It says yes to everything unless a test tells it otherwise (`receipts`, `held`, `down`), so that a test can put the
worker in front of answers that a healthy server would rarely give.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perdure.client.api import ApiClient
from perdure.client.inprocess import InProcessTransport
from perdure.client.transport import ConnectionLostError, Reply, StreamReply, Transport
from perdure.clock import SystemClock
from perdure.wire.types import (
    HeartbeatAnswer,
    HeartbeatBody,
    LeaseRecord,
    PollAnswer,
    PollBody,
    ResultRecord,
    TaskRecord,
)


def task(tool: str, number: int = 1, **fields: Any) -> TaskRecord:
    """A task of the agent `a`; its execution is `x<number>`."""
    known: dict[str, Any] = {
        "execution_id": f"x{number}",
        "step": "t1.c0",
        "epoch": 1,
        "token": "token",
        "agent": "a",
        "tool": tool,
        "call_id": "c0",
        "arguments": {},
        "idempotency_key": f"ik_{number}",
        "lease_ms": 600,
        "deadline_ms": None,
        "timeout_ms": None,
        "state": {},
        "session_id": None,
    }
    return TaskRecord(**(known | fields))


class FakeServer:
    """Hands out `tasks`, collects what comes back."""

    def __init__(self) -> None:
        self.tasks: list[TaskRecord] = []
        self.polls: list[PollBody] = []
        self.results: list[ResultRecord] = []
        self.beats: list[HeartbeatBody] = []
        self.open_polls = 0
        self.receipts: Callable[[ResultRecord], dict[str, Any] | None] = lambda _: None
        self.held: Callable[[LeaseRecord], bool] = lambda _: True
        self.refuse: Callable[[PollBody], dict[str, Any] | None] = lambda _: None
        self.changed = asyncio.Event()
        routes = [
            Route("/api/v1/worker/poll", self._poll, methods=["POST"]),
            Route("/api/v1/worker/heartbeat", self._heartbeat, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def transport(self) -> InProcessTransport:
        """Leads to this server."""
        return InProcessTransport(self.app, asyncio.get_running_loop())

    def give(self, *tasks: TaskRecord) -> None:
        """Offer tasks."""
        self.tasks += tasks
        self._note()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until *condition* holds; it is asked after everything that happens here."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.05)

    def _note(self) -> None:
        self.changed.set()

    async def _poll(self, request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=PollBody)
        if (error := self.refuse(body)) is not None:
            return _json({"error": error}, error.get("status", 400))
        receipts = [self.receipts(r) for r in body.results]
        self.results += [r for r, said in zip(body.results, receipts, strict=True) if said is None]
        self.polls.append(body)
        self._note()
        taken: list[TaskRecord] = []
        self.open_polls += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(body.wait_ms / 1000 + 0.005):
                    while not await request.is_disconnected() and not (taken := self._take(body)):
                        await asyncio.sleep(0.005)
        finally:
            self.open_polls -= 1
        return _json(PollAnswer(taken, receipts))

    def _take(self, body: PollBody) -> list[TaskRecord]:
        fitting = [t for t in self.tasks if f"{t.agent}.{t.tool}" in body.tools][: body.want]
        self.tasks = [t for t in self.tasks if t not in fitting]
        return fitting

    async def _heartbeat(self, request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=HeartbeatBody)
        self.beats.append(body)
        self._note()
        return _json(HeartbeatAnswer([self.held(lease) for lease in body.leases]))


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class Wire:
    """A transport whose connections a test can cut: `down` refuses new ones, `cut` drops those that are open."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.down = False
        self.lose_next_reply = False
        self.requests: list[tuple[str, str]] = []
        self._cut = asyncio.Event()

    @property
    def address(self) -> str:
        return self.inner.address

    def cut(self) -> None:
        """Drop what is open."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        self.requests.append((method, target))
        if self.down:
            raise ConnectionLostError("refused", refused=True)
        reply = await self._unless_cut(self.inner.request(method, target, headers, body, timeout_s))
        if self.lose_next_reply:
            self.lose_next_reply = False
            raise ConnectionLostError("the answer was lost")
        return reply

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        self.requests.append((method, target))
        if self.down:
            raise ConnectionLostError("refused", refused=True)
        async with self.inner.stream(method, target, headers, timeout_s) as reply:
            yield StreamReply(reply.status, reply.headers, self._chunks(reply.chunks))

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        source = aiter(chunks)
        while (chunk := await self._unless_cut(_next(source))) is not None:
            yield chunk

    async def _unless_cut(self, work: Any) -> Any:
        doing = asyncio.ensure_future(work)
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait([doing, cut], return_when=asyncio.FIRST_COMPLETED)
            if cut.done():
                raise ConnectionLostError("the connection was cut")
            return doing.result()
        finally:
            for pending in (doing, cut):
                pending.cancel()
            await asyncio.gather(doing, cut, return_exceptions=True)

    def twin(self) -> "Wire":
        return _Twin(self)

    async def aclose(self) -> None:
        await self.inner.aclose()


class _Twin(Wire):
    """A wire for another loop that is down when the first one is."""

    def __init__(self, first: Wire) -> None:
        self._first = first
        super().__init__(first.inner.twin())

    @property
    def down(self) -> bool:
        return self._first.down

    @down.setter
    def down(self, _: bool) -> None:
        """Only the first one's counts."""


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


def client(transport: Transport, **options: Any) -> ApiClient:
    """An API client on the machine's clock."""
    return ApiClient(transport, SystemClock(), **options)
