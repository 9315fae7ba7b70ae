"""A journal between the engine and the real one, whose commits a test holds back, lets go and refuses."""

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.core.errors import JournalError
from perdure.core.events import kind_of
from perdure.engine.ports import Commit, StoredExecution

Outcome = StoredExecution | JournalError | None
Done = Callable[[Outcome], None]

FULL = JournalError("E0501", "The disk is full", where="a test", fix="Free space.")
DOWN = JournalError("E0506", "The disk does not answer", where="a test", fix="Wait.")


class FaultyJournal:
    """`Journal` and `Catalog` over another one.

    Attributes:
        holding: commits wait in `held` until `release`; none is durable before.
        failure: every commit, and every plan, ends in this error while it is set.
        reads_fail: every read ends in this error while it is set.
        spoil: called with each commit; what it raises is raised by `commit` itself, an error it gives is the outcome.
        refused: how many commits ended in `failure`.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.holding = False
        self.held: list[tuple[Commit, Done]] = []
        self.failure: JournalError | None = None
        self.reads_fail: JournalError | None = None
        self.spoil: Callable[[Commit], JournalError | None] = lambda _: None
        self.refused = 0

    def commit(self, commit: Commit, done: Done) -> None:
        spoiled = self.spoil(commit)
        if spoiled is not None:
            asyncio.get_running_loop().call_soon(done, spoiled)
        elif self.holding:
            self.held.append((commit, done))
        elif self.failure is not None:
            self.refused += 1
            asyncio.get_running_loop().call_soon(done, self.failure)
        else:
            self.inner.commit(commit, done)

    def release(self) -> None:
        """Let all commits through that wait, and those to come."""
        self.holding = False
        held, self.held = self.held, []
        for commit, done in held:
            self.commit(commit, done)

    def kinds(self) -> list[str]:
        """The kinds of the events that are held."""
        return [kind_of(event) for commit, _ in self.held for event in commit.events]

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.inner, name)
        if name in ("open", "close", "statistics"):
            return verb

        async def checked(*args: Any, **named: Any) -> Any:
            if name in ("put_plan", "deploy") and self.failure is not None:
                raise self.failure
            if self.reads_fail is not None:
                raise self.reads_fail
            return await verb(*args, **named)

        return checked


class Overlay:
    """An object some of whose attributes are other ones."""

    def __init__(self, inner: Any, **others: Any) -> None:
        self._inner = inner
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
