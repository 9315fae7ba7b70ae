"""What a new engine makes of what the last one left: E4, leases, pauses, and that waiting costs nothing."""

import asyncio

import pytest

from perdure.core import events as ev
from perdure.core.definition import RetryPolicy
from perdure.core.errors import ModelError
from perdure.core.machines.turn_state import TurnState, evolve
from perdure.engine.ports import ExecutionFilter
from tests.contract.engine.engine_harness import (
    LEASE_MS,
    Gate,
    Harness,
    broken,
    call,
    decision,
    lease_of,
    reply,
    soon,
    start_request,
)
from tests.unit.core.invariants import check_journal


async def test_recorded_work_is_never_done_again(h: Harness):
    """E4: a restart after every step; each model answer and each tool result is asked for once."""
    turns = [reply(call("look", f"c{n}")) for n in range(5)]
    await h.open(*turns, reply("Done."))
    execution_id = await h.start(changed={"max_turns": 9})
    requests = 0
    for _ in range(5):
        await h.hand_in(await h.take())
        await soon(lambda: h.gauge("tasks_waiting") or not h.gauge("executions_resident"))
        requests += len(h.model.requests)
        await h.restart(*turns, reply("Done."))
    await h.ended(execution_id)
    assert requests + len(h.model.requests) == 6
    assert len(await h.found(execution_id, ev.ModelRequested)) == 6
    assert len(await h.found(execution_id, ev.ToolStarted)) == 5
    assert await h.found(execution_id, ev.ModelLost) == []
    check_journal(await h.records(execution_id))


async def test_a_model_call_that_was_cut_is_made_again(h: Harness):
    """What the lost attempt said is void and marked; the new one has the next number."""
    gate = Gate(reply("never"))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    await h.restart(reply("Done."))
    assert (await h.ended(execution_id)).output == "Done."
    (lost,) = await h.found(execution_id, ev.ModelLost)
    assert (lost.step, lost.attempt) == ("t1.m", 1)
    assert [r.attempt for r in h.model.requests] == [2]


async def test_a_worker_that_lives_keeps_its_task_over_a_restart(h: Harness):
    """One heartbeat within the lease of grace is enough; the result is taken under the old epoch."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    await h.restart(reply("x"), reply("Done."))
    for _ in range(6):
        assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
        await asyncio.sleep(LEASE_MS / 3000)
    assert await h.hand_in(task) is None
    await h.ended(execution_id)
    assert len(await h.found(execution_id, ev.ToolStarted)) == 1


async def test_a_result_that_comes_at_once_after_the_restart_is_taken(h: Harness):
    """The worker need not heartbeat first."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    await h.restart(reply("x"), reply("Done."))
    assert await h.hand_in(task) is None
    await h.ended(execution_id)


async def test_a_worker_that_died_with_the_server_loses_its_task(h: Harness):
    """After one lease of grace the task is on offer again."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    lost = await h.take()
    await h.restart(reply("x"), reply("Done."))
    await h.no_task(wait_ms=LEASE_MS // 3)
    again = await h.take(worker="w2", wait_ms=LEASE_MS + 2_000)
    assert (again.epoch, again.idempotency_key) == (2, lost.idempotency_key)
    assert await h.hand_in(lost) == "E0307"
    await h.hand_in(again, worker="w2")
    await h.ended(execution_id)


async def test_paused_with_a_task_in_hand_over_a_restart(h: Harness):
    """The worker goes on under its lease and hands in; nothing else begins until the resume."""
    await h.open(reply(call("look"), call("email")), reply("Done."))
    execution_id = await h.start()
    task = await h.take("helper.look")
    await h.executions.pause(execution_id, "ann", "")
    await h.restart(reply("x"), reply("Done."))
    assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
    assert await h.hand_in(task) is None
    await h.no_task(wait_ms=100)
    assert (await h.executions.get(execution_id)).status == "paused"
    await h.executions.resume(execution_id, "ann")
    await h.hand_in(await h.take("helper.email"))
    await h.ended(execution_id)


async def test_paused_with_a_lost_task_over_a_restart(h: Harness):
    """Its lease runs out while it is paused; it is on offer again only after the resume."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await h.take()
    await h.executions.pause(execution_id, "ann", "")
    await h.restart(reply("x"), reply("Done."))
    for _ in range(500):
        if await h.found(execution_id, ev.ToolLost):
            break
        await asyncio.sleep(0.01)
    await h.no_task()
    await h.executions.resume(execution_id, "ann")
    assert (await h.take()).epoch == 2


async def test_paused_in_mid_answer_over_a_restart(h: Harness):
    """The cut call is marked lost at once, and asked again after the resume, not before."""
    gate = Gate(reply("never"))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    await h.executions.pause(execution_id, "ann", "")
    await h.restart(reply("Done."))
    for _ in range(500):
        if await h.found(execution_id, ev.ModelLost):
            break
        await asyncio.sleep(0.01)
    assert h.model.requests == []
    await h.executions.resume(execution_id, "ann")
    await h.ended(execution_id)
    assert [r.attempt for r in h.model.requests] == [2]


