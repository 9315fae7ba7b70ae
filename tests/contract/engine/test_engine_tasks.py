"""The port `Tasks`: polls, results, leases, workers. E1, E3, E6 and the policies of E7."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.ids import idempotency_key
from perdure.engine.ports import LeaseRef
from tests.contract.engine.engine_harness import (
    LEASE_MS,
    QUEUES,
    Harness,
    broken,
    call,
    decision,
    lease_of,
    refused,
    reply,
    result_of,
    soon,
)


async def test_a_task_has_all_that_a_worker_needs(h: Harness):
    """Ids, arguments, epoch, key, lease, limits and the state that the tool may read."""
    await h.open(reply(call("look", city="Ulm")), reply("Done."))
    execution_id = await h.start(context={"tenant": 7}, session_id="s1")
    task = await h.take()
    assert (task.execution_id, task.step, task.epoch, task.agent, task.tool) == (
        execution_id,
        "t1.c0",
        1,
        "helper",
        "look",
    )
    assert (task.call_id, task.arguments, task.state) == ("c-look", {"city": "Ulm"}, {"tenant": 7})
    assert (task.lease_ms, task.session_id, task.timeout_ms) == (LEASE_MS, "s1", None)
    assert task.idempotency_key == idempotency_key(execution_id, "t1.c0")
    assert await h.hand_in(task, {"temperature": 3}) is None
    await h.ended(execution_id)
    assert h.model.requests[1].messages[-1].parts[0].result == {"temperature": 3}


async def test_the_attempt_is_recorded_before_the_task_is_given(h: Harness):
    """E1: whoever has a task finds its `tool_started` in the journal."""
    await h.open(reply(*(call("look", f"c{n}") for n in range(20))), reply("Done."))
    execution_id = await h.start()
    for _ in range(20):
        task = await h.take()
        started = await h.found(execution_id, ev.ToolStarted)
        assert (task.step, task.epoch) in {(s.step, s.epoch) for s in started}


async def test_a_long_poll_waits_for_an_offer(h: Harness):
    """A poll that came first gets the task as soon as there is one."""
    await h.open(reply(call("look")), reply("Done."))
    polling = asyncio.ensure_future(h.take())
    await asyncio.sleep(0.05)
    await h.start()
    assert (await polling).tool == "look"


async def test_a_poll_gets_at_most_what_it_wants_from_its_own_queues(h: Harness):
    """`want` is a limit, queues are agent and tool, and no task is given twice."""
    await h.open(reply(*(call("look", f"l{n}") for n in range(3)), call("email")), reply("Done."))
    execution_id = await h.start()
    await soon(lambda: h.gauge("tasks_waiting") == 4)
    assert await h.tasks.poll("w", ["other.look", "helper.nothing"], 5, 0) == []
    assert await h.tasks.poll("w", QUEUES, 0, 0) == []
    two = await h.tasks.poll("w", ["helper.look"], 2, 0)
    rest = await h.tasks.poll("w", QUEUES, 10, 0)
    steps = [t.step for t in (*two, *rest)]
    assert len(two) == 2
    assert sorted(steps) == ["t1.c0", "t1.c1", "t1.c2", "t1.c3"]
    await h.executions.cancel(execution_id, "me", "")


async def test_every_offer_wakes_one_of_those_who_wait(h: Harness):
    """Ten workers and ten tasks: each gets one, none is forgotten."""
    await h.open(reply(call("look")), reply("Done."))
    polls = [asyncio.ensure_future(h.take(worker=f"w{n}")) for n in range(10)]
    await asyncio.sleep(0.02)
    ids = [await h.start(str(n)) for n in range(10)]
    tasks = await asyncio.gather(*polls)
    assert sorted(t.execution_id for t in tasks) == sorted(ids)


async def test_a_poll_that_hangs_up_loses_no_task(h: Harness):
    """However a poll is cancelled, before or while it takes a task, the task reaches another worker."""
    await h.open(reply(call("look")), reply("Done."))
    for delay in range(8):
        execution_id = await h.start(str(delay))
        await soon(lambda: h.gauge("tasks_waiting") == 1)
        h.engine._residency.sweep()
        polling = asyncio.ensure_future(h.tasks.poll("gone", QUEUES, 1, 1_000))
        for _ in range(delay):
            await asyncio.sleep(0)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        task = await h.take(worker="w2", wait_ms=5_000)
        assert (task.execution_id, task.epoch in (1, 2)) == (execution_id, True)
        await h.hand_in(task, worker="w2")
        await h.ended(execution_id)


async def test_a_poll_that_hangs_up_while_the_execution_is_read_loses_no_task(h: Harness):
    """The execution has been let go of, so that the poll must read it first; and is cancelled in that moment."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    for rounds in range(6):
        await soon(lambda: h.gauge("executions_resident") == 0, "it stays in memory")
        polling = asyncio.ensure_future(h.tasks.poll("gone", QUEUES, 1, 1_000))
        for _ in range(rounds):
            await asyncio.sleep(0)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        if not h.gauge("tasks_waiting"):
            break  # it had been asked for on the worker's behalf: the lease brings it back
    await h.hand_in(await h.take())
    await h.ended(execution_id)


