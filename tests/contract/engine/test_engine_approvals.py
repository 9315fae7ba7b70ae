"""Approvals through the ports: one decision, bound to what will run; whoever loses a race hears who won."""

import asyncio

import pytest

from perdure.core import events as ev
from perdure.engine.ports import ExecutionFilter
from tests.contract.engine.engine_harness import Gate, Harness, call, decision, refused, reply


async def parked(h: Harness, *turns: object) -> tuple[str, str]:
    """An execution that waits for a person, and the approval's id."""
    await h.open(reply(call("refund", amount=5)), *(turns or (reply("Done."),)))
    execution_id = await h.start()
    view = await h.until(execution_id, "waiting:approval")
    assert view.waits[0].approval_id is not None
    return execution_id, view.waits[0].approval_id


async def test_an_approval_shows_what_would_be_done(h: Harness):
    """Arguments and hash, in the view of the execution and as a row; nothing is on offer."""
    execution_id, approval_id = await parked(h)
    (row,) = await h.executions.approvals(None, pending=True)
    (wait,) = (await h.executions.get(execution_id)).waits
    assert (row.approval_id, row.execution_id, row.tool, row.arguments) == (
        approval_id,
        execution_id,
        "refund",
        {"amount": 5},
    )
    assert (wait.kind, wait.arguments, wait.effect_hash) == ("approval", {"amount": 5}, row.effect_hash)
    assert (row.decision, row.decided_by) == (None, None)
    assert [v.status for v in await h.executions.find(ExecutionFilter(status=("waiting:approval",)))] == [
        "waiting:approval"
    ]
    await h.no_task()


async def test_an_approved_call_runs_as_it_was_shown(h: Harness):
    """The decision is recorded with who, when and how, before the call is on offer."""
    execution_id, approval_id = await parked(h)
    shown = await h.executions.approval(approval_id)
    row = await h.executions.decide(
        approval_id, decision("approved", "ann", effect_hash=shown.effect_hash, reason="ok")
    )
    assert (row.decision, row.decided_by, row.channel, row.reason) == ("approved", "ann", "test", "ok")
    assert row.decided_at_ms is not None
    task = await h.take()
    assert task.arguments == {"amount": 5}
    await h.hand_in(task)
    assert (await h.ended(execution_id)).output == "Done."
    assert await h.executions.approval(approval_id) == row
    assert await h.executions.approvals(None, pending=True) == []
    assert await h.executions.approvals(execution_id, pending=False) == [row]


async def test_edited_arguments_run_instead(h: Harness):
    """They are checked, recorded, and what the tool gets; the hash is of what runs."""
    execution_id, approval_id = await parked(h)
    asked = await h.executions.approval(approval_id)
    error = await refused(h.executions.decide(approval_id, decision("approved", arguments={"amount": "all"})))
    assert (error.code, bool(error.why), bool(error.fix)) == ("E0305", True, True)
    row = await h.executions.decide(approval_id, decision("approved", arguments={"amount": 3}))
    assert (row.arguments, row.decided_arguments) == ({"amount": 5}, {"amount": 3})
    task = await h.take()
    assert task.arguments == {"amount": 3}
    await h.hand_in(task)
    await h.ended(execution_id)
    (decided,) = await h.found(execution_id, ev.ApprovalDecided)
    assert decided.effect_hash != asked.effect_hash


async def test_a_rejection_is_told_to_the_model(h: Harness):
    """Nothing runs; the agent reads the reason and goes on."""
    execution_id, approval_id = await parked(h)
    await h.executions.decide(approval_id, decision("rejected", reason="too much"))
    assert (await h.ended(execution_id)).output == "Done."
    told = h.model.requests[1].messages[-1].parts[0]
    assert told.is_error
    assert told.result["reason"] == "too much"
    assert await h.found(execution_id, ev.ToolStarted) == []


async def test_a_decision_about_something_else_is_refused(h: Harness):
    """E0409: the hash is not the one that is shown; the right one is told, and nothing was decided."""
    _, approval_id = await parked(h)
    error = await refused(h.executions.decide(approval_id, decision("approved", effect_hash="0" * 64)))
    shown = await h.executions.approval(approval_id)
    assert (error.code, error.http_status) == ("E0409", 409)
    assert error.fields["effect_hash"] == shown.effect_hash
    assert shown.decision is None
    await h.no_task()


