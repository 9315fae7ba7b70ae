"""Executions made out of others, over both journals: nothing recorded is done again, and every copy ends."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.errors import ExecutionError, ModelError
from perdure.core.forking import Edit
from perdure.core.ids import content_hash, idempotency_key
from perdure.core.messages import user
from perdure.core.plan import Member, Plan
from perdure.engine.ports import ExecutionFilter, StartRequest
from tests.contract.engine.engine_harness import (
    QUEUES,
    QUICK,
    TOOLS,
    Gate,
    Harness,
    broken,
    call,
    decision,
    make_request,
    refused,
    reply,
    start_request,
)
from tests.unit.core.invariants import check_journal
from tests.unit.core.plans import plan, team

LOOKS = (reply(call("look")), reply(call("look", "d")), reply("Done."))
DOWN = ModelError("E0207", "The provider could not be reached", retryable=True)


class Fleet:
    """A worker that serves all queues until it is stopped; `ran` counts the idempotency keys of what it ran."""

    def __init__(self, h: Harness, *queues: str) -> None:
        self.ran: Counter[str] = Counter()
        self._h = h
        self._queues = list(queues) or QUEUES
        self._task = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        while True:
            for task in await self._h.tasks.poll("fleet", self._queues, 10, 1_000):
                self.ran[task.idempotency_key] += 1
                await self._h.hand_in(task, {"by": task.agent, "n": len(self.ran)}, "fleet")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def make(h: Harness, execution_id: str, kind: Any, plan_: Plan | None = None, **fields: Any) -> str:
    """The id of the execution that is made out of another one."""
    made = await h.histories.make(make_request(execution_id, kind, plan_, **fields))
    assert made.created
    return made.execution_id


async def results(h: Harness, execution_id: str) -> dict[str, Any]:
    """The recorded results by step."""
    return {e.step: e.result for e in await h.found(execution_id, ev.ToolCompleted)}


async def test_a_run_with_tools_is_forked_at_each_of_its_events(h: Harness):
    """Each copy ends with the answer; a result of the copied part is kept, and its call is not made again."""
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    before = await results(h, old)
    for record in await h.records(old):
        fleet.ran.clear()
        new = await make(h, old, "fork", at=record.seq)
        assert (await h.ended(new)).output == "Done."
        records = await h.records(new)
        check_journal(records)
        kept = {e.step: e.result for e in _events(records, ev.ToolCompleted) if _copied(records, e)}
        assert kept == {step: before[step] for step in kept}
        assert not {idempotency_key(old, step) for step in kept} & set(fleet.ran)
    assert await results(h, old) == before
    await fleet.stop()


def _events(records: list[ev.Recorded], kind: Any) -> list[Any]:
    return [r.event for r in records if isinstance(r.event, kind)]


def _copied(records: list[ev.Recorded], event: ev.AnyEvent) -> bool:
    first: Any = records[0].event
    return any(r.event is event and r.seq <= first.origin.copied for r in records)


async def test_a_failed_model_step_is_retried_after_what_was_recorded(h: Harness):
    """The retry asks the model again and keeps the tool's result; the old execution stays failed."""
    await h.open(LOOKS[0], [DOWN, DOWN, DOWN, DOWN])
    fleet = Fleet(h)
    old = await h.start(session_id="s1")
    assert (await h.ended(old)).status == "failed"
    h.model.turns = [LOOKS[0], reply("Back.")]
    new = await make(h, old, "retry")
    assert (await h.ended(new)).output == "Back."
    assert sum(fleet.ran.values()) == 1
    assert (await h.executions.get(new)).session_id == "s1"
    assert (await h.executions.get(old)).status == "failed"
    assert (await refused(h.histories.make(make_request(new, "retry")))).code == "E0433"
    await fleet.stop()


async def test_a_cancelled_execution_goes_on_and_its_leased_call_is_unknown(h: Harness):
    """The call keeps its key, and the tool's policy (retry) offers it again."""
    await h.open(LOOKS[0], reply("Done."))
    old = await h.start()
    task = await h.take()
    await h.executions.cancel(old, "ann", "")
    new = await make(h, old, "retry")
    again = await h.take()
    assert (again.execution_id, again.idempotency_key, again.epoch) == (new, task.idempotency_key, 2)
    assert await h.hand_in(again) is None
    assert (await h.ended(new)).status == "completed"


