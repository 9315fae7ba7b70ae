"""Guardrails and callbacks over restarts: the engine stops after every commit of an execution in turn, and goes on.

A commit that comes after the one at which the engine is to stop fails, as if the power had gone; then the engine is
opened again on what is there. E4: what was recorded is not asked for again.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.errors import JournalError, PerdureError
from perdure.core.events import Recorded
from perdure.engine.config import EngineConfig
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import Commit, ExecutionView
from tests.contract.engine.engine_harness import Harness, decision
from tests.contract.engine.faulty_journal import DOWN, FaultyJournal
from tests.contract.engine.guard_harness import (
    JudgedModel,
    begun,
    by_place,
    guard,
    hold,
    opened,
    script,
    working,
)

Begin = Callable[[Harness], Any]
LEASE_MS = 60
HOOKS = ("before_agent", "after_agent", "before_model", "after_model", "before_tool", "after_tool")
ECHOES: dict[str, Any] = {hook: lambda _: {"changes": None} for hook in HOOKS}
ECHOES["instructions"] = lambda _: {"instructions": "Be kind."}


def harness() -> Harness:
    """A harness whose leases are short: a task that the stop took away is soon on offer again."""
    h = Harness(MemoryJournal)
    h.config = EngineConfig(lease_ms=LEASE_MS, storage_retry_ms=50, idle_ms=100)
    return h


async def to_the_end(h: Harness, execution_id: str, stopped: asyncio.Event) -> ExecutionView | None:
    """Answer all questions until the execution has ended; None: the engine has stopped before."""
    while not stopped.is_set():
        view = await h.executions.get(execution_id)
        if view.status in ("completed", "failed", "cancelled"):
            return view
        for row in await h.executions.approvals(execution_id, pending=True):
            try:
                await h.executions.decide(row.approval_id, decision("approved"))
            except PerdureError:
                await asyncio.sleep(0)
        await asyncio.sleep(0.002)
    return None


async def run(
    stop_after: int, place: str, begin: Begin
) -> tuple[ExecutionView, list[Recorded], list[Recorded], JudgedModel]:
    """The execution's end and events, those that were there at the stop, and the model of the second engine."""
    h = harness()
    made: list[FaultyJournal] = []
    commits, stopped = 0, asyncio.Event()

    def spoil(_: Commit) -> JournalError | None:
        nonlocal commits
        commits += 1
        if commits <= stop_after:
            return None
        stopped.set()
        return DOWN

    def wrap(inner: Any) -> FaultyJournal:
        made.append(FaultyJournal(inner))
        made[0].spoil = spoil
        return made[0]

    h.wrap = wrap
    model = await opened(h, *script(place))
    try:
        async with working(h, **ECHOES):
            execution_id = await begin(h)
            view = await to_the_end(h, execution_id, stopped)
            before = await h.records(execution_id)
            if view is None:
                await h.close()
                made[0].spoil = lambda _: None
                h.wrap = lambda journal: journal
                model = await opened(h, *script(place))
                view = await to_the_end(h, execution_id, asyncio.Event())
            assert view is not None
            return view, await h.records(execution_id), before, model
    finally:
        await h.close()


def told(records: list[Recorded]) -> list[Any]:
    """What an execution decided: every event that is no attempt and no part of one."""
    kinds = (ev.GuardDecided, ev.HookEnded, ev.Replaced, ev.AnswerRefused, ev.AnswerProposed, ev.ToolRefused)
    return [r.event for r in records if isinstance(r.event, (*kinds, *ev.TERMINAL))]


def results(records: list[Recorded]) -> list[str]:
    """The steps that have a result."""
    return [r.event.step for r in records if isinstance(r.event, ev.ToolCompleted | ev.ModelCompleted)]


async def at_every_commit(place: str, begin: Begin) -> int:
    """Stop after each commit in turn; how many there were."""
    whole, wanted, _, _ = await run(1_000, place, begin)
    for stop_after in range(1, 100):
        view, records, before, model = await run(stop_after, place, begin)
        hold(records)
        assert (view.status, view.output, view.error) == (whole.status, whole.output, whole.error)
        assert told(records) == told(wanted)
        assert sorted(results(records)) == sorted(results(wanted))
        assert len(set(results(records))) == len(results(records))
        asked = {r.step for r in (*model.requests, *model.judged)} if len(before) < len(records) else set()
        assert not asked & set(results(before)), "E4: what was recorded was asked for again"
        if len(before) == len(records):
            return stop_after
    raise AssertionError("it has no end")


@by_place
@pytest.mark.parametrize(
    ("kind", "on_fail"), [("function", "retry"), ("function", "fix"), ("llm", "retry"), ("regex", "human")]
)
async def test_stopped_after_every_commit(place: str, kind: str, on_fail: str):
    """It ends as it would have ended, and no verdict that was recorded is asked for again."""
    commits = await at_every_commit(place, lambda h: begun(h, place, guard(kind, place, on_fail)))
    assert commits >= 2


async def test_callbacks_stopped_after_every_commit():
    """All six, with a tool call: what a callback gave is recorded once and not asked for again."""
    commits = await at_every_commit(
        "tool output", lambda h: begun(h, "agent input", hooks=HOOKS, instructions_function=True)
    )
    assert commits >= 15
