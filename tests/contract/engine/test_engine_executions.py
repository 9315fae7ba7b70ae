"""The port `Executions`: starting, looking, steering. E2, E5 and the idempotency of starts."""

import asyncio

import pytest

from perdure.core import events as ev
from perdure.core.errors import ModelError
from perdure.core.plan import Plan
from perdure.engine.ports import ExecutionFilter
from tests.contract.engine.engine_harness import Gate, Harness, call, lease_of, refused, reply, start_request
from tests.unit.core.plans import FORECAST, plan


async def test_an_answer(h: Harness):
    """An execution is there as soon as its start is answered, and ends with the model's answer."""
    await h.open(reply("Hi there."))
    started = await h.executions.start(start_request(session_id="s1"))
    assert started.created
    view = await h.ended(started.execution_id)
    assert (view.status, view.output, view.finish_reason) == ("completed", "Hi there.", "stop")
    assert (view.agent, view.title, view.started_by) == ("helper", "Hello.", "tester")
    assert (view.session_id, view.turn, view.usage.total_tokens, view.waits) == ("s1", 1, 15, ())
    assert await h.kinds(started.execution_id) == [
        "execution_started",
        "model_requested",
        "model_completed",
        "execution_completed",
    ]


async def test_what_was_acknowledged_is_there_after_a_restart(h: Harness):
    """E2: an execution whose start was answered is known to the next engine, with all it had."""
    await h.open(Gate(reply("never")))
    execution_id = await h.start(context={"tenant": 7})
    await h.restart(reply("Again."))
    view = await h.ended(execution_id)
    assert view.output == "Again."
    (started,) = await h.found(execution_id, ev.ExecutionStarted)
    assert started.context == {"tenant": 7}


async def test_unknown_ids(h: Harness):
    """E0401 and E0407 from every verb that takes an id."""
    await h.open()
    verbs = [
        h.executions.get("xnone"),
        h.executions.events("xnone", 0, 10),
        h.executions.wait("xnone", 10),
        h.executions.cancel("xnone", "me", ""),
        h.executions.pause("xnone", "me", ""),
        h.executions.resume("xnone", "me"),
        anext(h.executions.stream("xnone", 0)),
    ]
    assert [(await refused(verb)).code for verb in verbs] == ["E0401"] * len(verbs)
    assert (await refused(h.executions.approval("anone"))).code == "E0407"
    assert h.gauge("executions_resident") == 0


async def test_find_pages_and_filters(h: Harness):
    """Newest first, by status, agent and session, a page after the other."""
    await h.open(reply("Done."))
    ids = [await h.start(str(n), session_id="odd" if n % 2 else "even") for n in range(7)]
    for execution_id in ids:
        await h.ended(execution_id)
    first = await h.executions.find(ExecutionFilter(limit=3))
    assert [v.execution_id for v in first] == ids[:3:-1]
    second = await h.executions.find(ExecutionFilter(limit=10, before=first[-1].execution_id))
    assert [v.execution_id for v in second] == ids[3::-1]
    odd = await h.executions.find(ExecutionFilter(session_id="odd"))
    assert [v.title for v in odd] == ["5", "3", "1"]
    assert await h.executions.find(ExecutionFilter(status=("failed",))) == []
    assert await h.executions.find(ExecutionFilter(agent="nobody")) == []


async def test_an_execution_nobody_works_for_says_so(h: Harness):
    """waiting:worker while nobody polls for its tool, in `get` and `find`; running once somebody does."""
    await h.open(reply(call("look")), reply("Done."))
    quiet = await h.start("quiet")
    assert [w.kind for w in (await h.until(quiet, "waiting:worker")).waits] == ["worker"]
    rows = await h.executions.find(ExecutionFilter(status=("waiting:worker",), limit=1))
    assert [(r.execution_id, r.status) for r in rows] == [(quiet, "waiting:worker")]
    assert await h.executions.find(ExecutionFilter(status=("running",))) == []
    task = await h.take()
    assert (await h.executions.get(quiet)).status == "running"
    assert [w.kind for w in (await h.executions.get(quiet)).waits] == ["tool"]
    assert len(await h.executions.find(ExecutionFilter(status=("running",)))) == 1
    await h.hand_in(task)
    await h.ended(quiet)


