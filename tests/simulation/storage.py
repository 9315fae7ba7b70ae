"""A journal that takes its time, is full for a while, and dies with its process."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from perdure.core.errors import JournalError
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import Commit, StoredExecution

Outcome = StoredExecution | JournalError | None


class Outage:
    """Whether the disk is full, or cannot be read, at the moment. Shared by all processes of a world."""

    def __init__(self) -> None:
        self.full = False
        self.unreadable = False


def storage_error(code: str) -> JournalError:
    """An outage as the engine sees it."""
    return JournalError(code, "The disk does not take part", where="a simulated disk", fix="Wait.")


class FaultyJournal:
    """`Journal` and `Catalog` of one process, over the journal in memory that outlives it.

    Commits are applied in the order in which they were given, and answered later; a kill comes before, between or
    after the two. Nothing reaches a process that is dead.
    """

    def __init__(
        self,
        inner: MemoryJournal,
        outage: Outage,
        rng: random.Random,
        slowest_s: float,
        alive: Callable[[], bool],
        applied: Callable[[Commit], None],
    ) -> None:
        self._inner = inner
        self._outage = outage
        self._rng = rng
        self._slowest_s = slowest_s
        self._alive = alive
        self._applied = applied
        self._write_at = 0.0
        self._answer_at = 0.0

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    def _delay(self) -> float:
        # Mostly a sync of a good disk, now and then a bad moment.
        return self._rng.random() * (self._slowest_s if self._rng.random() < 0.05 else 0.003)

    def commit(self, commit: Commit, done: Callable[[Outcome], None]) -> None:
        if not self._alive():
            return
        loop = asyncio.get_running_loop()
        self._write_at = max(self._write_at, loop.time() + self._delay())
        loop.call_at(self._write_at, self._write, commit, done)

    def _write(self, commit: Commit, done: Callable[[Outcome], None]) -> None:
        if not self._alive():
            return  # killed before the sync: it never happened
        if self._outage.full:
            self._answer(done, storage_error("E0501"))
        else:
            self._inner.commit(commit, lambda outcome: self._answer(done, outcome))
            self._applied(commit)

    def _answer(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        loop = asyncio.get_running_loop()
        self._answer_at = max(self._answer_at, loop.time() + self._delay())
        loop.call_at(self._answer_at, self._tell, done, outcome)

    def _tell(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        if self._alive():
            done(outcome)

    def __getattr__(self, name: str) -> Any:
        """The verbs that read, and those of the catalog."""
        verb = getattr(self._inner, name)
        if name == "statistics":
            return verb

        async def delayed(*args: Any, **named: Any) -> Any:
            await self._ready(name)
            answer = await verb(*args, **named)
            await asyncio.sleep(self._delay())  # what is read may be old by the time that it arrives
            return answer

        return delayed

    async def _ready(self, name: str) -> None:
        await asyncio.sleep(self._delay())
        if not self._alive():
            await asyncio.get_running_loop().create_future()  # nobody is there to be answered
        if name in ("put_plan", "deploy"):
            if self._outage.full:
                raise storage_error("E0501")
        elif self._outage.unreadable:
            raise storage_error("E0506")
