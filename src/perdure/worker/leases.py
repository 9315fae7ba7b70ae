"""Heartbeats: they keep the leases of everything in hand, results that are not handed in yet included.

They have a thread and a connection of their own. An asynchronous tool that blocks its event loop (a `time.sleep`,
a synchronous HTTP call) is a common mistake; it makes everything in that loop wait, but it must not lose its lease,
or it would be run again and again and never end.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection

from perdure.client.api import WorkerCalls
from perdure.core.errors import PerdureError
from perdure.wire.types import HeartbeatBody, LeaseRecord
from perdure.worker.attempt import Attempt

HEARTBEATS_PER_LEASE = 3


class Heartbeats:
    """Sends one heartbeat for all attempts in hand at a third of the shortest lease among them.

    *lost* is called, in the worker's loop, for each attempt that the server says is held no longer. A heartbeat
    that fails says nothing about the lease: the work goes on, and the server judges its result by its epoch.
    """

    def __init__(
        self, api: WorkerCalls, worker: str, in_hand: Collection[Attempt], lost: Callable[[Attempt], None]
    ) -> None:
        self._api = api
        self._worker = worker
        self._in_hand = in_hand
        self._lost = lost
        self._interval_s = float("inf")
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._lock = threading.Lock()
        self._stopping = False
        self._beating: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def watch(self, lease_ms: int) -> None:
        """A task with this lease is in hand now; the first one starts the thread."""
        interval_s = lease_ms / 1000 / HEARTBEATS_PER_LEASE
        if interval_s >= self._interval_s:
            return
        self._interval_s = interval_s
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            self._thread = threading.Thread(
                target=self._main, args=(loop, self._ended), name="perdure-heartbeat", daemon=True
            )
            self._thread.start()
        else:
            self._wake()

    async def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake()
        if self._ended is not None:
            await self._ended

    def _wake(self) -> None:
        with self._lock:  # the thread takes its loop away under the same lock before it is closed
            if self._beating is not None:
                loop, changed = self._beating
                loop.call_soon_threadsafe(changed.set)

    def _main(self, worker_loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        try:
            asyncio.run(self._run(worker_loop))
        finally:
            with contextlib.suppress(RuntimeError):  # the worker's loop is closed: nobody waits
                worker_loop.call_soon_threadsafe(_settle, ended)

    async def _run(self, worker_loop: asyncio.AbstractEventLoop) -> None:
        changed = asyncio.Event()
        with self._lock:
            self._beating = asyncio.get_running_loop(), changed
        api = self._api.twin()
        try:
            while not self._stopping:
                if await _within(changed, self._interval_s):
                    changed.clear()
                elif attempts := list(self._in_hand):
                    beat = asyncio.ensure_future(self._beat(api, attempts, worker_loop))
                    stop = asyncio.ensure_future(self._until_stopped(changed))
                    await asyncio.wait([beat, stop], return_when=asyncio.FIRST_COMPLETED)
                    for task in (beat, stop):
                        task.cancel()
                    await asyncio.gather(beat, stop, return_exceptions=True)
        finally:
            with self._lock:
                self._beating = None
            await api.aclose()

    async def _until_stopped(self, changed: asyncio.Event) -> None:
        while not self._stopping:
            await changed.wait()
            changed.clear()

    async def _beat(
        self, api: WorkerCalls, attempts: list[Attempt], worker_loop: asyncio.AbstractEventLoop
    ) -> None:
        leases = [LeaseRecord(a.task.execution_id, a.task.step, a.task.epoch) for a in attempts]
        with contextlib.suppress(PerdureError):
            answer = await api.heartbeat(HeartbeatBody(self._worker, leases), patience_s=0)
            for attempt, held in zip(attempts, answer.held, strict=False):
                if not held:
                    worker_loop.call_soon_threadsafe(self._lost, attempt)


async def _within(changed: asyncio.Event, timeout_s: float) -> bool:
    """Whether *changed* was set within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        return False
    return True


def _settle(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)
