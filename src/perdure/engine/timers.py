"""Timers: wake executions whose time has come.

The journal's `next_due_ms` is the only timer table: nothing is kept in memory for an execution that waits, and a
restart loses none. The machine decides what a tick means, so that a tick too many does no harm.
"""

import asyncio

import structlog

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.errors import PerdureError
from perdure.engine.ports import Journal
from perdure.engine.residency import Residency

_log = structlog.get_logger("perdure.engine")
_BATCH = 200
_LONGEST_SLEEP_S = 60.0  # wall time can jump while we sleep
_RETRY_S = 1.0
_SETTLE_S = 0.02


class Timers:
    """One background loop that sleeps until the earliest due time."""

    def __init__(self, journal: Journal, residency: Residency, clock: Clock) -> None:
        self._journal = journal
        self._residency = residency
        self._clock = clock
        self._wake = asyncio.Event()
        self._next: int | None = None
        self._fired: list[str] = []

    def note(self, due_ms: int) -> None:
        """A commit has set a due time."""
        if self._next is None or due_ms < self._next:
            self._next = due_ms
            self._wake.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                self._next = await self._journal.next_due()
            except PerdureError as error:
                _log.warning("timers_wait", code=error.code, error=error.what)
                await asyncio.sleep(_RETRY_S)
                continue
            await self._sleep()
            if self._next is not None and self._next <= self._clock.now_ms():
                await self._fire()

    async def _sleep(self) -> None:
        while True:
            self._wake.clear()
            wait = _LONGEST_SLEEP_S
            if self._next is not None:
                wait = min(wait, (self._next - self._clock.now_ms()) / 1000)
            if wait <= 0:
                return
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    async def _fire(self) -> None:
        try:
            ids = await self._journal.due(self._clock.now_ms(), _BATCH)
        except PerdureError as error:
            _log.warning("timers_wait", code=error.code, error=error.what)
            ids = []
        for execution_id in ids:
            self._residency.deliver(execution_id, inp.Tick())
        # The ticks are committed in a moment; asking at once would find the same rows again. Rows that stay due
        # belong to executions that cannot be read or written: they must not keep a processor busy.
        again, self._fired = self._fired == ids, ids
        await asyncio.sleep(_RETRY_S if again or not ids else _SETTLE_S)