# Results: E3, E6 ----------------------------------------------------------------------------------------


async def test_a_result_is_taken_once(h: Harness):
    """E3: of many copies of a result one is recorded; the others get 409 and are to be dropped."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    answers = await h.tasks.complete([result_of(task, n) for n in range(10)])
    assert [a and a["code"] for a in answers] == [None] + ["E0307"] * 9
    assert await h.hand_in(task) == "E0307"
    (completed,) = await h.found(execution_id, ev.ToolCompleted)
    assert completed.result == 0


async def test_a_result_is_durable_when_it_is_acknowledged(h: Harness):
    """E2: the event is in the journal by then."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await h.hand_in(await h.take(), 42)
    assert (await h.found(execution_id, ev.ToolCompleted))[0].result == 42


async def test_results_in_any_order_reach_the_model_in_the_order_of_its_calls(h: Harness):
    """Ten parallel calls, completed backwards, in one request."""
    await h.open(reply(*(call("look", f"c{n}") for n in range(10))), reply("Done."))
    execution_id = await h.start()
    tasks = [await h.take() for _ in range(10)]
    await h.tasks.complete([result_of(t, t.step) for t in reversed(tasks)])
    await h.ended(execution_id)
    (results,) = [m for m in h.model.requests[1].messages if m.role == "tool"]
    assert [p.result for p in results.parts] == [f"t1.c{n}" for n in range(10)]


