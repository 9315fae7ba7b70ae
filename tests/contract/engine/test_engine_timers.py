"""Time: back-off, deadlines, and many timers at once. None fires early (I8)."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.definition import RetryPolicy
from perdure.core.errors import ModelError
from tests.contract.engine.engine_harness import Gate, Harness, broken, call, decision, reply
from tests.contract.engine.faulty_journal import FaultyJournal, Overlay

OVERLOADED = ModelError("E0207", "Overloaded", retryable=True)


async def test_a_failing_model_is_asked_again_after_growing_waits(h: Harness):
    """Each attempt not before its time, and no more than a second after it."""
    await h.open([OVERLOADED, OVERLOADED, OVERLOADED, reply("Done.")])
    policy = RetryPolicy(max_attempts=4, delay_ms=40, jitter=0)
    execution_id = await h.start(changed={"model_retry": policy})
    await h.ended(execution_id)
    records = await h.records(execution_id)
    failed = [r for r in records if isinstance(r.event, ev.ModelFailed)]
    again = [r for r in records if isinstance(r.event, ev.ModelRequested)][1:]
    assert [f.event.retry_at_ms - f.at_ms for f in failed] == [40, 80, 160]
    for before, after in zip(failed, again, strict=True):
        assert 0 <= after.at_ms - before.event.retry_at_ms < 1_000


async def test_the_providers_wait_is_honoured(h: Harness):
    """Retry-After is the least wait."""
    await h.open([ModelError("E0206", "Slow down", retryable=True, retry_after_ms=300), reply("Done.")])
    execution_id = await h.start()
    view = await h.until(execution_id, "waiting:timer")
    assert [w.kind for w in view.waits] == ["timer"]
    assert h.gauge("executions_resident") == 0
    await h.ended(execution_id)
    records = await h.records(execution_id)
    failed = next(r for r in records if isinstance(r.event, ev.ModelFailed))
    again = [r for r in records if isinstance(r.event, ev.ModelRequested)][1]
    assert again.at_ms - failed.at_ms >= 300


async def test_attempts_run_out(h: Harness):
    """The provider's last error is the execution's."""
    await h.open(OVERLOADED)
    view = await h.ended(await h.start())
    assert view.error is not None
    assert view.error["code"] == "E0207"
    assert len(h.model.requests) == 3


@pytest.mark.parametrize("where", ["model", "tool", "approval", "worker", "paused"])
async def test_an_execution_that_runs_out_of_time(h: Harness, where: str):
    """E0404 wherever it stands, with all that is in flight stopped; waiting counts."""
    gate = Gate(reply("never"))
    asks = call("refund", amount=1) if where == "approval" else call("look")
    await h.open(gate if where == "model" else reply(asks))
    execution_id = await h.start(timeout_ms=300)
    task = await h.take() if where == "tool" else None
    if where == "paused":
        await h.executions.pause(execution_id, "ann", "")
    view = await h.ended(execution_id)
    assert (view.status, view.finish_reason) == ("failed", "timeout")
    assert view.error is not None
    assert view.error["code"] == "E0404"
    (end,) = [r for r in await h.records(execution_id) if isinstance(r.event, ev.ExecutionFailed)]
    begun = (await h.records(execution_id))[0]
    assert begun.event.deadline_ms <= end.at_ms < begun.event.deadline_ms + 1_500
    await h.no_task()
    if where == "model":
        assert gate.cancelled
    if task is not None:
        assert await h.hand_in(task) == "E0307"
    if where == "approval":
        (row,) = await h.executions.approvals(execution_id, pending=False)
        assert row.decision == "void"


async def test_a_deadline_that_passed_while_no_engine_ran(h: Harness):
    """The next engine ends it at once."""
    await h.open(reply(call("refund", amount=1)))
    execution_id = await h.start(timeout_ms=200)
    await h.until(execution_id, "waiting:approval")
    await h.close()
    await asyncio.sleep(0.3)
    await h.open()
    assert (await h.ended(execution_id)).finish_reason == "timeout"


async def test_a_thousand_timers_in_the_same_second(h: Harness):
    """All fire, none early, none much late, and others are served meanwhile."""
    await h.open([OVERLOADED, reply("Done.")], reply("Done."))
    at_once = RetryPolicy(max_attempts=3, delay_ms=1_500, jitter=0)
    ids: list[str] = []
    for first in range(0, 1_000, 100):
        started = (h.start(str(n), changed={"model_retry": at_once}) for n in range(first, first + 100))
        ids += await asyncio.gather(*started)
    h.model.turns[0] = reply("Done.")
    views = await asyncio.gather(*(h.ended(i, 30) for i in ids))
    assert {v.output for v in views} == {"Done."}
    late = []
    for execution_id in ids[::10]:
        records = await h.records(execution_id)
        failed = next((r for r in records if isinstance(r.event, ev.ModelFailed)), None)
        if failed is not None:
            again = [r for r in records if isinstance(r.event, ev.ModelRequested)][1]
            late.append(again.at_ms - failed.event.retry_at_ms)
    assert len(late) >= 50
    assert min(late) >= 0
    assert max(late) < 5_000


async def test_one_timer_does_not_wait_for_another(h: Harness):
    """Two short waits of one execution, one after the other, are each kept to within half a second."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    for _ in range(3):
        await h.hand_in(await h.take(wait_ms=1_000), **broken())
    await h.ended(execution_id)
    fired = [r for r in await h.records(execution_id) if isinstance(r.event, ev.TimerFired)]
    assert len(fired) == 2
    assert all(0 <= r.at_ms - r.event.due_ms < 500 for r in fired)


async def test_a_short_wait_set_while_the_engine_sleeps_towards_a_long_one(h: Harness):
    """A new timer that is due first wakes the engine in time."""
    await h.open(reply(call("refund", amount=1)))
    await h.start(timeout_ms=3_600_000)
    await asyncio.sleep(0.05)
    short = await h.start(timeout_ms=150)
    assert (await h.ended(short, 2)).finish_reason == "timeout"


async def test_a_timer_that_is_set_while_the_journal_is_asked_for_the_next_one(h: Harness, journal: Any):
    """The journal's answer is older than the timer and knows nothing of it: it fires in time all the same."""
    await h.open(reply(call("refund", amount=1)))
    disk: FaultyJournal = journal()
    whole = disk.inner
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> int | None:
        found = await whole.next_due()
        if found is None:
            asked.set()
            await go_on.wait()
        return found

    await asyncio.sleep(0.05)
    disk.inner = Overlay(whole, next_due=slowly)
    await h.ended(await h.start(timeout_ms=100))
    await asked.wait()
    missed = await h.start(timeout_ms=200)
    go_on.set()
    assert (await h.ended(missed, 2)).finish_reason == "timeout"


async def test_a_timer_of_what_has_ended_does_nothing(h: Harness):
    """A deadline is forgotten with its execution."""
    await h.open(reply(call("refund", amount=1)), reply("Done."))
    execution_id = await h.start(timeout_ms=400)
    view = await h.until(execution_id, "waiting:approval")
    await h.executions.decide(str(view.waits[0].approval_id), decision("rejected"))
    await h.ended(execution_id)
    before = await h.records(execution_id)
    await asyncio.sleep(0.6)
    assert await h.records(execution_id) == before
