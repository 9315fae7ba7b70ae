"""The event stream: server-sent events whose ids are journal positions.

    id: 7                                     an event of the journal; `Last-Event-ID: 7` goes on after it,
    event: tool_completed                     also on another server and after a restart
    data: {EventRecord}

    event: delta                              a piece of a model's answer in flight, without an id:
    data: {DeltaRecord}                       a reconnect never asks for it again

    event: end                                the execution has ended and all of its events were sent
    data: {"last_seq": 9}

Frames go straight from the engine's iterator to the socket, one at a time, so a slow reader holds one frame and the
transport's buffer, nothing more; one that does not read at all is cut off after `write_timeout_s`. A stream that
closes without `end` (the server stops, the engine lost its storage) is to be opened again.

This is not done with sse-starlette: its shutdown handling is process-wide and hooks the server's signal handlers,
which the embedded mode must not have.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from perdure.core.errors import ApiError
from perdure.core.events import TERMINAL, Recorded, kind_of
from perdure.engine.ports import TERMINAL_STATUSES, StreamDelta, StreamItem
from perdure.log import get_logger
from perdure.server.answers import COMMON, ENCODER
from perdure.server.routing import Call, Query
from perdure.server.views import event_record
from perdure.wire.types import DeltaRecord

RETRY_MS = 1_000
LONGEST_SEQ = 2**53
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"), *COMMON]
_LOG = get_logger("perdure.server")


class StreamQuery(Query, frozen=True):
    """`after`: send the events after this seq; the header `Last-Event-ID` counts instead when it is there."""

    after: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_SEQ)] = 0


async def stream_events(call: Call) -> None:
    """GET /executions/{id}/stream."""
    after = _position(call)
    view = await call.service.executions.get(call.path["execution_id"])
    metrics, settings = call.service.metrics, call.service.settings
    call.service.check_accepting()
    if call.service.open_streams >= settings.max_streams:
        raise ApiError("E0615", f"{settings.max_streams} event streams are open already", fix="Close some.")
    call.service.open_streams += 1
    metrics.streams.inc()
    try:
        await _Stream(call, view.execution_id, after).run()
    finally:
        call.service.open_streams -= 1
        metrics.streams.dec()


def frame(execution_id: str, item: StreamItem) -> bytes:
    """One item as it goes over the wire."""
    if isinstance(item, StreamDelta):
        delta = DeltaRecord(execution_id, item.step, item.attempt, item.kind, item.offset, item.text)
        return b"event: delta\ndata: %s\n\n" % ENCODER.encode(delta)
    data = ENCODER.encode(event_record(execution_id, item))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.seq, kind_of(item.event).encode(), data)


class _Stream:
    """One open stream."""

    def __init__(self, call: Call, execution_id: str, after: int) -> None:
        self._call = call
        self._id = execution_id
        self._after = after
        self._settings = call.service.settings
        self._loop = asyncio.get_running_loop()  # whose time the sleeps of this stream are measured in
        self._sending = asyncio.Lock()
        self._last_sent = self._loop.time()

    async def run(self) -> None:
        """Send until the execution has ended, the reader is gone or the server stops."""
        await self._call.send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        tasks = [
            asyncio.ensure_future(work)
            for work in (self._pump(), self._beat(), self._call.gone(), self._call.service.stopping.wait())
        ]
        pump = tasks[0]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if any(isinstance(_failure(task), TimeoutError) for task in tasks):
            # The reader does not read: nothing more can be written, not even an end.
            _LOG.warning("stream_reader_stalled", execution_id=self._id)
            await self._call.cut_off()
            return
        if (error := _failure(pump)) is not None and not isinstance(error, OSError):
            _LOG.error("stream_failed", execution_id=self._id, exc_info=error)
        with contextlib.suppress(OSError, TimeoutError):
            await self._send(b"", more=False)

    async def _pump(self) -> None:
        await self._send(b"retry: %d\n\n" % RETRY_MS)
        ended, last_seq = False, self._after
        items: AsyncIterator[StreamItem] = self._call.service.executions.stream(self._id, self._after)
        async with _closing(items):
            async for item in items:
                await self._send(frame(self._id, item))
                if isinstance(item, Recorded):
                    last_seq = item.seq
                    ended = isinstance(item.event, TERMINAL)
        if not ended:
            view = await self._call.service.executions.get(self._id)
            ended = view.status in TERMINAL_STATUSES and last_seq >= view.last_seq
        if ended:
            await self._send(b'event: end\ndata: {"last_seq": %d}\n\n' % last_seq)

    async def _beat(self) -> None:
        every = self._settings.heartbeat_s
        while True:
            silent = self._loop.time() - self._last_sent
            if silent >= every:
                await self._send(b": still here\n\n")
                silent = 0.0
            await asyncio.sleep(every - silent)

    async def _send(self, body: bytes, *, more: bool = True) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": more}
        async with self._sending:
            async with asyncio.timeout(self._settings.write_timeout_s):
                await self._call.send(message)
            self._last_sent = self._loop.time()


def _position(call: Call) -> int:
    """The seq after which the stream begins."""
    header = call.headers.get(b"last-event-id", b"").strip()
    if not header:
        return int(call.query.after)
    if not header.isdigit() or len(header) > len(str(LONGEST_SEQ)):
        raise ApiError("E0605", "The header Last-Event-ID is not a position in the journal")
    return int(header)


def _failure(task: asyncio.Future[Any]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


@contextlib.asynccontextmanager
async def _closing(items: AsyncIterator[StreamItem]) -> AsyncIterator[None]:
    """Let the engine forget this reader at once, not when the iterator is collected."""
    try:
        yield
    finally:
        if (aclose := getattr(items, "aclose", None)) is not None:
            await aclose()