async def test_events_in_pages(h: Harness):
    """Events come in order after a seq, at most as many as asked for."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await h.hand_in(await h.take())
    await h.ended(execution_id)
    everything = await h.records(execution_id)
    pages = []
    while page := await h.executions.events(execution_id, len(pages), 3):
        pages += page
    assert pages == everything
    assert [r.seq for r in everything] == list(range(1, len(everything) + 1))


async def test_wait_ends_with_the_execution_or_with_its_time(h: Harness):
    """The view as it is when the time is over; the outcome as soon as there is one."""
    gate = Gate(reply("Done."))
    await h.open(gate)
    execution_id = await h.start()
    assert (await h.executions.wait(execution_id, 20)).status == "running"
    assert (await h.executions.wait(execution_id, 0)).status == "running"
    waiting = asyncio.gather(*(h.executions.wait(execution_id, 30_000) for _ in range(5)))
    await gate.reached.wait()
    gate.opened.set()
    assert {v.status for v in await waiting} == {"completed"}


# Starting with a key --------------------------------------------------------------------------------------


async def test_the_same_key_starts_once(h: Harness):
    """Twenty parallel starts with one key give one execution, and only one of them created it."""
    await h.open()
    request = start_request(idempotency_key="k1")
    answers = await asyncio.gather(*(h.executions.start(request) for _ in range(20)))
    assert len({a.execution_id for a in answers}) == 1
    assert sum(a.created for a in answers) == 1
    await h.ended(answers[0].execution_id)
    again = await h.executions.start(request)
    assert (again.execution_id, again.created) == (answers[0].execution_id, False)
    await h.restart()
    assert (await h.executions.start(request)).execution_id == again.execution_id
    assert len(await h.executions.find(ExecutionFilter())) == 1


@pytest.mark.parametrize(
    "other", [{"prompt": "Something else."}, {"context": {"a": 1}}, {"changed": {"instructions": "Be long."}}]
)
async def test_a_key_of_another_request_is_refused(h: Harness, other: dict):
    """E0413 names the execution that has the key; nothing is begun."""
    await h.open()
    first = await h.start(idempotency_key="k1")
    error = await refused(h.executions.start(start_request(idempotency_key="k1", **other)))
    assert error.code == "E0413"
    assert error.fields["execution_id"] == first
    assert error.fix
    assert len(await h.executions.find(ExecutionFilter())) == 1
    await h.ended(first)


async def test_parallel_starts_of_different_requests_with_one_key(h: Harness):
    """One of them wins; the others are E0413."""
    await h.open()
    starting = (h.executions.start(start_request(str(n), idempotency_key="k1")) for n in range(10))
    answers = await asyncio.gather(*starting, return_exceptions=True)
    codes = [getattr(a, "code", "started") for a in answers]
    assert sorted(codes) == ["E0413"] * 9 + ["started"]


async def test_two_hundred_at_once(h: Harness):
    """They do not wait for each other, and nothing is left in memory when they have ended."""
    await h.open(reply("Done."))
    ids = await asyncio.gather(*(h.start(str(n)) for n in range(200)))
    views = await asyncio.gather(*(h.ended(i) for i in ids))
    assert len(set(ids)) == 200
    assert {v.status for v in views} == {"completed"}
    assert h.gauge("executions_resident") == 0


# Steering -------------------------------------------------------------------------------------------------


async def test_cancel_stops_what_is_in_flight(h: Harness):
    """A model in mid-answer is aborted; the reason and the person are recorded."""
    gate = Gate(reply("never"))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    view = await h.executions.cancel(execution_id, "ann", "changed my mind")
    assert view.status == "cancelled"
    assert view.error is not None
    assert (view.error["code"], view.error["why"]) == ("E0406", "changed my mind")
    await asyncio.sleep(0)
    assert gate.cancelled
    assert h.gauge("model_calls_running") == 0


async def test_cancel_takes_the_task_from_its_worker(h: Harness):
    """E9: the worker learns it at its next heartbeat, and its result is refused."""
    await h.open(reply(call("look")))
    execution_id = await h.start()
    task = await h.take()
    lease = lease_of(task)
    assert h.tasks.heartbeat("w1", [lease]) == [True]
    await h.executions.cancel(execution_id, "ann", "")
    assert h.tasks.heartbeat("w1", [lease]) == [False]
    assert await h.hand_in(task) == "E0307"
    assert (await h.kinds(execution_id))[-1] == "execution_cancelled"


async def test_cancel_withdraws_what_is_on_offer(h: Harness):
    """Nobody gets a task of an execution that was cancelled."""
    await h.open(reply(call("look"), call("email")))
    execution_id = await h.start()
    await h.until(execution_id, "waiting:worker")
    await h.executions.cancel(execution_id, "ann", "")
    await h.no_task()
    assert h.gauge("tasks_waiting") == 0


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_the_end_is_final(h: Harness, end: str):
    """E5: no verb changes an execution that has ended; each says how it ended."""
    turn = (
        ModelError("E0204", "No")
        if end == "failed"
        else Gate(reply("x"))
        if end == "cancelled"
        else reply("x")
    )
    await h.open(turn)
    execution_id = await h.start()
    if end == "cancelled":
        await h.executions.cancel(execution_id, "ann", "")
    assert (await h.ended(execution_id)).status == end
    before = await h.records(execution_id)
    for verb in (
        h.executions.cancel(execution_id, "bob", ""),
        h.executions.pause(execution_id, "bob", ""),
        h.executions.resume(execution_id, "bob"),
    ):
        error = await refused(verb)
        assert (error.code, error.http_status, error.fields["status"]) == ("E0402", 409, end)
        assert error.fix
    assert await h.records(execution_id) == before
    assert h.gauge("executions_resident") == 0


async def test_cancel_and_cancel(h: Harness):
    """Of fifty cancels one wins; the others hear that it is over."""
    await h.open(Gate(reply("never")))
    execution_id = await h.start()
    cancelling = (h.executions.cancel(execution_id, f"p{n}", "") for n in range(50))
    answers = await asyncio.gather(*cancelling, return_exceptions=True)
    assert [getattr(a, "code", "ok") for a in answers].count("ok") == 1
    assert {getattr(a, "code", "ok") for a in answers} == {"ok", "E0402"}
    assert (await h.kinds(execution_id)).count("execution_cancelled") == 1


async def test_pause_keeps_what_was_paid_for(h: Harness):
    """Paused while a model answers: the answer is recorded, no step begins until the resume."""
    gate = Gate(reply(call("look")))
    await h.open(gate, reply("Done."))
    execution_id = await h.start()
    await gate.reached.wait()
    assert (await h.executions.pause(execution_id, "ann", "lunch")).status == "paused"
    assert (await h.executions.pause(execution_id, "ann", "again")).status == "paused"
    gate.opened.set()
    for _ in range(200):
        if await h.found(execution_id, ev.ModelCompleted):
            break
        await asyncio.sleep(0.01)
    assert (await h.executions.get(execution_id)).status == "paused"
    await h.no_task()
    assert (await h.executions.resume(execution_id, "ann")).status != "paused"
    await h.hand_in(await h.take())
    assert (await h.ended(execution_id)).output == "Done."
    assert len(h.model.requests) == 2
    kinds = await h.kinds(execution_id)
    assert (kinds.count("execution_paused"), kinds.count("execution_resumed")) == (1, 1)


async def test_pause_takes_offers_back_and_lets_a_task_end(h: Harness):
    """Of two calls one is leased and one on offer when the pause comes."""
    await h.open(reply(call("look"), call("email")), reply("Done."))
    execution_id = await h.start()
    task = await h.take("helper.look")
    await h.executions.pause(execution_id, "ann", "")
    await h.no_task()
    assert h.tasks.heartbeat("w1", [lease_of(task)]) == [True]
    assert await h.hand_in(task) is None
    assert (await h.executions.get(execution_id)).status == "paused"
    await h.executions.resume(execution_id, "ann")
    await h.hand_in(await h.take("helper.email"))
    await h.ended(execution_id)


async def test_resume_of_what_runs_changes_nothing(h: Harness):
    """A client that resumes after a restart may find that nothing needs it."""
    gate = Gate(reply("Done."))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    before = await h.records(execution_id)
    assert (await h.executions.resume(execution_id, "ann")).status == "running"
    assert await h.records(execution_id) == before
    gate.opened.set()
    await h.ended(execution_id)
    assert len(h.model.requests) == 1


# Outcomes -------------------------------------------------------------------------------------------------


async def test_the_limit_of_turns_is_a_named_outcome(h: Harness):
    """E0403, never a silent success; what the agent said last is kept."""
    await h.open(reply("Let me look.", call("look")))
    execution_id = await h.start(changed={"max_turns": 2})
    for _ in range(2):
        await h.hand_in(await h.take())
    view = await h.ended(execution_id)
    assert (view.status, view.finish_reason, view.output) == ("failed", "max_turns", "Let me look.")
    assert view.error is not None
    assert view.error["code"] == "E0403"


async def test_a_typed_answer_is_asked_for_again(h: Harness):
    """An answer that does not fit goes back to the model with what is wrong; one that fits is the output."""
    await h.open(reply("warm"), reply('{"degrees": "warm"}'), reply('{"degrees": 21}'))
    made: Plan = plan(output=FORECAST, output_retries=2)
    execution_id = await h.start(changed={"output": made.output, "output_retries": 2})
    view = await h.ended(execution_id)
    assert view.output == {"degrees": 21}
    assert len(await h.found(execution_id, ev.OutputRejected)) == 2


async def test_a_model_that_refuses_ends_the_execution(h: Harness):
    """The provider's error, with its code, is the execution's."""
    await h.open(ModelError("E0205", "The key is wrong", fix="Set another."))
    view = await h.ended(await h.start())
    assert view.status == "failed"
    assert view.error is not None
    assert (view.error["code"], view.error["fix"]) == ("E0205", "Set another.")
