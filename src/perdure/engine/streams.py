"""Event streams: what is stored first, then what happens, without gap or duplicate.

The position in a stream is the journal's seq, so a stream goes on after any restart. A live queue is bounded: a
reader that falls behind is served from the journal again, and holds no memory here. Deltas are not stored; each
carries the offset at which it stands, so that a reader can join them over a lost connection.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

from perdure.core.events import TERMINAL, ModelCompleted, ModelFailed, ModelLost, Recorded
from perdure.core.model import Delta
from perdure.engine.ports import TERMINAL_STATUSES, Journal, StreamDelta, StreamItem
from perdure.engine.residency import not_found
from perdure.engine.resident import Resident

# What an attempt has streamed is void by then, or in the journal.
_ANSWERED = (ModelCompleted, ModelFailed, ModelLost, *TERMINAL)
_QUEUE_LIMIT = 1_000
_PAGE = 500


class _Reader:
    """One open stream's live queue."""

    __slots__ = ("attempt", "behind", "items", "said", "wake")

    def __init__(self) -> None:
        self.attempt = ("", 0)
        self.said: dict[str, int] = {}  # how much of the attempt's text the reader has, by kind
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

    def joins(self, piece: StreamDelta) -> bool:
        """Whether the piece says something new and stands right behind what the reader has.

        What does not is a piece of an answer that the reader came too late for: the event that ends it is coming.
        """
        attempt = (piece.step, piece.attempt)
        if attempt != self.attempt:
            self.attempt, self.said = attempt, {}
        said, end = self.said.get(piece.kind, 0), piece.offset + len(piece.text)
        if piece.offset > said or end <= said:
            return False
        self.said[piece.kind] = end
        return True

    async def next(self) -> StreamItem:
        while not self.items:
            self.wake.clear()
            await self.wake.wait()
        return self.items.popleft()


class Partial:
    """The text that an attempt at a model step has streamed so far."""

    __slots__ = ("attempt", "pieces", "sizes", "step")

    def __init__(self, step: str, attempt: int) -> None:
        self.step = step
        self.attempt = attempt
        self.pieces: dict[Literal["text", "reasoning"], list[str]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, delta: Delta) -> int:
        """Keep a piece; return the offset at which it stands, in characters."""
        offset = self.sizes.get(delta.kind, 0)
        self.pieces.setdefault(delta.kind, []).append(delta.text)
        self.sizes[delta.kind] = offset + len(delta.text)
        return offset


class Streams:
    """The open streams, and the answers in flight, by execution."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # An execution asks one model at a time. Its answer so far outlives the execution's stay in memory.
        self._partials: dict[str, Partial] = {}
        self._readers: dict[str, dict[_Reader, None]] = {}  # in the order in which they came

    def __len__(self) -> int:
        return sum(len(readers) for readers in self._readers.values())

    def publish(self, resident: Resident, records: list[Recorded]) -> None:
        """Hand durable events to the readers."""
        for record in records:
            if isinstance(record.event, _ANSWERED):
                self._partials.pop(resident.execution_id, None)
        for reader in self._readers.get(resident.execution_id, ()):
            for record in records:
                reader.push(record)

    def begin(self, execution_id: str, step: str, attempt: int) -> Partial:
        """An attempt at a model step begins to answer."""
        part = self._partials[execution_id] = Partial(step, attempt)
        return part

    def delta(self, execution_id: str, part: Partial, delta: Delta) -> None:
        """Hand a piece of an answer to the readers."""
        offset = part.add(delta)
        readers = self._readers.get(execution_id)
        if readers:
            item = StreamDelta(part.step, part.attempt, delta.kind, offset, delta.text)
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
                if reader.joins(piece):
                    yield piece
            while not reader.behind:
                item = await reader.next()
                if isinstance(item, StreamDelta):
                    if reader.joins(item):
                        yield item
                    continue
                if item.seq > seq + 1:
                    break  # something is missing from the queue: the journal has it
                if item.seq > seq:
                    seq = item.seq
                    yield item
                if isinstance(item.event, TERMINAL):
                    return
            reader.behind = False

    def _so_far(self, execution_id: str) -> list[StreamDelta]:
        """What the attempt in flight has streamed before this reader came."""
        part = self._partials.get(execution_id)
        if part is None:
            return []
        return [
            StreamDelta(part.step, part.attempt, kind, 0, "".join(pieces))
            for kind, pieces in part.pieces.items()
        ]