async def test_results_that_belong_to_nothing(h: Harness):
    """Unknown executions and steps, epochs of the future: each is refused by name, and harms nothing."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    wrong = [
        LeaseRef("xnone", task.step, 1),
        LeaseRef(execution_id, "t9.c9", 1),
        LeaseRef(execution_id, "t1.m", 1),
        LeaseRef(execution_id, task.step, 2),
        LeaseRef(execution_id, task.step, 0),
    ]
    made = [result_of(task) for _ in wrong]
    sent = [
        type(r)(w.execution_id, w.step, w.epoch, "w1", result=1) for r, w in zip(made, wrong, strict=True)
    ]
    codes = [a and a["code"] for a in await h.tasks.complete(sent)]
    assert codes == ["E0401", "E0307", "E0307", "E0307", "E0307"]
    assert await h.hand_in(task) is None
    await h.ended(execution_id)


async def test_the_key_of_a_call_is_stable(h: Harness):
    """E6: the same over a failure, a lost worker and a restart; different for each call."""
    await h.open(reply(call("look", "a"), call("look", "b")), reply("Done."))
    execution_id = await h.start()
    first, second = await h.take(), await h.take()
    assert first.idempotency_key != second.idempotency_key
    assert await h.hand_in(first, **broken()) is None
    retried = await h.take()
    assert (retried.step, retried.epoch) == (first.step, 2)
    await h.restart(reply("x"), reply("Done."))
    keys = {
        first.step: {first.idempotency_key, retried.idempotency_key},
        second.step: {second.idempotency_key},
    }
    for _ in range(2):
        task = await h.take(worker="w2")
        keys[task.step].add(task.idempotency_key)
        await h.hand_in(task, worker="w2")
    assert [len(k) for k in keys.values()] == [1, 1]
    await h.ended(execution_id)


async def test_the_state_of_the_tools_is_shared_and_stored(h: Harness):
    """Changed keys reach the next task, over a restart as well."""
    await h.open(reply(call("look", "a")), reply(call("look", "b")), reply("Done."))
    execution_id = await h.start(context={"kept": 1})
    await h.hand_in(await h.take(), state={"seen": ["Ulm"]})
    await soon(lambda: h.gauge("tasks_waiting") == 1)
    await h.restart(reply(call("look", "a")), reply(call("look", "b")), reply("Done."))
    task = await h.take()
    assert task.state == {"kept": 1, "seen": ["Ulm"]}
    await h.hand_in(task)
    await h.ended(execution_id)


async def test_a_tool_that_fails_is_tried_again_and_then_told(h: Harness):
    """Three attempts by its policy; then the model reads the error and goes on."""
    await h.open(reply(call("look")), reply("I see."))
    execution_id = await h.start()
    for epoch in (1, 2, 3):
        task = await h.take()
        assert task.epoch == epoch
        assert await h.hand_in(task, **broken()) is None
    assert (await h.ended(execution_id)).output == "I see."
    told = h.model.requests[1].messages[-1].parts[0]
    assert told.is_error
    assert told.result["code"] == "E0301"
    failed = await h.found(execution_id, ev.ToolFailed)
    assert [f.retry_at_ms is None for f in failed] == [False, False, True]
    assert len(await h.found(execution_id, ev.TimerFired)) == 2


async def test_an_error_that_is_final_is_not_tried_again(h: Harness):
    """`retryable` false goes to the model at once."""
    await h.open(reply(call("look")), reply("I see."))
    execution_id = await h.start()
    await h.hand_in(await h.take(), **broken(retryable=False))
    await h.ended(execution_id)
    assert len(await h.found(execution_id, ev.ToolStarted)) == 1


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bad",
    [
        {"result": "\ud800"},
        {"state": {"n": "\ud800"}},
        {"result": 10**5_000},
        {"result": _nested(10_000)},
        {"result": object()},
    ],
    ids=["surrogate", "state", "number", "depth", "object"],
)
async def test_a_result_that_cannot_be_stored(h: Harness, bad: dict):
    """The worker is told so; the attempt is still its own, and an error in its place is taken."""
    await h.open(reply(call("look")), reply("I see."))
    execution_id = await h.start()
    other = await h.start("another")
    task = await h.take()
    assert await h.hand_in(task, **bad) == "E0508"
    assert h.engine.fault is None
    assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
    assert await h.hand_in(task, **broken(retryable=False)) is None
    await h.hand_in(await h.take())
    assert {(await h.ended(i)).status for i in (execution_id, other)} == {"completed"}


async def test_a_result_that_cannot_be_stored_harms_no_other(h: Harness):
    """Handed in together with good ones of the same execution, only the bad one is refused."""
    await h.open(reply(*(call("look", f"c{n}") for n in range(4))), reply("Done."))
    execution_id = await h.start()
    tasks = [await h.take() for _ in range(4)]
    results = [result_of(t, "\ud800" if n == 1 else n) for n, t in enumerate(tasks)]
    answers = await h.tasks.complete(results)
    assert [a and a["code"] for a in answers] == [None, "E0508", None, None]
    await h.hand_in(tasks[1])
    assert (await h.ended(execution_id)).status == "completed"


# Leases -------------------------------------------------------------------------------------------------


async def test_a_silent_worker_loses_its_task(h: Harness):
    """Retaken within lease + 2 s under the next epoch; the zombie's result gets 409 (E3)."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    lost = await h.take(worker="zombie")
    began = h.clock.monotonic()
    again = await h.take(worker="w2")
    assert LEASE_MS / 1000 - 0.1 <= h.clock.monotonic() - began < LEASE_MS / 1000 + 2
    assert (again.step, again.epoch, again.idempotency_key) == (lost.step, 2, lost.idempotency_key)
    assert h.tasks.heartbeat("zombie", [lease_of(lost)]) == [False]
    error = (await h.tasks.complete([result_of(lost, worker="zombie")]))[0]
    assert error is not None
    assert error["code"] == "E0307"
    assert await h.hand_in(again, worker="w2") is None
    assert await h.hand_in(lost, worker="zombie") == "E0307"
    await h.ended(execution_id)
    (gone,) = await h.found(execution_id, ev.ToolLost)
    assert "zombie" in gone.reason


async def test_a_zombie_that_is_quicker_than_its_heir(h: Harness):
    """E3: even before the new holder has anything, the old epoch is refused."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    lost = await h.take(worker="zombie")
    for _ in range(500):
        if await h.found(execution_id, ev.ToolLost):
            break
        await asyncio.sleep(0.01)
    assert await h.hand_in(lost, worker="zombie") == "E0307"
    again = await h.take(worker="w2")
    assert await h.hand_in(lost, worker="zombie") == "E0307"
    assert await h.hand_in(again, worker="w2") is None
    await h.ended(execution_id)


async def test_a_heartbeat_keeps_the_lease(h: Harness):
    """Three leases long, with a heartbeat at each third."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    for _ in range(9):
        await asyncio.sleep(LEASE_MS / 3000)
        assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
    assert await h.hand_in(task) is None
    await h.ended(execution_id)
    assert await h.found(execution_id, ev.ToolLost) == []


