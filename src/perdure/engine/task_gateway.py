"""The task gateway: steps on offer, and the workers that take them. Implements the port `Tasks`.

An offer is a row in memory: execution, step, queue. It is derived from the state, so that a restart makes all of
them again. A worker's poll records `tool_started` first and hands the task out afterwards (E1); its result is
recorded before it is acknowledged (E2), once, under the epoch that holds the lease (E3).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from perdure.clock import Clock
from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.effects import OfferTask, WithdrawTask
from perdure.core.errors import PerdureError
from perdure.core.machines.draft import Applied
from perdure.engine.config import EngineConfig
from perdure.engine.driver import STORAGE_DOWN, Driver, settle
from perdure.engine.faults import crash_point
from perdure.engine.journal.failures import not_open
from perdure.engine.leases import Key, Leases
from perdure.engine.ports import LeaseRef, StoredExecution, Task, TaskResult, WorkerView, task_queue_name
from perdure.engine.residency import Residency
from perdure.engine.resident import Done, Resident


class _Waiter:
    """A poll that waits for an offer on one of its queues."""

    __slots__ = ("queues", "wake")

    def __init__(self, queues: dict[str, None]) -> None:
        self.queues = queues
        self.wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Worker:
    """A worker as last heard of."""

    __slots__ = ("queues", "seen", "seen_ms")

    def __init__(self) -> None:
        self.queues: dict[str, None] = {}
        self.seen = 0.0
        self.seen_ms = 0


class TaskGateway:
    """Offers, polls, results and heartbeats."""

    def __init__(self, driver: Driver, residency: Residency, clock: Clock, config: EngineConfig) -> None:
        self.leases = Leases(clock, config.lease_ms)
        self.counts = {"offered": 0, "taken": 0, "completed": 0, "failed": 0, "stale": 0, "lost": 0}
        self._driver = driver
        self._residency = residency
        self._clock = clock
        self._config = config
        self._queues: dict[str, dict[Key, None]] = {}
        self._waiters: list[_Waiter] = []
        self._workers: dict[str, _Worker] = {}
        self._closed = False

    # Effects -------------------------------------------------------------------------------------------

    def offer(self, resident: Resident, effect: OfferTask) -> None:
        """Put a step on offer; again does nothing."""
        self.offer_step(resident.execution_id, effect.agent or resident.agent, effect.step, effect.tool)

    def offer_step(self, execution_id: str, agent: str, step: str, tool: str) -> None:
        """Put a step on offer without its execution in memory."""
        queue = task_queue_name(agent, tool)
        self._queues.setdefault(queue, {})[(execution_id, step)] = None
        self.counts["offered"] += 1
        self._nudge(queue)

    def _nudge(self, queue: str) -> None:
        for waiter in self._waiters:
            if queue in waiter.queues and not waiter.wake.done():
                waiter.wake.set_result(None)
                break

    def withdraw(self, resident: Resident, effect: WithdrawTask) -> None:
        """Take a step off, and end its lease: the worker learns it at its next heartbeat."""
        key = (resident.execution_id, effect.step)
        self.leases.end(key)
        for queue in list(self._queues.values()):
            queue.pop(key, None)

    def waiting(self) -> int:
        """How many steps are on offer."""
        return sum(len(queue) for queue in self._queues.values())

    def served(self, queue: str) -> bool:
        """Whether a worker heard of within two leases polls this queue."""
        limit = self._clock.monotonic() - 2 * self._config.lease_ms / 1000
        return any(queue in w.queues and w.seen >= limit for w in self._workers.values())

    # Polling -------------------------------------------------------------------------------------------

    async def poll(self, worker: str, tools: Sequence[str], want: int, wait_ms: int) -> list[Task]:
        """See `ports.Tasks.poll`."""
        if self._closed:
            raise not_open("the engine")
        queues = dict.fromkeys(tools)  # a set that keeps its order, so that a simulation repeats itself
        self._hear(worker).queues = queues
        deadline = self._clock.monotonic() + wait_ms / 1000
        while True:
            tasks = await self._take(worker, queues, want)
            left = deadline - self._clock.monotonic()
            if tasks or left <= 0 or want <= 0 or self._closed:
                return tasks
            await self._wait(queues, left)
            self._hear(worker)

    def _hear(self, worker: str) -> _Worker:
        known = self._workers.get(worker)
        if known is None:
            known = self._workers[worker] = _Worker()
        known.seen = self._clock.monotonic()
        known.seen_ms = self._clock.now_ms()
        return known

    async def _wait(self, queues: dict[str, None], seconds: float) -> None:
        waiter = _Waiter(queues)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.wake
        except TimeoutError:
            return
        except asyncio.CancelledError:
            # The caller is gone; what woke it must wake another.
            for queue in queues:
                if queue in self._queues:
                    self._nudge(queue)
            raise
        finally:
            self._waiters.remove(waiter)

    def _pick(self, queues: dict[str, None], want: int) -> list[tuple[str, Key]]:
        """Take up to *want* offers, from each queue in turn, the oldest first."""
        picked: list[tuple[str, Key]] = []
        filled = [name for name in queues if self._queues.get(name)]
        while filled and len(picked) < want:
            for name in list(filled):
                queue = self._queues[name]
                key = next(iter(queue))
                del queue[key]
                picked.append((name, key))
                if not queue:
                    del self._queues[name]
                    filled.remove(name)
                if len(picked) >= want:
                    break
        return picked

    async def _take(self, worker: str, queues: dict[str, None], want: int) -> list[Task]:
        picked = self._pick(queues, want)
        if not picked:
            return []
        asked: set[Key] = set()
        leasing = (self._lease(key, worker, asked) for _, key in picked)
        try:
            found = await asyncio.gather(*leasing, return_exceptions=True)
        except asyncio.CancelledError:
            # The caller is gone. What was not yet asked for on its behalf is on offer as before.
            for queue, key in picked:
                if key not in asked:
                    self._put_back(queue, key)
            raise
        tasks: list[Task] = []
        failure: PerdureError | None = None
        for (queue, key), outcome in zip(picked, found, strict=True):
            if isinstance(outcome, Task):
                tasks.append(outcome)
            elif isinstance(outcome, PerdureError) and outcome.code in STORAGE_DOWN:
                # The storage is down: the offer stands, and the worker hears why it gets nothing.
                self._put_back(queue, key)
                failure = outcome
            elif isinstance(outcome, BaseException) and not isinstance(outcome, PerdureError):
                raise outcome
        if failure is not None and not tasks:
            raise failure
        self.counts["taken"] += len(tasks)
        return tasks

    def _put_back(self, queue: str, key: Key) -> None:
        self._queues.setdefault(queue, {})[key] = None
        self._nudge(queue)

    async def _lease(self, key: Key, worker: str, asked: set[Key]) -> Task | None:
        execution_id, step = key
        resident = await self._residency.get(execution_id)
        asked.add(key)

        def post(done: Done) -> None:
            def granted(owner: Resident | None, answer: Applied | PerdureError | StoredExecution) -> None:
                # The lease begins in the same breath as its record is known: nothing can come in between.
                epoch = _epoch(answer, step)
                current = owner.state.steps.get(step) if owner is not None else None
                if epoch and current is not None and current.attempt == epoch and current.worker == worker:
                    self.leases.grant(key, worker, epoch)
                done(owner, answer)

            self._driver.post(resident, inp.TakeTask(step, worker), granted)

        owner, answer = await settle(post)
        epoch = _epoch(answer, step)
        # None: withdrawn, paused, or taken and cancelled in one breath.
        return self._task(owner, step, epoch) if epoch and self.leases.holds(key, epoch) else None

    def _task(self, resident: Resident, step: str, epoch: int) -> Task | None:
        transcript = resident.transcript
        call = transcript.calls.get(step) or transcript.functions.get(step)
        if call is None:
            return None
        plan = resident.plan.tool(call.tool)
        owner = resident.state.steps[step].agent if step in resident.state.steps else None
        deadline = None if plan.timeout_ms is None else self._clock.now_ms() + plan.timeout_ms
        return Task(
            execution_id=resident.execution_id,
            step=step,
            epoch=epoch,
            agent=owner or resident.agent,
            tool=call.tool,
            call_id=call.call_id,
            arguments=call.arguments,
            idempotency_key=call.key or ids.idempotency_key(resident.execution_id, step),
            lease_ms=self._config.lease_ms,
            deadline_ms=deadline,
            timeout_ms=plan.timeout_ms,
            state=resident.state.shared,
            session_id=resident.session_id,
        )

    # Results -------------------------------------------------------------------------------------------

    async def complete(self, results: Sequence[TaskResult]) -> list[dict[str, Any] | None]:
        """See `ports.Tasks.complete`."""
        return list(await asyncio.gather(*(self._record(result) for result in results)))

    async def _record(self, result: TaskResult) -> dict[str, Any] | None:
        crash_point("after_effect_before_record", ("tool",))
        try:
            await self._residency.settle(result.execution_id, self._item(result))
        except PerdureError as error:
            self.counts["stale" if error.code == "E0307" else "failed"] += 1
            return error.to_wire()
        self.leases.end((result.execution_id, result.step), result.epoch)
        self.counts["completed"] += 1
        self._hear(result.worker)
        return None

    def _item(self, result: TaskResult) -> inp.Input:
        if result.error is None:
            return inp.TaskSucceeded(
                result.step, result.epoch, result.result, result.state, result.duration_ms
            )
        texts = {k: str(result.error.get(k, "")) for k in ("what", "where", "why", "fix")}
        error = ev.ErrorInfo(str(result.error.get("code", "E0301")), **texts)
        return inp.TaskErrored(result.step, result.epoch, error, result.retryable, self._clock.random_unit())

    def heartbeat(self, worker: str, leases: Sequence[LeaseRef]) -> list[bool]:
        """See `ports.Tasks.heartbeat`."""
        self._hear(worker)
        return [self.leases.renew(worker, ref) for ref in leases]

    def workers(self) -> list[WorkerView]:
        """See `ports.Tasks.workers`."""
        limit = self._clock.monotonic() - self._config.worker_seen_ms / 1000
        return [
            WorkerView(name, tuple(sorted(w.queues)), w.seen_ms, self.leases.count_of(name))
            for name, w in self._workers.items()
            if w.seen >= limit
        ]

    # Background ----------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Report leases that ran out, and forget workers that are long gone."""
        for (execution_id, step), lease in self.leases.expire():
            self.counts["lost"] += 1
            reason = f"worker {lease.worker} was silent for {self._config.lease_ms} ms"
            self._residency.deliver(execution_id, inp.TaskSilent(step, lease.epoch, reason))
        limit = self._clock.monotonic() - 2 * self._config.worker_seen_ms / 1000
        for name in [n for n, w in self._workers.items() if w.seen < limit]:
            del self._workers[name]

    def close(self) -> None:
        """Let every waiting poll go."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.wake.done():
                waiter.wake.set_result(None)


def _epoch(answer: object, step: str) -> int:
    """The epoch that an answer's events give to *step*; 0 when they give none."""
    if isinstance(answer, Applied):
        for event in answer.events:
            if isinstance(event, ev.ToolStarted) and event.step == step:
                return event.epoch
    return 0
