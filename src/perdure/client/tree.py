"""Following an execution and all executions below it, as one stream of records.

Each execution has a stream of its own, which outlives lost connections and restarts by itself (`ExecutionCalls.stream`).
A child's is opened when its parent's record of it comes by. The order among them is that of cause and effect: a child's
records come after the one that asks for it, and the one that says how it ended, as well as the end of its parent, comes
after all of its own. So a reader that has seen an execution's end has seen everything below it.

A reader's place is one position for each execution. To go on from a place, the events before it are read again from the
journal, because they say which children were under way.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Protocol

from perdure.client.following import TERMINAL_KINDS, StreamRecord
from perdure.core.errors import PerdureError
from perdure.wire.types import EventRecord, EventsAnswer

PAGE = 500
AHEAD = 64  # records that are read before anybody takes them
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
# An execution that was cancelled has its children cancelled right after it; whoever reads does not wait longer.
CHILDREN_END_S = 5.0

_CHILD_ENDS = frozenset({"child_completed", "child_failed"})
# Not begun yet; too many streams are open at this moment.
_TRY_CHILD_AGAIN = frozenset({"E0401", "E0615"})


class Streams(Protocol):
    """The routes that are needed (`ExecutionCalls` has them)."""

    def stream(self, execution_id: str, after: int = 0) -> AsyncGenerator[StreamRecord, None]:
        """One execution's records."""

    async def events(self, execution_id: str, after: int = 0, limit: int = 500) -> EventsAnswer:
        """A page of one execution's journal."""


async def follow(
    api: Streams,
    execution_id: str,
    places: Mapping[str, int] | None = None,
    *,
    tree: bool = True,
    learn: Callable[[EventRecord], object] | None = None,
) -> AsyncGenerator[StreamRecord, None]:
    """The records of an execution and of all below it, until it has ended.

    Args:
        api: where from.
        execution_id: the root of what is followed.
        places: the last position seen of each execution; of one that is not named, everything is given.
        tree: off: the records of this execution alone.
        learn: is called with each event before the place, in order.

    Raises:
        PerdureError: what a stream of one of them raises.
    """
    reading = _Reading(api, places or {}, learn, tree=tree)
    try:
        reading.begin(execution_id, is_root=True)
        while (found := await reading.queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        await reading.close()


class _Reader:
    """One execution's stream being read. `is_over`: its parent has heard of its end, or has ended itself."""

    def __init__(self, execution_id: str, *, is_root: bool) -> None:
        self.execution_id = execution_id
        self.is_root = is_root
        self.is_over = False
        self.task: asyncio.Task[None] | None = None


class _Reading:
    """All readers of one tree, and the queue that they write to. None in the queue: the root has ended."""

    def __init__(
        self,
        api: Streams,
        places: Mapping[str, int],
        learn: Callable[[EventRecord], object] | None,
        *,
        tree: bool,
    ) -> None:
        self.queue: asyncio.Queue[StreamRecord | BaseException | None] = asyncio.Queue(AHEAD)
        self._api, self._places, self._learn, self._tree = api, places, learn, tree
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, execution_id: str, *, is_root: bool = False) -> _Reader:
        """Read one more execution."""
        reader = _Reader(execution_id, is_root=is_root)
        reader.task = self._spawn(self._read(reader))
        reader.task.add_done_callback(self._ended)
        return reader

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._spawn(self.queue.put(error))

    async def close(self) -> None:
        """Hang up everywhere."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, reader: _Reader) -> None:
        after = self._places.get(reader.execution_id, 0)
        asked = await self._stored(reader.execution_id, after) if after else {}
        open_ = {step: self.begin(child) for step, child in asked.items()}
        records = self._records(reader, after)
        async with contextlib.aclosing(records):
            async for record in records:
                event = record.event if isinstance(record, EventRecord) and self._tree else {}
                kind = event.get("kind")
                if kind in _CHILD_ENDS:
                    await self._let_end([open_.pop(event["step"], None)], None)
                elif kind in TERMINAL_KINDS:
                    await self._let_end(list(open_.values()), CHILDREN_END_S)
                await self.queue.put(record)
                if kind == "child_requested":
                    open_[event["step"]] = self.begin(event["child_id"])
        if reader.is_root:
            await self.queue.put(None)

    async def _stored(self, execution_id: str, upto: int) -> dict[str, str]:
        """The children that are under way at a position, by step."""
        found: dict[str, str] = {}
        seq = 0
        while seq < upto:
            page = await self._api.events(execution_id, seq, min(PAGE, upto - seq))
            if not page.events:
                break
            for record in page.events:
                if self._learn is not None:
                    self._learn(record)
                if record.event.get("kind") == "child_requested" and self._tree:
                    found[record.event["step"]] = record.event["child_id"]
                elif record.event.get("kind") in _CHILD_ENDS:
                    found.pop(record.event["step"], None)
            seq = page.events[-1].seq
        return found

    async def _let_end(self, readers: list[_Reader | None], timeout_s: float | None) -> None:
        """Read to their end what these still have to say; what says nothing more for too long is left."""
        tasks = []
        for reader in readers:
            if reader is not None and reader.task is not None:
                reader.is_over = True
                tasks.append(reader.task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _records(self, reader: _Reader, after: int) -> AsyncGenerator[StreamRecord, None]:
        """The execution's own stream. A child's is tried again while there is no such execution yet."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with contextlib.aclosing(self._api.stream(reader.execution_id, after)) as records:
                    async for record in records:
                        yield record
            except PerdureError as error:
                if reader.is_root or error.code not in _TRY_CHILD_AGAIN:
                    raise
                if reader.is_over and error.code == "E0401":
                    return  # it was never begun
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