async def test_an_open_approval_is_asked_anew_and_a_decided_one_stays_the_old_ones(h: Harness):
    """E8: the yes to one execution's call is not the yes to another's; the records of the old one are untouched."""
    await h.open(reply(call("refund", amount=5)), reply(call("refund", "d", amount=6)), reply("Done."))
    old = await h.start()
    await h.until(old, "waiting:approval")
    (first,) = await h.executions.approvals(old, pending=True)
    await h.executions.decide(first.approval_id, decision("approved"))
    await h.hand_in(await h.take())
    await h.until(old, "waiting:approval")
    new = await make(h, old, "fork", at=len(await h.records(old)))
    (mine,) = await h.executions.approvals(new, pending=False)
    assert mine.decision is None
    assert mine.arguments == {"amount": 6}
    (_, waiting) = await h.executions.approvals(old, pending=False)
    assert waiting.approval_id != mine.approval_id
    assert (await h.executions.approval(first.approval_id)).execution_id == old
    await h.executions.decide(mine.approval_id, decision("approved"))
    await h.hand_in(await h.take())
    assert (await h.ended(new)).output == "Done."
    assert (await h.executions.get(old)).status == "waiting:approval"


async def test_a_fork_edits_what_was_recorded(h: Harness):
    """A result, an answer, the input: the model sees the edited one."""
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start("Hello.")
    await h.ended(old)
    new = await make(h, old, "fork", at="t1.c0", edit=Edit(result={"by": "me"}))
    await h.ended(new)
    assert (await results(h, new))["t1.c0"] == {"by": "me"}
    assert h.model.requests[-1].messages[2].parts[0].result == {"by": "me"}
    new = await make(h, old, "fork", at="t2.m", edit=Edit(answer="Enough."))
    assert (await h.ended(new)).output == "Enough."
    new = await make(h, old, "fork", edit=Edit(input="Bye."))
    await h.ended(new)
    assert h.model.requests[-1].messages[0] == user("Bye.")
    (started,) = await h.found(new, ev.ExecutionStarted)
    assert started.origin == ev.Origin(old, 0, "fork", edited=("input",))
    await fleet.stop()


@pytest.mark.parametrize(
    "fields",
    [
        {"at": 99},
        {"at": "t7.m"},
        {"at": 3, "edit": Edit(input="x")},
        {"edit": Edit(result=1)},
        {"at": "t1.m", "edit": Edit(result=1)},
        {"at": "t1.m", "edit": Edit(answer="a", result=1)},
    ],
)
async def test_what_fits_no_point_is_refused_and_nothing_begins(h: Harness, fields: dict[str, Any]):
    """E0432, before anything is written."""
    await h.open()
    old = await h.start()
    await h.ended(old)
    assert (await refused(h.histories.make(make_request(old, "fork", **fields)))).code == "E0432"
    assert len(await h.executions.find(ExecutionFilter())) == 1


async def test_the_same_key_gives_the_same_copy(h: Harness):
    """A request that is sent twice makes one execution; another request with its key is refused."""
    await h.open()
    old = await h.start()
    await h.ended(old)
    request = make_request(old, "fork", at=1, idempotency_key="k")
    first = await h.histories.make(request)
    again = await h.histories.make(request)
    assert (again.execution_id, again.created) == (first.execution_id, False)
    other = make_request(old, "rerun", idempotency_key="k")
    assert (await refused(h.histories.make(other))).code == "E0413"
    await h.ended(first.execution_id)


async def test_a_copy_survives_a_restart_in_its_midst(h: Harness):
    """I9 holds for the copied journal, and what was open goes on."""
    gate = Gate(reply("Done."))
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    await fleet.stop()
    h.model.turns = [LOOKS[0], LOOKS[1], gate]
    new = await make(h, old, "fork", at="t3.m")
    await asyncio.wait_for(gate.reached.wait(), 5)
    await h.restart(*LOOKS)
    assert (await h.ended(new)).output == "Done."
    check_journal(await h.records(new))


# Replays ------------------------------------------------------------------------------------------------


async def test_a_replay_asks_the_model_and_nobody_else(h: Harness):
    """Every call is answered from the recording, the k-th the k-th result; no worker is there."""
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    await fleet.stop()
    asked = len(h.model.requests)
    new = await make(h, old, "replay")
    assert (await h.ended(new)).output == "Done."
    assert await results(h, new) == await results(h, old)
    assert len(h.model.requests) == 2 * asked
    check_journal(await h.records(new))
    assert (await refused(h.histories.make(make_request(new, "fork", at=2)))).code == "E0432"


async def test_a_replay_tells_the_model_what_was_not_recorded(h: Harness):
    """E0431 by default; the report of the journal names the call."""
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    h.model.turns = [reply(call("look"), call("email")), reply("Well.")]
    new = await make(h, old, "replay")
    assert (await h.ended(new)).output == "Well."
    (failed,) = await h.found(new, ev.ToolFailed)
    assert (failed.step, failed.error.code) == ("t1.c1", "E0431")
    assert sum(fleet.ran.values()) == 2
    await fleet.stop()


