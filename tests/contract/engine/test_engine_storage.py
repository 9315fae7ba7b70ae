"""The embedded engine and its journal: E1 and E2 with commits held back, and a storage that fails for a while."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.errors import JournalError, ModelError
from tests.contract.engine.engine_harness import (
    LEASE_MS,
    QUEUES,
    Gate,
    Harness,
    call,
    collect,
    decision,
    lease_of,
    refused,
    reply,
    seqs,
    soon,
    start_request,
)
from tests.contract.engine.faulty_journal import DOWN, FULL, FaultyJournal, Overlay


async def pause() -> None:
    """Time enough for anything that would happen by itself."""
    await asyncio.sleep(0.05)


# E1 and E2 ------------------------------------------------------------------------------------------------


async def test_nothing_happens_before_its_event_is_durable(h: Harness, journal: Any):
    """E1, E2: no model is called, no task given, nobody answered and nothing streamed while a commit is held."""
    await h.open(reply(call("look")), reply("Done."))
    disk: FaultyJournal = journal()
    disk.holding = True
    starting = asyncio.ensure_future(h.executions.start(start_request()))
    await soon(lambda: disk.held)
    await pause()
    assert (disk.kinds(), starting.done(), h.model.requests) == (
        ["execution_started", "model_requested"],
        False,
        [],
    )
    disk.release()
    execution_id = (await starting).execution_id
    await soon(lambda: h.gauge("tasks_waiting"))
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    await soon(lambda: len(seqs(items)) == 4)
    disk.holding = True
    polling = asyncio.ensure_future(h.tasks.poll("w1", QUEUES, 1, 0))
    await soon(lambda: disk.held)
    await pause()
    assert (disk.kinds(), polling.done(), len(seqs(items))) == (["tool_started"], False, 4)
    assert h.gauge("leases") == 0
    disk.release()
    (task,) = await polling
    disk.holding = True
    handing_in = asyncio.ensure_future(h.hand_in(task))
    await soon(lambda: disk.held)
    await pause()
    assert (disk.kinds(), handing_in.done()) == (["tool_completed", "model_requested"], False)
    assert len(h.model.requests) == 1
    disk.release()
    assert await handing_in is None
    await reading
    await h.ended(execution_id)


async def test_no_person_is_answered_before_the_decision_is_durable(h: Harness, journal: Any):
    """E1, E2: the approved call is not on offer, and cancel, pause and decide wait for their commits."""
    await h.open(reply(call("refund", amount=1)), reply("Done."))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    view = await h.until(execution_id, "waiting:approval")
    disk.holding = True
    deciding = asyncio.ensure_future(
        h.executions.decide(str(view.waits[0].approval_id), decision("approved"))
    )
    await soon(lambda: disk.held)
    pausing = asyncio.ensure_future(h.executions.pause(execution_id, "ann", ""))
    await pause()
    assert (deciding.done(), pausing.done(), h.gauge("tasks_waiting")) == (False, False, 0)
    assert (await h.executions.approval(str(view.waits[0].approval_id))).decision is None
    assert (await h.executions.get(execution_id)).status == "waiting:approval"
    disk.release()
    assert (await deciding).decision == "approved"
    assert (await pausing).status == "paused"


async def test_an_aborted_call_is_not_missed_before_its_end_is_durable(h: Harness, journal: Any):
    """The model goes on answering until the cancel is durable."""
    gate = Gate(reply("never"))
    await h.open(gate)
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    await gate.reached.wait()
    disk.holding = True
    cancelling = asyncio.ensure_future(h.executions.cancel(execution_id, "ann", ""))
    await soon(lambda: disk.held)
    await pause()
    assert not gate.cancelled
    disk.release()
    await cancelling
    await soon(lambda: gate.cancelled)


# A full disk, a dead disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [FULL, DOWN], ids=["full", "down"])
async def test_every_verb_says_what_is_wrong_and_works_again(h: Harness, journal: Any, failure: JournalError):
    """Each caller gets the journal's own error; when the disk is back everything goes on by itself."""
    await h.open(reply(call("look"), call("refund", amount=1)), reply("Done."))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    offered = await h.start("offered")
    task = await h.take()
    assert task.execution_id == execution_id
    (row,) = await h.executions.approvals(execution_id, pending=True)
    disk.failure = failure
    verbs = [
        h.executions.start(start_request("another")),
        h.executions.pause(execution_id, "ann", ""),
        h.executions.cancel(execution_id, "ann", ""),
        h.executions.decide(row.approval_id, decision("approved")),
        h.tasks.poll("w2", QUEUES, 1, 0),
    ]
    for verb in verbs:
        error = await refused(verb)
        assert (error.code, error.http_status, bool(error.fix)) == (failure.code, 503, True)
    assert await h.hand_in(task) == failure.code
    assert h.engine.fault is not None
    assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
    disk.failure = None
    await soon(lambda: h.engine.fault is None)
    assert await h.hand_in(task) is None
    await h.executions.decide(row.approval_id, decision("rejected"))
    assert (await h.ended(execution_id)).output == "Done."
    again = await h.take()
    assert (again.execution_id, again.epoch) == (offered, 1)
    assert "execution_cancelled" not in await h.kinds(execution_id)


