"""Sessions: conversations that go on from one execution to the next, in order.

An execution of a session goes on from the one before it of the same agent. Its journal holds a reference to that
conversation, never a copy. When the one before has not ended yet, the new one waits for it (`waiting:session`), so that
two that are started at once are one after the other. What a crash takes away between the end of one and the
beginning of the next is made good at the next start: who waits looks whether the one before has ended.
"""

import asyncio
from collections.abc import Coroutine

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import AwaitSession
from perdure.core.errors import JournalError, PerdureError
from perdure.core.events import HistoryRef
from perdure.engine.driver import STORAGE_DOWN, Driver
from perdure.engine.journal.failures import not_storable
from perdure.engine.ports import TERMINAL_STATUSES, ExecutionFilter, Journal
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_RETRY_S = 0.5


class Sessions:
    """Which execution comes before which, and who waits for whom."""

    def __init__(self, journal: Journal, driver: Driver, residency: Residency) -> None:
        self._journal = journal
        self._driver = driver
        self._residency = residency
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        # By whom they wait for: who waits, and which execution is the one before it.
        self._next: dict[str, set[tuple[str, str]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def lock(self, session_id: str, agent: str) -> asyncio.Lock:
        """Held while an execution of the session is begun, so that each sees the one before it."""
        key = (session_id, agent)
        for other in [k for k, lock in self._locks.items() if k != key and not lock.locked()]:
            del self._locks[other]
        return self._locks.setdefault(key, asyncio.Lock())

    async def before(self, session_id: str, agent: str) -> tuple[HistoryRef | None, str | None]:
        """The conversation that a new execution of the session goes on from, and whom it must wait for, if anybody.

        Raises:
            JournalError: E0508, the session's id is no valid text; E0501, E0503, E0506.
        """
        try:
            session_id.encode()
        except UnicodeEncodeError as error:
            raise not_storable(error, "that is to begin") from error
        found = await self._journal.find(
            ExecutionFilter(session_id=session_id, agent=agent, roots=True, limit=1)
        )
        if not found:
            return None, None
        last = found[0]
        ended = last.status in TERMINAL_STATUSES and await self._open_before(last.execution_id) is None
        return HistoryRef(last.execution_id, "session"), None if ended else last.execution_id

    async def _open_before(self, execution_id: str) -> str | None:
        """Who must end yet before what comes after an execution that has ended.

        One that was ended while it waited has not waited to the end: whoever comes after it does that in its place.
        """
        while True:
            first = [r.event for r in await self._journal.events(execution_id, 0, 2)]
            awaited = next((e for e in first if isinstance(e, ev.SessionAwaited)), None)
            if awaited is None:
                return None
            rest = await self._journal.events(execution_id, 2)
            if any(isinstance(r.event, ev.SessionJoined) for r in rest):
                return None
            row = await self._journal.load(awaited.execution_id)
            if row is not None and row.status not in TERMINAL_STATUSES:
                return awaited.execution_id
            execution_id = awaited.execution_id

    # Waiting -------------------------------------------------------------------------------------------

    def wait(self, resident: Resident, effect: AwaitSession) -> None:
        """Tell the execution when the one before it has ended."""
        self.wait_for(resident.execution_id, effect.execution_id)

    def wait_for(self, execution_id: str, before: str) -> None:
        """The same, without the execution in memory."""
        self._wait(before, execution_id, before)

    def _wait(self, ends: str, execution_id: str, before: str) -> None:
        self._next.setdefault(ends, set()).add((execution_id, before))
        self._spawn(self._look(ends))

    async def _look(self, before: str) -> None:
        while True:
            try:
                row = await self._journal.load(before)
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                if row is None or row.status in TERMINAL_STATUSES:
                    self.ended(before)
                return

    def ended(self, execution_id: str) -> None:
        """An execution has ended: those that wait for it go on."""
        for waiting, before in sorted(self._next.pop(execution_id, ())):
            self._spawn(self._join(waiting, before))

    async def _join(self, execution_id: str, before: str) -> None:
        while True:
            try:
                earlier = await self._open_before(before)
                if earlier is not None:
                    self._wait(earlier, execution_id, before)
                    return
                resident = await self._residency.get(execution_id)
                if not resident.joined:
                    ref, plan = HistoryRef(before, "session"), resident.plan
                    history = await self._residency.history_of(ref, plan.agent, plan.include_contents)
                    resident = await self._residency.get(execution_id)
                    if not resident.joined:
                        resident.joined = True
                        resident.transcript.go_on_from(history)
                        resident.transcript.earlier = len(history)
                self._driver.post(resident, inp.JoinSession(before), None)
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._closed:  # a commit that was under way has ended one
            work.close()
            return
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except PerdureError as error:
            _log.error("session_fault", code=error.code, error=error.what)

    async def close(self) -> None:
        """Stop what is under way; a restart makes it good."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
