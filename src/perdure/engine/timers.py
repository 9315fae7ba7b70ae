"""Timers: wake executions whose time has come.

The journal's `next_due_ms` is the only timer table: nothing is kept in memory for an execution that waits, and a
restart loses none. The machine decides what a tick means, so that a tick too many does no harm.
"""

import asyncio
import contextlib

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.errors import PerdureError
from perdure.engine.ports import Journal
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_BATCH = 200
_LONGEST_SLEEP_S = 60.0  # wall time can jump while we sleep
_RETRY_S = 1.0  # after a failed read; and until an execution that is still due is given another tick
_SETTLE_S = 0.02  # ticks are committed in a moment: asking at once would find the same rows again


class Timers:
    """One background loop that sleeps until the earliest due time."""

    def __init__(self, journal: Journal, residency: Residency, clock: Clock) -> None:
        self._journal = journal
        self._residency = residency
        self._clock = clock
        self._wake = asyncio.Event()
        self._next: int | None = None
        # Who was given a tick that is not settled yet, and when, in monotonic seconds. Executions that cannot be
        # read or written stay due: they must neither keep a processor busy nor stand in the way of the others.
        self._fired: dict[str, float] = {}

    def note(self, resident: Resident, due_ms: int) -> None:
        """A commit has set a due time."""
        self._fired.pop(resident.execution_id, None)
        if self._next is None or due_ms < self._next:
            self._next = due_ms
            self._wake.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            # What is noted while the journal is asked counts as well: the answer may be older than it.
            self._next = None
            try:
                stored = await self._journal.next_due()
            except PerdureError as error:
                _log.warning("timers_wait", code=error.code, error=error.what)
                await asyncio.sleep(_RETRY_S)
                continue
            self._next = min((due for due in (stored, self._next) if due is not None), default=None)
            await self._sleep()
            await self._fire()

    async def _sleep(self) -> None:
        while True:
            self._wake.clear()
            wait = _LONGEST_SLEEP_S
            if self._next is not None:
                wait = min(wait, (self._next - self._clock.now_ms()) / 1000)
            if wait <= 0:
                return
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        # Not `wait_for`: on Python 3.11 it can swallow a cancel that comes with the wake-up (cpython 86296).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _fire(self) -> None:
        oldest = self._clock.monotonic() - _RETRY_S
        self._fired = {i: at for i, at in self._fired.items() if at > oldest}
        try:
            due = await self._journal.due(self._clock.now_ms(), _BATCH + len(self._fired))
        except PerdureError as error:
            _log.warning("timers_wait", code=error.code, error=error.what)
            await asyncio.sleep(_RETRY_S)
            return
        fresh = [execution_id for execution_id in due if execution_id not in self._fired]
        for execution_id in fresh:
            self._fired[execution_id] = self._clock.monotonic()
            self._residency.deliver(execution_id, inp.Tick())
        if fresh or not due:
            await asyncio.sleep(_SETTLE_S)
        else:  # all that is due has been told: wait for one of them to move, or for a new time
            self._next = None
            self._wake.clear()
            await self._pause(_RETRY_S)
