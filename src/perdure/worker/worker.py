"""The worker's loops.

    poll       one long poll asks for as many tasks as there is room for
    report     finished results go in at once, in batches, in a request that asks for more tasks as well, so
               that a busy worker makes one round trip for many steps and an idle long poll delays nothing
    heartbeat  keeps the leases (`leases`)

Rules:

W1  A long poll is never abandoned while it may carry tasks, save at the very end: a task that nobody reads is
    lost until its lease runs out. When tools are added, a second long poll is begun, and the first is its last.
W2  A result is handed in until the server has answered: recorded, or refused with its reason. While no server
    answers it is kept, and its lease asked for.
W3  Work whose lease is lost is stopped and dropped. Handing in its result would do no harm (E3).
W4  There are never more tasks running than `concurrency`; the room is promised to one request at a time.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import msgspec

from perdure.agents.functions import Served
from perdure.client.api import WorkerCalls
from perdure.client.calls import Backoff
from perdure.clock import Clock
from perdure.core.errors import ApiError, PerdureError
from perdure.wire.types import PollBody, TaskRecord
from perdure.worker.attempt import Attempt, Lease
from perdure.worker.functions import queue_name
from perdure.worker.leases import Heartbeats
from perdure.worker.outbox import Outbox
from perdure.worker.threads import Threads

LONG_POLL_MS = 10_000
LARGEST_WANT = 64
LAST_POLL_S = 0.25  # how long a stop waits for a long poll to come back by itself
KEEP = frozenset(
    {"E0506", "E0610", "E0501", "E0505", "E0502"}
)  # storage trouble: the result is not judged yet
OVER = frozenset({"E0307", "E0311", "E0401", "E0402"})  # nobody wants the result any more

_log = logging.getLogger("perdure.worker")


class StopReport(msgspec.Struct, frozen=True):
    """How a worker ended. `abandoned`: attempts still running or not handed in; their leases run out."""

    recorded: int
    dropped: int
    abandoned: int


class Worker:
    """Runs tasks of the tools and functions in *functions* (by queue name, see `queue_name`) in this process.

    Synchronous functions run in threads, asynchronous ones in the loop that runs the worker.

    Args:
        concurrency: tasks that run at the same time.
        name: how the worker shows itself; host, process and a random part by default.
        dependencies: objects of this process that the tools find in their context.
        threads: where synchronous functions run; closed with the worker.
        heartbeats: what keeps the leases; tests on virtual time have theirs in the worker's loop.
    """

    def __init__(
        self,
        api: WorkerCalls,
        functions: Mapping[str, Served],
        clock: Clock,
        *,
        concurrency: int = 32,
        name: str | None = None,
        dependencies: Mapping[str, Any] | None = None,
        threads: Threads | None = None,
        heartbeats: type[Heartbeats] = Heartbeats,
    ) -> None:
        self._api = api
        self._clock = clock
        self._functions = dict(functions)
        self._concurrency = concurrency
        self._dependencies = dict(dependencies or {})
        self._metadata: dict[str, dict[str, Any]] = {}
        self._dependencies_of: dict[str, dict[str, Any]] = {}
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:{clock.random_bytes(3).hex()}"
        self._in_hand: dict[Lease, Attempt] = {}
        self._running = 0
        self._promised: dict[object, int] = {}
        self._turn = asyncio.Semaphore(concurrency)
        self._recorded = self._dropped = 0
        self._room_made = asyncio.Event()
        self._finished = asyncio.Event()
        self._outbox = Outbox()
        self._threads = threads or Threads("perdure-tool")
        self._heartbeats = heartbeats(api, self.name, self._in_hand.values(), self._lose)
        self._polls: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._generation = 0
        self._stopping = False

    @property
    def tools(self) -> list[str]:
        """Queue names that are served."""
        return list(self._functions)

    def serve(
        self,
        functions: Mapping[str, Served],
        metadata: Mapping[str, dict[str, Any]] | None = None,
        dependencies: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Serve these functions too, from now on; one of the same queue name takes the old one's place.

        *metadata* and *dependencies* are what those of an agent, by its name, find in their context; an agent's own
        dependency goes before the worker's of the same name.
        """
        self._metadata.update(metadata or {})
        self._dependencies_of.update(dependencies or {})
        is_new = not self._functions.keys() >= functions.keys()
        self._functions.update(functions)
        if is_new and self._loops:
            self._begin_poll()

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        if self._loops or self._stopping:
            return
        self._loops = [self._spawn(self._report(), "report")]
        self._begin_poll()

    async def run(self) -> None:
        """Work until `stop`, or until cancelled: then stop at once."""
        self.start()
        try:
            done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                if not loop.cancelled():
                    loop.result()
        finally:
            await self.stop(grace_s=0)

    async def stop(self, grace_s: float = 30.0) -> StopReport:
        """Take no more tasks, finish those in hand within *grace_s* seconds, hand in their results."""
        self._stopping = True
        self._generation += 1
        give_up_at = self._clock.monotonic() + grace_s
        if self._polls:
            await asyncio.wait(self._polls, timeout=min(LAST_POLL_S, grace_s))
        await _cancel(self._polls)
        while self._in_hand and self._clock.monotonic() < give_up_at:
            self._room_made.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room_made.wait(), give_up_at - self._clock.monotonic())
        report = StopReport(self._recorded, self._dropped, len(self._in_hand))
        for attempt in list(self._in_hand.values()):
            self._lose(attempt)
        await _cancel([*self._loops, *(a.work for a in self._in_hand.values() if a.work is not None)])
        await self._heartbeats.stop()
        self._threads.close()
        if report.abandoned:
            _log.warning("stopped with %d tasks unfinished; other workers retake them", report.abandoned)
        return report

    # Asking for tasks ------------------------------------------------------------------------------------

    def _spawn(self, loop: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(loop, name=f"perdure-worker-{name}")
        task.add_done_callback(_report_crash)
        return task

    def _begin_poll(self) -> None:
        self._generation += 1
        self._promised.clear()  # the superseded poll may still bring tasks: they wait for their turn here
        self._room_made.set()
        if not self._functions:
            return
        task = self._spawn(self._poll(self._generation), "poll")
        self._polls.add(task)
        task.add_done_callback(self._polls.discard)

    async def _poll(self, generation: int) -> None:
        backoff = Backoff(self._clock, float("inf"))
        tools = self.tools
        while generation == self._generation:
            want = self._room()
            if want == 0:
                self._room_made.clear()
                await self._room_made.wait()
                continue
            body = PollBody(self.name, tools, want, LONG_POLL_MS)
            try:
                with self._promise(want):
                    answer = await self._api.poll(body, patience_s=0)
                    self._take(answer.tasks)
            except PerdureError as error:
                await self._trouble("ask for tasks", error, backoff)
            else:
                backoff.reset()

    def _room(self) -> int:
        return max(0, min(LARGEST_WANT, self._concurrency - self._running - sum(self._promised.values())))

    @contextlib.contextmanager
    def _promise(self, want: int) -> Iterator[None]:
        """Keep room for *want* tasks while a request for them is under way."""
        key = object()
        self._promised[key] = want
        try:
            yield
        finally:
            self._promised.pop(key, None)
            self._room_made.set()

    def _take(self, tasks: list[TaskRecord]) -> None:
        for task in tasks:
            lease = (task.execution_id, task.step, task.epoch)
            if lease in self._in_hand:
                continue
            tool = self._functions.get(queue_name(task.agent, task.tool))
            attempt = Attempt(
                task,
                tool,
                self._threads,
                self._clock,
                dependencies=self._dependencies | self._dependencies_of.get(task.agent, {}),
                metadata=self._metadata.get(task.agent),
            )
            self._in_hand[lease] = attempt
            self._running += 1
            self._heartbeats.watch(task.lease_ms)
            attempt.work = self._spawn(self._work(attempt), "task")

    async def _work(self, attempt: Attempt) -> None:
        try:
            async with self._turn:
                await attempt.perform()
        finally:
            self._running -= 1
            self._room_made.set()
        if attempt.is_lost:
            self._forget(attempt)
        else:
            self._outbox.put(attempt)
            self._finished.set()

    def _lose(self, attempt: Attempt) -> None:
        if attempt.record is None and not attempt.is_lost:
            _log.info("lost the lease of %s", attempt.where)
            self._dropped += 1
            attempt.lose()

    def _forget(self, attempt: Attempt) -> None:
        self._in_hand.pop(attempt.lease, None)
        self._room_made.set()

    # Handing in results ----------------------------------------------------------------------------------

    async def _report(self) -> None:
        backoff = Backoff(self._clock, float("inf"))
        limit = LARGEST_WANT
        while True:
            await self._finished.wait()
            self._finished.clear()
            while batch := self._outbox.batch(limit):
                limit = await self._hand_in(batch, backoff)

    async def _hand_in(self, batch: list[Attempt], backoff: Backoff) -> int:
        """Deliver a batch; return how many results the next one may have."""
        want = 0 if self._stopping else self._room()
        results = [a.record for a in batch if a.record is not None]
        try:
            with self._promise(want):
                body = PollBody(self.name, self.tools, want, 0, results)
                answer = await self._api.poll(body, patience_s=0)
                self._take(answer.tasks)
        except asyncio.CancelledError:
            self._outbox.put_back(batch)
            raise
        except PerdureError as error:
            if error.http_status >= 500 or error.http_status in {401, 403, 409, 429}:  # noqa: PLR2004
                self._outbox.put_back(batch)
                await self._trouble("hand in results", error, backoff)
            elif len(batch) > 1:  # one of them spoils the request: find out which
                self._outbox.put_back(batch)
            else:
                self._refused(batch[0], error)
            return 1
        backoff.reset()
        kept = [a for a, r in zip(batch, answer.receipts, strict=True) if not self._settle(a, r)]
        if kept:
            self._outbox.put_back(kept)
            await self._trouble("hand in results", ApiError("E0506", "The server cannot record"), backoff)
        return LARGEST_WANT

    def _settle(self, attempt: Attempt, receipt: dict[str, Any] | None) -> bool:
        """Act on the server's answer to one result; False: it must be handed in again."""
        if receipt is None:
            self._recorded += 1
            self._forget(attempt)
            return True
        code = str(receipt.get("code"))
        if code in KEEP:
            return False
        if code in OVER:
            _log.info("the result of %s came too late (%s)", attempt.where, code)
            self._dropped += 1
            self._forget(attempt)
            return True
        self._refused(attempt, ApiError("E0605", f"{receipt.get('what')} ({code})"))
        return True

    def _refused(self, attempt: Attempt, error: PerdureError) -> None:
        """The server cannot take this result at all: hand in that error in its place, once."""
        if attempt.replace(error):
            self._outbox.put(attempt)
            self._finished.set()
            return
        _log.error("the server refuses the result of %s: %s", attempt.where, error)
        self._dropped += 1
        self._forget(attempt)

    async def _trouble(self, what: str, error: PerdureError, backoff: Backoff) -> None:
        if backoff.is_fresh:
            _log.warning("cannot %s: %s; trying on", what, error)
        await backoff.pause()


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("the worker's %s failed", task.get_name(), exc_info=error)


async def _cancel(tasks: "set[asyncio.Task[None]] | list[asyncio.Task[None]]") -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
