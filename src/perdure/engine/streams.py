"""Event streams: what is stored first, then what happens, without gap or duplicate.

The position in a stream is the journal's seq, so a stream goes on after any restart. A live queue is bounded: a
reader that falls behind is served from the journal again, and holds no memory here. Deltas are not stored; each
carries the offset at which it stands, so that a reader can join them over a lost connection.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from perdure.core.events import TERMINAL, Recorded
from perdure.core.model import Delta
from perdure.engine.ports import TERMINAL_STATUSES, Journal, StreamDelta, StreamItem
from perdure.engine.residency import Residency, not_found
from perdure.engine.resident import Resident

_QUEUE_LIMIT = 1_000
_PAGE = 500


class _Reader:
    """One open stream's live queue."""

    __slots__ = ("behind", "items", "wake")

    def __init__(self) -> None:
        self.items: deque[StreamItem] = deque()
        self.wake = asyncio.Event()
        self.behind = False

    def push(self, item: StreamItem) -> None:
        if len(self.items) >= _QUEUE_LIMIT:
            self.items.clear()
            self.behind = True
        if not self.behind or not isinstance(item, StreamDelta):
            self.items.append(item)
        self.wake.set()

    async def next(self) -> StreamItem:
        while not self.items:
            self.wake.clear()
            await self.wake.wait()
        return self.items.popleft()


class Streams:
    """The open streams, by execution."""

    def __init__(self, journal: Journal, residency: Residency) -> None:
        self._journal = journal
        self._residency = residency
        self._readers: dict[str, dict[_Reader, None]] = {}  # in the order in which they came

    def __len__(self) -> int:
        return sum(len(readers) for readers in self._readers.values())

    def publish(self, resident: Resident, records: list[Recorded]) -> None:
        """Hand durable events to the readers."""
        for reader in self._readers.get(resident.execution_id, ()):
            for record in records:
                reader.push(record)

    def delta(self, execution_id: str, step: str, attempt: int, delta: Delta, offset: int) -> None:
        """Hand a piece of an answer to the readers."""
        readers = self._readers.get(execution_id)
        if readers:
            item = StreamDelta(step, attempt, delta.kind, offset, delta.text)
            for reader in readers:
                reader.push(item)

    async def stream(self, execution_id: str, after: int) -> AsyncIterator[StreamItem]:
        """Every event after seq *after*, and the deltas from now on; ends after the terminal event.

        Raises:
            ExecutionError: E0401, at the first item.
        """
        reader = _Reader()
        self._readers.setdefault(execution_id, {})[reader] = None
        try:
            row = await self._journal.load(execution_id)
            if row is None:
                raise not_found(execution_id)
            if row.status in TERMINAL_STATUSES and row.last_seq <= after:
                return
            async for item in self._follow(execution_id, reader, after):
                yield item
        finally:
            readers = self._readers[execution_id]
            readers.pop(reader, None)
            if not readers:
                del self._readers[execution_id]

    async def _follow(self, execution_id: str, reader: _Reader, after: int) -> AsyncIterator[StreamItem]:
        seq = after
        while True:
            stored = await self._journal.events(execution_id, seq, _PAGE)
            for record in stored:
                seq = record.seq
                yield record
                if isinstance(record.event, TERMINAL):
                    return
            if len(stored) == _PAGE:
                continue
            for piece in self._so_far(execution_id):
                yield piece
            while not reader.behind:
                item = await reader.next()
                if isinstance(item, StreamDelta):
                    yield item
                elif item.seq == seq + 1:
                    seq = item.seq
                    yield item
                    if isinstance(item.event, TERMINAL):
                        return
                elif item.seq > seq:
                    break  # something is missing from the queue: the journal has it
                elif isinstance(item.event, TERMINAL):
                    return  # the reader asked for what comes after the end
            reader.behind = False

    def _so_far(self, execution_id: str) -> list[StreamDelta]:
        """What the attempts in flight have streamed before this reader came."""
        resident = self._residency.residents.get(execution_id)
        if resident is None:
            return []
        return [
            StreamDelta(
                step, part.attempt, "reasoning" if kind == "reasoning" else "text", 0, "".join(pieces)
            )
            for step, part in resident.partials.items()
            for kind, pieces in part.pieces.items()
        ]