async def test_the_second_decision_hears_of_the_first(h: Harness):
    """E0408 with who decided what and when; nothing changes."""
    execution_id, approval_id = await parked(h)
    first = await h.executions.decide(approval_id, decision("approved", "ann"))
    for late in (decision("approved", "bob"), decision("rejected", "bob")):
        error = await refused(h.executions.decide(approval_id, late))
        assert (error.code, error.http_status) == ("E0408", 409)
        assert error.fields == {
            "decision": "approved",
            "decided_by": "ann",
            "decided_at_ms": first.decided_at_ms,
        }
    assert len(await h.found(execution_id, ev.ApprovalDecided)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_fifty_times_three_at_once(h: Harness, seed: int):
    """Approve, reject and cancel race on each of fifty executions: one decision at most, and losers get 409."""
    await h.open(reply(call("refund", amount=5)), Gate(reply("never")))
    for number in range(50 // 3 + 1):
        execution_id = await h.start(f"{seed}-{number}")
        view = await h.until(execution_id, "waiting:approval")
        approval_id = str(view.waits[0].approval_id)
        verbs = [
            h.executions.decide(approval_id, decision("approved", "ann")),
            h.executions.decide(approval_id, decision("rejected", "bob")),
            h.executions.cancel(execution_id, "eve", ""),
        ]
        turned = [verbs[(seed + number + place) % 3] for place in range(3)]
        names = [("approve", "reject", "cancel")[(seed + number + place) % 3] for place in range(3)]
        answers = dict(zip(names, await asyncio.gather(*turned, return_exceptions=True), strict=True))
        lost = {name: answer for name, answer in answers.items() if isinstance(answer, Exception)}
        assert {answer.http_status for answer in lost.values()} <= {409}
        assert len([name for name in ("approve", "reject") if name not in lost]) <= 1
        row = await h.executions.approval(approval_id)
        for name in ("approve", "reject"):
            if name in lost:
                assert lost[name].code == "E0408"
                assert lost[name].fields["decision"] == row.decision
        decided = await h.found(execution_id, ev.ApprovalDecided)
        assert len(decided) == (row.decision in ("approved", "rejected"))
        if "cancel" not in lost:
            assert (await h.executions.get(execution_id)).status == "cancelled"
        else:
            await h.executions.cancel(execution_id, "test", "")


async def test_the_end_of_an_execution_voids_its_approvals(h: Harness):
    """Cancelled while somebody thinks: the approval is void, says so, and cannot be decided."""
    execution_id, approval_id = await parked(h)
    await h.executions.cancel(execution_id, "eve", "")
    row = await h.executions.approval(approval_id)
    assert row.decision == "void"
    error = await refused(h.executions.decide(approval_id, decision("approved")))
    assert (error.code, error.fields["decision"]) == ("E0408", "void")
    assert await h.executions.approvals(None, pending=True) == []


async def test_several_approvals_of_one_turn_are_decided_one_by_one(h: Harness):
    """In any order, each bound to its own call."""
    await h.open(reply(*(call("refund", f"c{n}", amount=n) for n in range(4))), reply("Done."))
    execution_id = await h.start()
    await h.until(execution_id, "waiting:approval")
    rows = await h.executions.approvals(execution_id, pending=True)
    assert sorted(row.arguments["amount"] for row in rows) == [0, 1, 2, 3]
    assert len({row.effect_hash for row in rows}) == 4
    other = await refused(
        h.executions.decide(rows[0].approval_id, decision("approved", effect_hash=rows[1].effect_hash))
    )
    assert other.code == "E0409"
    for row in reversed(rows):
        verdict = "approved" if row.arguments["amount"] % 2 else "rejected"
        await h.executions.decide(row.approval_id, decision(verdict))
    for _ in range(2):
        await h.hand_in(await h.take())
    await h.ended(execution_id)
    results = h.model.requests[1].messages[-1].parts
    assert [p.is_error for p in results] == [True, False, True, False]


async def test_a_decision_while_paused_waits_for_the_resume(h: Harness):
    """It is recorded at once; the call is on offer only after the resume."""
    execution_id, approval_id = await parked(h)
    await h.executions.pause(execution_id, "ann", "")
    assert (await h.executions.decide(approval_id, decision("approved"))).decision == "approved"
    await h.no_task()
    await h.executions.resume(execution_id, "ann")
    await h.hand_in(await h.take())
    await h.ended(execution_id)


async def test_approving_after_a_restart(h: Harness):
    """The approval outlives any number of engines; the execution goes on from there."""
    execution_id, approval_id = await parked(h)
    for _ in range(2):
        await h.restart()
        assert (await h.executions.get(execution_id)).status == "waiting:approval"
    h.model.turns = [reply("never"), reply("Done.")]
    await h.executions.decide(approval_id, decision("approved"))
    await h.hand_in(await h.take())
    assert (await h.ended(execution_id)).output == "Done."


async def test_a_decision_that_cannot_be_stored(h: Harness):
    """A reason with a lone surrogate is refused for its caller alone; the approval still waits."""
    execution_id, approval_id = await parked(h)
    error = await refused(h.executions.decide(approval_id, decision("approved", reason="\ud800")))
    assert error.code == "E0508"
    assert h.engine.fault is None
    assert (await h.executions.approval(approval_id)).decision is None
    await h.executions.decide(approval_id, decision("approved"))
    await h.hand_in(await h.take())
    await h.ended(execution_id)