async def test_two_thousand_that_wait_cost_nothing(h: Harness):
    """None is in memory, before a restart and after it; opening takes less than a second; waking one loads one."""
    count = 2_000
    await h.open(reply(call("refund", amount=1)), reply("Done."))
    ids: list[str] = []
    for first in range(0, count, 200):
        starting = (h.executions.start(start_request(str(n))) for n in range(first, first + 200))
        ids += [started.execution_id for started in await asyncio.gather(*starting)]
    for _ in range(1_000):
        if (
            len(await h.executions.find(ExecutionFilter(status=("waiting:approval",), limit=count + 1)))
            == count
        ):
            break
        await asyncio.sleep(0.02)
    assert h.gauge("executions_resident") == 0
    await h.close()
    began = h.clock.monotonic()
    await h.open(reply("x"), reply("Done."))
    assert h.clock.monotonic() - began < 1
    assert h.gauge("executions_resident") == 0
    chosen = ids[count // 2]
    (row,) = await h.executions.approvals(chosen, pending=True)
    await h.executions.decide(row.approval_id, decision("approved"))
    assert h.gauge("executions_resident") == 1
    await h.hand_in(await h.take())
    await h.ended(chosen)
    assert h.gauge("executions_resident") == 0


async def test_what_only_waits_for_a_worker_is_let_go_of(h: Harness):
    """After a while it is out of memory; a worker that comes later gets its task."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await soon(lambda: h.gauge("executions_resident") == 0, "it stays in memory")
    assert (await h.executions.get(execution_id)).status == "waiting:worker"
    await h.hand_in(await h.take())
    await h.ended(execution_id)


@pytest.mark.parametrize("kind", ["tool", "model"])
async def test_a_wait_for_another_attempt_outlives_a_restart(h: Harness, kind: str):
    """Its timer is in the journal: the next engine fires it, not before its time."""
    slow = RetryPolicy(max_attempts=3, delay_ms=600, jitter=0)
    failing = ModelError("E0207", "Overloaded", retryable=True)
    await h.open(*([reply(call("look"))] if kind == "tool" else [[failing, reply("Done.")]]), reply("Done."))
    tools = {
        name: type(t)(**{**{f: getattr(t, f) for f in t.__struct_fields__}, "retry": slow})
        for name, t in start_request().plan.tools.items()
    }
    execution_id = await h.start(changed={"tools": tools, "model_retry": slow})
    if kind == "tool":
        await h.hand_in(await h.take(), **broken())
    view = await h.until(execution_id, "waiting:timer")
    due = view.waits[0].due_ms
    assert due is not None
    await h.restart(reply("Done."), reply("Done."))
    assert h.gauge("executions_resident") == 0
    if kind == "tool":
        task = await h.take()
        assert task.epoch == 2
        await h.hand_in(task)
    await h.ended(execution_id)
    begun = [
        r for r in await h.records(execution_id) if isinstance(r.event, ev.TimerFired | ev.ModelRequested)
    ]
    second = [r for r in begun if isinstance(r.event, ev.TimerFired)] if kind == "tool" else begun[1:]
    assert due <= second[0].at_ms < due + 1_500


async def test_what_is_stored_is_what_the_events_give(h: Harness):
    """I9: after all kinds of things, the stored state is the fold of the events."""
    await h.open(reply(call("look"), call("refund", amount=1)), reply("Done."))
    execution_id = await h.start(context={"k": 1})
    await h.hand_in(await h.take(), state={"x": 2})
    (row,) = await h.executions.approvals(execution_id, pending=True)
    await h.executions.decide(row.approval_id, decision("rejected"))
    await h.ended(execution_id)
    state = TurnState()
    for record in await h.records(execution_id):
        evolve(state, record.event)
    assert (state.phase, state.turn, state.shared) == ("completed", 2, {"k": 1, "x": 2})
    check_journal(await h.records(execution_id))


async def test_closing_under_load_loses_nothing_and_leaves_nothing(h: Harness):
    """Fifty executions in full flight; the engine is closed and opened again; all end as they should."""
    turns = [reply(call("look", f"c{n}")) for n in range(3)]
    await h.open(*turns, reply("Done."))

    async def work(name: str) -> None:
        while True:
            try:
                tasks = await h.tasks.poll(name, ["helper.look"], 8, 200)
                for task in tasks:
                    await h.hand_in(task, worker=name)
            except Exception:
                await asyncio.sleep(0.01)

    workers = [asyncio.ensure_future(work(f"w{n}")) for n in range(3)]
    ids = await asyncio.gather(*(h.start(str(n)) for n in range(50)))
    for _ in range(3):
        await asyncio.sleep(0.03)
        await h.restart(*turns, reply("Done."))
    views = await asyncio.gather(*(h.ended(i, 30) for i in ids))
    assert {v.output for v in views} == {"Done."}
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    for execution_id in ids:
        check_journal(await h.records(execution_id))
