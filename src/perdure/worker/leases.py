"""Heartbeats: they keep the leases of everything in hand, results that are not handed in yet included."""

import asyncio
import contextlib
from collections.abc import Callable, Collection

from perdure.client.api import WorkerCalls
from perdure.core.errors import PerdureError
from perdure.wire.types import HeartbeatBody, LeaseRecord
from perdure.worker.attempt import Attempt

HEARTBEATS_PER_LEASE = 3


class Heartbeats:
    """Sends one heartbeat for all attempts in hand at a third of the shortest lease among them.

    *lost* is called for each attempt that the server says is held no longer. A heartbeat that fails says
    nothing about the lease: the work goes on, and the server judges its result by its epoch.
    """

    def __init__(
        self, api: WorkerCalls, worker: str, in_hand: Collection[Attempt], lost: Callable[[Attempt], None]
    ) -> None:
        self._api = api
        self._worker = worker
        self._in_hand = in_hand
        self._lost = lost
        self._interval_s = float("inf")
        self._shorter = asyncio.Event()

    def watch(self, lease_ms: int) -> None:
        """A task with this lease is in hand now."""
        interval_s = lease_ms / 1000 / HEARTBEATS_PER_LEASE
        if interval_s < self._interval_s:
            self._interval_s = interval_s
            self._shorter.set()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._shorter.clear()
            with contextlib.suppress(TimeoutError):
                timeout_s = None if self._interval_s == float("inf") else self._interval_s
                await asyncio.wait_for(self._shorter.wait(), timeout_s)
                continue
            if attempts := list(self._in_hand):
                await self._beat(attempts)

    async def _beat(self, attempts: list[Attempt]) -> None:
        leases = [LeaseRecord(a.task.execution_id, a.task.step, a.task.epoch) for a in attempts]
        with contextlib.suppress(PerdureError):
            answer = await self._api.heartbeat(HeartbeatBody(self._worker, leases), patience_s=0)
            for attempt, held in zip(attempts, answer.held, strict=False):
                if not held:
                    self._lost(attempt)