async def test_a_replay_makes_calls_that_were_not_recorded_when_it_may(h: Harness):
    """`live` makes them at once; `ask` when a person says so, also over a restart; a no is told to the model."""
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    turns = [reply(call("email")), reply("Well.")]
    h.model.turns = list(turns)
    assert (await h.ended(await make(h, old, "replay", on_missing="live"))).output == "Well."
    assert sum(fleet.ran.values()) == 3
    await fleet.stop()
    for verdict, ran in (("approved", 1), ("rejected", 0)):
        new = await make(h, old, "replay", on_missing="ask")
        await h.until(new, "waiting:approval")
        await h.restart(*turns)
        (asked,) = await h.executions.approvals(new, pending=True)
        await h.executions.decide(asked.approval_id, decision(verdict))
        fleet = Fleet(h)
        assert (await h.ended(new)).output == "Well."
        assert sum(fleet.ran.values()) == ran
        await fleet.stop()


async def test_a_replay_decides_as_the_person_did(h: Harness):
    """Approvals are answered from the recording, a rejection too; what was never asked is refused."""
    turns = (reply(call("refund", amount=5), call("refund", "d", amount=6)), reply("Done."))
    await h.open(*turns)
    old = await h.start()
    await h.until(old, "waiting:approval")
    one, two = await h.executions.approvals(old, pending=True)
    await h.executions.decide(one.approval_id, decision("approved"))
    await h.executions.decide(two.approval_id, decision("rejected", reason="too much"))
    await h.hand_in(await h.take())
    await h.ended(old)
    new = await make(h, old, "replay")
    assert (await h.ended(new)).output == "Done."
    made = [(e.decision, e.by, e.channel) for e in await h.found(new, ev.ApprovalDecided)]
    assert sorted(made) == [("approved", "ann", "replay"), ("rejected", "ann", "replay")]
    h.model.turns = [reply(call("refund", amount=500)), reply("Hm.")]
    strange = await make(h, old, "replay")
    assert (await h.ended(strange)).output == "Hm."
    (no,) = await h.found(strange, ev.ApprovalDecided)
    assert (no.decision, "E0431" in no.reason) == ("rejected", True)


async def test_a_replay_gives_a_recorded_failure(h: Harness):
    """A tool that was given up is given up again, at once."""
    await h.open(LOOKS[0], reply("Sorry."))
    old = await h.start()
    await h.hand_in(await h.take(), **broken(retryable=False))
    await h.ended(old)
    new = await make(h, old, "replay")
    await h.ended(new)
    (failed,) = await h.found(new, ev.ToolFailed)
    assert failed.error.code == "E0301"


async def test_a_replay_survives_a_restart_in_its_midst(h: Harness):
    """What was under way is looked up again."""
    gate = Gate(LOOKS[1])
    await h.open(*LOOKS)
    fleet = Fleet(h)
    old = await h.start()
    await h.ended(old)
    await fleet.stop()
    h.model.turns = [LOOKS[0], gate, LOOKS[2]]
    new = await make(h, old, "replay")
    await asyncio.wait_for(gate.reached.wait(), 5)
    await h.restart(*LOOKS)
    assert (await h.ended(new)).output == "Done."
    assert await results(h, new) == await results(h, old)


# Teams --------------------------------------------------------------------------------------------------


def pipeline() -> tuple[Plan, dict[str, Plan]]:
    """Two agents one after the other, each with a tool."""
    plans = {}
    members = []
    for name in ("first", "second"):
        made = plan(agent=name, tools=TOOLS, model_retry=QUICK)
        plans[content_hash(made)] = made
        members.append(Member(name, content_hash(made)))
    return team("sequential", *members, synthesize=False), plans


async def start_pipeline(h: Harness) -> tuple[str, Plan, dict[str, Plan]]:
    """Begin the team; its id, its plan and those of its members."""
    whole, plans = pipeline()
    request = StartRequest(whole, content_hash(whole), user("Go."), "tester", members=plans)
    return (await h.executions.start(request)).execution_id, whole, plans


TEAM = ("first.look", "second.look")


async def test_a_team_is_forked_at_each_of_its_events(h: Harness):
    """Children that have ended are kept; one that was open goes on from where it stood; nothing recorded is run again."""
    await h.open(LOOKS[0], reply("Said."))
    fleet = Fleet(h, *TEAM)
    old, whole, plans = await start_pipeline(h)
    await h.ended(old)
    children = {e.step: e.child_id for e in await h.found(old, ev.ChildRequested)}
    done = {step: len(await h.found(child, ev.ToolCompleted)) for step, child in children.items()}
    assert done == {"c1": 1, "c2": 1}
    made = {
        idempotency_key(child, r.event.step): r.at_ms
        for child in children.values()
        for r in await h.records(child)
        if isinstance(r.event, ev.ToolCompleted)
    }
    for record in await h.records(old):
        fleet.ran.clear()
        new = await make(h, old, "fork", whole, members=plans, at=record.seq)
        assert (await h.ended(new)).output == "Said."
        check_journal(await h.records(new))
        before = {key for key, at_ms in made.items() if at_ms <= record.at_ms}
        assert not before & set(fleet.ran), f"done again by a fork at {record.seq}"
    await fleet.stop()


