"""Workers that are not always what they should be: slow, dying, silent, late, and telling everything twice."""

import asyncio
from typing import Any

from perdure.core.ids import idempotency_key
from perdure.engine.ports import LeaseRef, Task, TaskResult
from tests.simulation.world import LEASE_MS, OUTAGES, World

LATE = frozenset({"E0307", "E0402"})
UNSTORABLE = frozenset({"E0508", "E0414"})


async def work(world: World, name: str) -> None:
    """Poll, and work at several tasks at once; some serve only a part of the tools while there is chaos."""
    rng = world.rng
    tasks: set[asyncio.Task[None]] = set()
    every = world.queues
    queues = every if rng.random() < 0.7 else rng.sample(every, (len(every) + 1) // 2)
    while True:
        patience_s = rng.choice((0.05, 1.0, 5.0, 5.0))
        polling = world.tasks("poll", name, queues if world.chaos else every, rng.choice((1, 2, 4)), 2_000)
        found: list[Task] = []
        try:
            found = await asyncio.wait_for(polling, patience_s)
        except TimeoutError:
            continue  # it hangs up
        except Exception as error:
            world.expect(error)
            await asyncio.sleep(0.3)
        for task in found:
            assert task.idempotency_key == idempotency_key(task.execution_id, task.step)
            doing = asyncio.get_running_loop().create_task(_Attempt(world, name, task).perform())
            tasks.add(doing)
            doing.add_done_callback(tasks.discard)


class _Attempt:
    """One task in one worker's hands."""

    def __init__(self, world: World, name: str, task: Task) -> None:
        self._world = world
        self._name = name
        self._task = task
        self._lease = LeaseRef(task.execution_id, task.step, task.epoch)
        self._zombie = world.happens("zombie")

    async def perform(self) -> None:
        """Take effect at some moment of the work, then hand in the result; or die on the way."""
        world, rng = self._world, self._world.rng
        if world.happens("dies"):
            if rng.random() < 0.5:
                self._effect()
            return
        length = rng.random() * (0.3 if rng.random() < 0.8 else 4.0) + (LEASE_MS / 500 if self._zombie else 0)
        began = world.loop.time()
        effect_at, end_at = began + rng.random() * length, began + length
        done = False
        while (now := world.loop.time()) < end_at:
            if now >= effect_at and not done:
                self._effect()
                done = True
            await asyncio.sleep(min(LEASE_MS / 3000, end_at - now + 0.001))
            if not await self._held():
                return  # stopped: another one has it
        if not done:
            self._effect()
        await self._report()

    def _effect(self) -> None:
        task = self._task
        self._world.ledger.append(
            {
                "tool": task.tool,
                "execution": task.execution_id,
                "step": task.step,
                "epoch": task.epoch,
                "key": task.idempotency_key,
                "arguments": task.arguments,
                "at_ms": self._world.clock.now_ms(),
            }
        )

    async def _held(self) -> bool:
        """Keep the lease; a zombie does not, and thinks that it has it for ever."""
        if self._zombie:
            return True
        try:
            return bool((await self._world.tasks("heartbeat", self._name, [self._lease]))[0])
        except Exception as error:
            self._world.expect(error)
            return True

    def _result(self, **outcome: Any) -> TaskResult:
        return TaskResult(self._task.execution_id, self._task.step, self._task.epoch, self._name, **outcome)

    def _outcome(self) -> TaskResult:
        world, rng = self._world, self._world.rng
        if world.happens("tool_error"):
            return self._result(error={"code": "E0301", "what": "It broke"}, retryable=rng.random() < 0.8)
        if world.happens("bad_result"):
            bad: dict[str, Any] = rng.choice(({"result": "\ud800"}, {"result": 1, "state": {"n": "\ud800"}}))
            return self._result(**bad)
        if self._task.tool.startswith("@"):
            return self._result(result=world.decided(self._task))
        changed = {"last": self._task.step} if rng.random() < 0.3 else None
        return self._result(result={"did": self._task.step}, state=changed)

    async def _report(self) -> None:
        """Hand in the result until the server has judged it; a good worker keeps its lease meanwhile."""
        world, result = self._world, self._outcome()
        copies = 2 if world.happens("twice") else 1
        while True:
            try:
                answers = await world.tasks("complete", [result] * copies)
            except Exception as error:
                world.expect(error)
            else:
                codes = [answer and str(answer["code"]) for answer in answers]
                if None in codes:
                    assert codes.count(None) == 1, "E3: one result was recorded twice"
                    world.results.append((self._task.execution_id, self._task.step, self._task.epoch))
                    return
                told = {str(code) for code in codes}
                world.refusals.update(told)
                if told - OUTAGES:
                    told -= OUTAGES  # of two copies one was judged
                if told <= UNSTORABLE:
                    assert result.error is None, f"a plain error was refused: {answers}"
                    wrong = {"code": "E0303", "what": "The result cannot be stored"}
                    result = self._result(error=wrong, retryable=False)
                    continue
                if not told <= OUTAGES:
                    # Of two copies the one may be refused for what it says, and the other come when the lease is lost.
                    plain = result.error is not None
                    assert told <= (LATE if plain else LATE | UNSTORABLE), answers
                    return
            await asyncio.sleep(0.2)
            await self._held()