async def test_an_answer_that_was_paid_for_is_kept(h: Harness, journal: Any):
    """The model answers while the disk is full: it is recorded later, and not asked for again."""
    gate = Gate(reply("Worth a fortune."))
    await h.open(gate)
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    await gate.reached.wait()
    disk.failure = FULL
    gate.opened.set()
    await soon(lambda: disk.refused >= 3)
    assert (await h.executions.get(execution_id)).status == "running"
    disk.failure = None
    assert (await h.ended(execution_id)).output == "Worth a fortune."
    assert len(h.model.requests) == 1


async def test_an_answer_that_comes_while_its_execution_is_read_again(h: Harness, journal: Any):
    """After an outage the execution is read, and its model's answer comes in that moment: it is not asked again."""
    gate = Gate(reply("Worth a fortune."))
    await h.open(gate)
    disk: FaultyJournal = journal()
    whole = disk.inner
    execution_id = await h.start()
    await gate.reached.wait()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **named: Any) -> Any:
        found = await whole.events(*args, **named)
        asked.set()
        await go_on.wait()
        return found

    disk.inner = Overlay(whole, events=slowly)
    disk.failure = FULL
    assert (await refused(h.executions.pause(execution_id, "ann", ""))).code == "E0501"
    disk.failure = None
    await asked.wait()
    gate.opened.set()
    await pause()
    go_on.set()
    assert (await h.ended(execution_id)).output == "Worth a fortune."
    assert len(h.model.requests) == 1


async def test_what_somebody_else_has_read_after_an_outage_is_not_begun_anew(h: Harness, journal: Any):
    """Its answer is being written when its turn to be read again comes: the model is not asked a second time."""
    gate = Gate(reply("Worth a fortune."))
    await h.open(reply(call("look")), gate)
    disk: FaultyJournal = journal()
    whole = disk.inner
    working = await h.start()
    task = await h.take()
    first = await h.start("first in the row")
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(execution_id: str, *args: Any, **named: Any) -> Any:
        if execution_id == first:
            reading.set()
            await go_on.wait()
        return await whole.events(execution_id, *args, **named)

    disk.inner = Overlay(whole, events=slowly)
    disk.failure = FULL
    assert (await refused(h.executions.pause(first, "ann", ""))).code == "E0501"
    assert await h.hand_in(task) == "E0501"
    disk.failure = None
    await reading.wait()
    assert await h.hand_in(task) is None
    await gate.reached.wait()
    disk.holding = True
    gate.opened.set()
    await soon(lambda: disk.held)
    go_on.set()
    await pause()
    disk.release()
    assert (await h.ended(working)).output == "Worth a fortune."
    asked = [(r.step, r.attempt) for r in h.model.requests if r.execution_id == working]
    assert asked == [("t1.m", 1), ("t2.m", 1)]


