"""Random operations, legal and illegal, given to both adapters: every answer and every snapshot must be equal.

The run goes on until each operation has succeeded at least once, so that it cannot pass by being refused. A
failure prints the seed; `PERDURE_SEED=n pytest ...` runs that one alone.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.journal.schema import SqliteOptions
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import TERMINAL_STATUSES, Commit, ExecutionFilter, Status
from tests.contract.journal.samples import (
    T0,
    approval_row,
    commit_all,
    every_body_event,
    first,
    plan,
    started,
    then,
    tool_events,
    turn,
)

SEEDS = [int(os.environ["PERDURE_SEED"])] if "PERDURE_SEED" in os.environ else [1, 2, 3]
STEPS = 120
MOST_STEPS = 1_000
STATUSES: list[Status] = [
    "running",
    "waiting:approval",
    "waiting:timer",
    "waiting:worker",
    "paused",
    "completed",
]


class World:
    """The two journals, the generator, and what it remembers of the oracle to choose legal operations."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.now = T0
        self.oracle = MemoryJournal()
        # A tiny log, so that checkpoints happen all the time.
        options = SqliteOptions(checkpoint_bytes=100_000)
        self.sqlite = SqliteJournal(folder / "data", SystemClock(), options=options)
        self.ids: list[str] = []
        self.keys: list[str] = []
        self.seqs: dict[str, int] = {}
        self.succeeded: Counter[str] = Counter()

    async def both(self, verb: str, *args: Any, **kw: Any) -> Any:
        """Ask both; equal answers, or the same error from both."""
        answers = []
        for journal in (self.oracle, self.sqlite):
            try:
                answers.append(await getattr(journal, verb)(*args, **kw))
            except JournalError as error:
                answers.append(error.code)
        assert answers[0] == answers[1], (verb, args, kw)
        return answers[0]

    async def commit(self, *commits: Commit) -> list[Any]:
        """Give the commits to both at once; errors are compared by their codes."""
        answers = [
            [a.code if isinstance(a, JournalError) else a for a in await commit_all(journal, commits)]
            for journal in (self.oracle, self.sqlite)
        ]
        assert answers[0] == answers[1], commits
        for what, answer in zip(commits, answers[0], strict=True):
            if answer is None:
                self.seqs[what.execution_id] = what.expected_seq + len(what.events)
        return answers[0]

    # What to commit -------------------------------------------------------------------------------------

    def start(self, **new: Any) -> Commit:
        execution_id = f"x{len(self.ids):04}"
        self.ids.append(execution_id)
        about = {
            "new_agent": self.random.choice("ab"),
            "new_session_id": self.random.choice([None, "s1", "s2"]),
        }
        return first(
            execution_id, at_ms=self.now, new_created_at_ms=self.now, **self.moving(), **{**about, **new}
        )

    def append(self, execution_id: str, **changes: Any) -> Commit:
        size = self.random.choice([10, 2_000, 6_000])
        events = self.random.choice(
            [
                (),
                turn(1, size),
                tool_events("t1", "r" * size),
                every_body_event("b" * size)[: self.random.randint(1, 7)],
            ]
        )
        moving = {**self.moving(), **changes}
        return then(execution_id, self.seqs[execution_id], events, at_ms=self.now, **moving)

    def moving(self) -> dict[str, Any]:
        return {
            "status": self.random.choice(STATUSES[:-1]),
            "next_due_ms": self.random.choice([None, self.now + self.random.randint(-20, 50)]),
            "state": self.random.randbytes(self.random.choice([2, 400])),
            "approvals": self.some_approvals(),
        }

    def some_approvals(self) -> tuple[Any, ...]:
        if self.random.random() > 0.2 or not self.ids:
            return ()
        name = f"a{self.random.randint(0, 30)}"
        return (
            approval_row(
                name, self.random.choice(self.ids), requested_at_ms=self.now + self.random.randint(-9, 9)
            ),
        )

    def live(self) -> str:
        return self.random.choice(list(self.seqs))

    # One step: each operation says whether it could be done and had the effect that it is named for -----

    async def step(self, operation: str) -> bool:
        """Do one operation, a little later than the last."""
        self.now += self.random.randint(0, 5)
        return await getattr(self, operation)()

    async def op_start(self) -> bool:
        return await self.commit(self.start()) == [None]

    async def op_start_with_key(self) -> bool:
        key = f"k{len(self.keys)}"
        self.keys.append(key)
        return await self.commit(self.start(new_idempotency_key=key)) == [None]

    async def op_repeat_key(self) -> bool:
        if not self.keys:
            return False
        twice = [self.start(new_idempotency_key=self.random.choice(self.keys)) for _ in range(2)]
        return all(answer is not None for answer in await self.commit(*twice))

    async def op_unstorable(self) -> bool:
        return await self.commit(self.start(new_title="\ud800"), self.start()) == ["E0508", None]

    async def op_put_plan(self) -> bool:
        name = self.random.choice("ab")
        return await self.both("put_plan", f"h{self.random.randint(0, 5)}", plan(name), self.now) is None

    async def op_deploy(self) -> bool:
        agent, plan_hash = self.random.choice("ab"), f"h{self.random.randint(0, 2)}"
        return await self.both("deploy", agent, plan_hash, self.now) > 1

    async def op_reopen(self) -> bool:
        await self.both("close")
        return await self.both("open") is None

    async def op_append(self) -> bool:
        return bool(self.seqs) and await self.commit(self.append(self.live())) == [None]

    async def op_end(self) -> bool:
        if not self.seqs:
            return False
        over = self.append(self.live(), status=self.random.choice(sorted(TERMINAL_STATUSES)))
        return await self.commit(over) == [None]

    async def op_stale(self) -> bool:
        if not self.seqs:
            return False
        what = self.append(self.live())
        wrong = msgspec.structs.replace(what, expected_seq=what.expected_seq + self.random.choice([-1, 1, 5]))
        return await self.commit(wrong) == ["E0505"]

    async def op_overlapping(self) -> bool:
        """Two commits of one execution at once: against the rule, and still in order."""
        if not self.seqs:
            return False
        what = msgspec.structs.replace(self.append(self.live()), events=(started(),))
        after = msgspec.structs.replace(what, expected_seq=what.expected_seq + 1, state=b"after")
        return await self.commit(what, after, what) == [None, None, "E0505"]

    async def op_burst(self) -> bool:
        several = [self.append(i) for i in self.random.sample(sorted(self.seqs), min(9, len(self.seqs)))]
        return await self.commit(*several, self.start()) == [None] * (len(several) + 1)

    async def op_decide(self) -> bool:
        pending = await self.both("approvals")
        if not pending or not self.seqs:
            return False
        row = self.random.choice(pending)
        decided = msgspec.structs.replace(row, decision="approved", decided_by="ann", decided_at_ms=self.now)
        return await self.commit(self.append(self.live(), approvals=(decided,))) == [None]

    async def compare(self) -> None:
        """Every question, over everything that could have moved."""
        chosen = self.random.sample(self.ids, min(6, len(self.ids)))
        for execution_id in [*chosen, "unknown"]:
            await self.both("load", execution_id)
            after, limit = self.random.choice([(0, None), (0, None), (1, 2), (3, None), (2, 100)])
            await self.both("events", execution_id, after, limit)
        where = ExecutionFilter(
            status=tuple(self.random.sample(STATUSES, self.random.choice([0, 0, 1, 3]))),
            agent=self.random.choice([None, "a"]),
            session_id=self.random.choice([None, None, "s1"]),
            before=self.random.choice([None, *chosen]),
            limit=self.random.choice([1, 5, 1_000]),
        )
        await self.both("find", where)
        await self.both("unfinished")
        await self.both("due", self.now + 10, self.random.choice([0, 3, 1_000]))
        await self.both("next_due")
        await self.both("counts")
        await self.both("approvals", pending=self.random.random() < 0.5, limit=self.random.choice([2, 1_000]))
        await self.both("approvals", execution_id=self.random.choice([*chosen, "unknown"]))
        await self.both("approval", f"a{self.random.randint(0, 30)}")
        await self.both("get_plan", f"h{self.random.randint(0, 5)}")
        await self.both("deployed", self.random.choice([None, "a", "c"]))


OPERATIONS = tuple(name for name in vars(World) if name.startswith("op_"))


@pytest.mark.parametrize("seed", SEEDS)
def test_both_adapters_agree(seed, tmp_path):
    """SQLite answers as the oracle does, over random operations, until every operation has succeeded."""

    async def body() -> None:
        world = World(seed, tmp_path)
        await world.both("open")
        for number in range(MOST_STEPS):
            operation = world.random.choice(OPERATIONS)
            try:
                world.succeeded[operation] += await world.step(operation)
                await world.compare()
            except BaseException as error:
                error.add_note(f"PERDURE_SEED={seed}, step {number}, operation {operation}")
                raise
            if number >= STEPS and all(world.succeeded[name] for name in OPERATIONS):
                break
        await world.both("close")
        assert all(world.succeeded[name] for name in OPERATIONS), (seed, world.succeeded)

    asyncio.run(body())