async def test_heartbeats_of_others_keep_nothing(h: Harness):
    """Another worker, another epoch, a step that is nobody's: false for each."""
    await h.open(reply(call("look")), reply("Done."))
    await h.start()
    task = await h.take()
    lease = lease_of(task)
    assert h.tasks.heartbeat("w2", [lease]) == [False]
    wrong = [LeaseRef(lease.execution_id, lease.step, 2), LeaseRef("xnone", "t1.c0", 1), lease]
    assert h.tasks.heartbeat("w1", wrong) == [False, False, True]


async def test_an_unknown_outcome_with_the_policy_fail(h: Harness):
    """E7: it is not run again; the model is told that nobody knows."""
    await h.open(reply(call("charge")), reply("I see."))
    execution_id = await h.start()
    await h.take()
    assert (await h.ended(execution_id)).output == "I see."
    told = h.model.requests[1].messages[-1].parts[0]
    assert (told.is_error, told.result["code"]) == (True, "E0308")
    assert len(await h.found(execution_id, ev.ToolStarted)) == 1


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
async def test_an_unknown_outcome_with_the_policy_ask(h: Harness, verdict):
    """E7: a person decides whether it runs again; a no tells the model that nobody knows."""
    await h.open(reply(call("email")), reply("I see."))
    execution_id = await h.start()
    lost = await h.take()
    view = await h.until(execution_id, "waiting:approval")
    (row,) = await h.executions.approvals(execution_id, pending=True)
    assert (row.unknown_epoch, view.waits[0].approval_id) == (1, row.approval_id)
    assert await h.hand_in(lost) == "E0307"
    await h.no_task()
    await h.executions.decide(row.approval_id, decision(verdict))
    if verdict == "approved":
        again = await h.take()
        assert (again.epoch, again.idempotency_key) == (2, lost.idempotency_key)
        await h.hand_in(again)
    await h.ended(execution_id)
    told = h.model.requests[1].messages[-1].parts[0]
    assert told.is_error == (verdict == "rejected")


async def test_who_works(h: Harness):
    """Workers as last heard of, with their queues and what they hold."""
    await h.open(reply(call("look")), reply("Done."))
    assert h.tasks.workers() == []
    await h.start()
    await h.take(worker="w1")
    h.tasks.heartbeat("w2", [])
    seen = {w.worker: w for w in h.tasks.workers()}
    assert seen["w1"].tools == tuple(sorted(QUEUES))
    assert (seen["w1"].leases, seen["w2"].leases, seen["w2"].tools) == (1, 0, ())
    assert seen["w1"].last_seen_ms <= h.clock.now_ms()


async def test_a_task_taken_and_cancelled_in_one_breath_is_not_given(h: Harness):
    """The attempt and the cancel share a commit: no worker may begin what is over."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await soon(lambda: h.gauge("tasks_waiting") == 1)
    resident = await h.engine._residency.get(execution_id)
    resident.committing = True  # another commit is under way, so that both inputs wait for the same round
    polling = asyncio.ensure_future(h.tasks.poll("w1", QUEUES, 1, 0))
    await soon(lambda: len(resident.mailbox) == 1)
    cancelling = asyncio.ensure_future(h.executions.cancel(execution_id, "ann", ""))
    await soon(lambda: len(resident.mailbox) == 2)
    resident.committing = False
    h.engine._driver._pump(resident)
    assert await polling == []
    assert (await cancelling).status == "cancelled"
    assert (await h.kinds(execution_id))[-2:] == ["tool_started", "execution_cancelled"]
    assert h.gauge("leases") == 0


async def test_polls_end_when_the_engine_closes(h: Harness):
    """A long poll does not keep a server from stopping."""
    await h.open()
    polling = asyncio.ensure_future(h.tasks.poll("w1", QUEUES, 1, 60_000))
    await asyncio.sleep(0.02)
    await h.close()
    assert await asyncio.wait_for(polling, 2) == []


async def test_nothing_is_recorded_after_the_close(h: Harness):
    """A late result gets E0506, which workers keep it for; the next engine takes it."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    tasks = h.tasks
    await h.close()
    (answer,) = await tasks.complete([result_of(task)])
    assert answer is not None
    assert answer["code"] == "E0506"
    assert (await refused(tasks.poll("w1", QUEUES, 1, 0))).code == "E0506"
    await h.open()
    assert await h.hand_in(task) is None
    await h.ended(execution_id)