async def test_all_that_comes_in_while_the_disk_is_full_is_recorded_after_it(h: Harness, journal: Any):
    """Answers, failures, lost leases and due timers of many executions."""
    gates = [Gate(reply(f"Answer {n}.")) for n in range(10)]
    waiting = iter(gates)

    async def turn(asked: Any, on_delta: Any) -> Any:
        return await next(waiting)(asked, on_delta)

    await h.open(turn)
    disk: FaultyJournal = journal()
    answering = [await h.start(str(n)) for n in range(10)]
    await soon(lambda: all(g.reached.is_set() for g in gates))
    h.model.turns = [reply(call("look")), reply("Retaken.")]
    silent = await h.start("silent")
    await h.take(worker="zombie")
    h.model.turns = [[ModelError("E0207", "Busy", retryable=True, retry_after_ms=200), reply("Later.")]]
    later = await h.start("later")
    await h.until(later, "waiting:timer")
    h.model.turns = [reply("Later."), reply("Retaken.")]
    disk.failure = FULL
    for gate in gates:
        gate.opened.set()
    await asyncio.sleep(LEASE_MS / 1000 + 0.4)
    assert (await h.executions.get(silent)).status == "running"
    disk.failure = None
    outputs = [(await h.ended(i)).output for i in answering]
    assert outputs == [f"Answer {n}." for n in range(10)]
    await h.hand_in(await h.take(worker="w2"), worker="w2")
    assert (await h.ended(silent)).output == "Retaken."
    assert (await h.ended(later)).output == "Later."
    assert h.gauge("executions_resident") == 0


async def test_a_disk_that_is_full_when_the_server_starts(h: Harness, journal: Any):
    """What was in mid-call is asked again once there is room, whatever was tried before."""
    gate = Gate(reply("never"))
    await h.open(gate)
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    await gate.reached.wait()
    await h.close()
    disk.failure = FULL
    h.wrap = lambda inner: inner
    h.model.turns = [reply("Done.")]
    await h.open()
    await soon(lambda: disk.refused >= 3)
    disk.failure = None
    assert (await h.ended(execution_id)).output == "Done."
    assert len(await h.found(execution_id, ev.ModelLost)) == 1


async def test_reads_that_fail_for_a_while_lose_nothing(h: Harness, journal: Any):
    """An execution that cannot be read when its timer is due is woken when it can."""
    await h.open([ModelError("E0207", "Busy", retryable=True, retry_after_ms=100), reply("Done.")])
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    await h.until(execution_id, "waiting:timer")
    disk.reads_fail = DOWN
    await asyncio.sleep(0.3)
    assert (await refused(h.executions.get(execution_id))).code == "E0506"
    disk.reads_fail = None
    assert (await h.ended(execution_id)).output == "Done."


async def test_a_timer_that_is_set_while_the_journal_is_asked_for_the_next_one(h: Harness, journal: Any):
    """The answer is older than the timer, which fires in its time all the same."""
    await h.open(reply(call("refund", amount=1)))
    disk: FaultyJournal = journal()
    whole = disk.inner
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> Any:
        due = await whole.next_due()
        asked.set()
        await go_on.wait()
        return due

    disk.inner = Overlay(whole, next_due=slowly)
    await h.start(timeout_ms=10)  # when it has fired, the journal is asked for the next one
    await asked.wait()
    execution_id = await h.start(timeout_ms=150)
    go_on.set()
    assert (await h.ended(execution_id, 3)).finish_reason == "timeout"


async def test_a_journal_that_breaks_its_word_does_not_stop_the_clock(h: Harness, journal: Any):
    """A question of the timers that ends in an error that no journal may raise: they ask again."""
    await h.open(reply(call("refund", amount=1)))
    disk: FaultyJournal = journal()
    whole = disk.inner

    async def strange() -> Any:
        raise ZeroDivisionError("a bug")

    disk.inner = Overlay(whole, next_due=strange)
    execution_id = await h.start(timeout_ms=100)
    await asyncio.sleep(0.2)
    disk.inner = whole
    assert (await h.ended(execution_id)).finish_reason == "timeout"


async def test_a_result_that_comes_while_nothing_can_be_read(h: Harness, journal: Any):
    """Kept by its worker, taken later."""
    await h.open(reply(call("look")), reply("Done."))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    task = await h.take()
    h.engine._residency.residents.clear()
    disk.reads_fail = DOWN
    assert await h.hand_in(task) == "E0506"
    disk.reads_fail = None
    await soon(lambda: h.engine.fault is None)
    assert await h.hand_in(task) is None
    await h.ended(execution_id)