async def test_a_cancelled_team_goes_on_in_its_open_child_over_a_restart(h: Harness):
    """The child that was cancelled with its parent goes on from where it stood, as a child of the new parent."""
    gate = Gate(reply("Said."))
    await h.open(LOOKS[0], gate)
    fleet = Fleet(h, *TEAM)
    old, whole, plans = await start_pipeline(h)
    await asyncio.wait_for(gate.reached.wait(), 5)
    await h.executions.cancel(old, "ann", "")
    ran = dict(fleet.ran)
    child = (await h.found(old, ev.ChildRequested))[0].child_id
    await h.ended(child)
    gate.reached.clear()
    new = await make(h, old, "retry", whole, members=plans)
    await asyncio.wait_for(gate.reached.wait(), 5)
    await fleet.stop()
    await h.restart(LOOKS[0], reply("Said."))
    fleet = Fleet(h, *TEAM)
    assert (await h.ended(new)).output == "Said."
    mine = (await h.found(new, ev.ChildRequested))[0].child_id
    (started,) = await h.found(mine, ev.ExecutionStarted)
    assert (started.origin.execution_id, started.parent.execution_id) == (child, new)
    assert not set(ran) & set(fleet.ran)
    await fleet.stop()


async def test_a_team_whose_child_failed_is_retried_in_the_child(h: Harness):
    """A new child goes on from the failed one's last step; its tool's result is kept, as is the first child's answer."""
    await h.open(LOOKS[0], reply("Said."))
    fleet = Fleet(h, *TEAM)

    async def fails_for_the_second(request: Any, _: Any) -> Any:
        if "made of it" in request.messages[0].text:
            raise DOWN
        return reply("Said.")

    h.model.turns = [LOOKS[0], fails_for_the_second]
    old, whole, plans = await start_pipeline(h)
    assert (await h.ended(old)).status == "failed"
    ran = dict(fleet.ran)
    h.model.turns = [LOOKS[0], reply("Said.")]
    new = await make(h, old, "retry", whole, members=plans)
    assert (await h.ended(new)).output == "Said."
    assert dict(fleet.ran) == ran
    first, second = await h.found(new, ev.ChildRequested)
    failed = (await h.found(old, ev.ChildRequested))[1].child_id
    assert first.origin is None
    assert (second.origin.execution_id, second.origin.kind) == (failed, "retry")
    (started,) = await h.found(second.child_id, ev.ExecutionStarted)
    assert started.parent.execution_id == new
    check_journal(await h.records(second.child_id))
    await fleet.stop()


async def test_a_team_is_replayed_with_all_below_it(h: Harness):
    """A child of a replay replays the child of the same step; no worker is there."""
    await h.open(LOOKS[0], reply("Said."))
    fleet = Fleet(h, *TEAM)
    old, whole, plans = await start_pipeline(h)
    await h.ended(old)
    await fleet.stop()
    new = await make(h, old, "replay", whole, members=plans)
    assert (await h.ended(new)).output == "Said."
    for one, other in zip(
        await h.found(old, ev.ChildRequested), await h.found(new, ev.ChildRequested), strict=True
    ):
        assert await results(h, one.child_id) == await results(h, other.child_id)


async def test_an_aside_of_a_session_sees_what_the_old_one_saw(h: Harness):
    """A fork and a rerun see the conversation before; what comes later in the session does not see them."""
    await h.open(reply("One."), reply("Two."), reply("Three."))
    first = (await h.executions.start(start_request("A", session_id="s"))).execution_id
    await h.ended(first)
    second = (await h.executions.start(start_request("B", session_id="s"))).execution_id
    await h.ended(second)
    for kind, fields in (("rerun", {}), ("fork", {"at": "t1.m"})):
        new = await make(h, second, kind, **fields)
        assert (await h.ended(new)).output == "Two."
        shown = [m.text for m in h.model.requests[-1].messages]
        assert shown == ["A", "One.", "B"]
        assert (await h.executions.get(new)).session_id is None
    with pytest.raises(ExecutionError):
        await h.histories.input_of("x0")
    assert (await h.histories.input_of(second)) == user("B")
