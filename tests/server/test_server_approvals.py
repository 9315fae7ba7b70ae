"""/approvals over the real engine."""

import asyncio
import json

import pytest

from tests.server.harness import API, in_loop, with_tool, world


async def _asked(w, **changes):
    """An execution that waits for an approval, and the approval."""
    execution_id = await w.start(definition=with_tool(approval_required=True), **changes)
    async with asyncio.timeout(5):
        while (await w.door.get(f"{API}/executions/{execution_id}")).json["status"] != "waiting:approval":
            await asyncio.sleep(0.01)
    reply = await w.door.get(f"{API}/approvals?execution_id={execution_id}")
    return execution_id, reply.json["approvals"][0]


@in_loop
async def test_an_approval_shows_what_would_run_and_its_decision():
    """The approval has the arguments and their hash; approved, the tool runs, and who decided is recorded."""
    async with world() as w:
        execution_id, approval = await _asked(w)
        assert (approval["tool"], approval["arguments"], approval["decision"]) == ("look", {"n": 0}, None)
        view = (await w.door.get(f"{API}/executions/{execution_id}")).json
        assert view["waits"][0]["approval_id"] == approval["approval_id"]
        one = await w.door.get(f"{API}/approvals/{approval['approval_id']}")
        assert one.json == approval
        body = {"decision": "approved", "effect_hash": approval["effect_hash"], "by": "ann", "channel": "cli"}
        decided = await w.door.post(f"{API}/approvals/{approval['approval_id']}/decision", body)
        assert decided.status == 200
        assert (decided.json["decision"], decided.json["decided_by"], decided.json["channel"]) == (
            *("approved", "ann"),
            "cli",
        )
        task = (await w.poll())["tasks"][0]
        assert task["arguments"] == {"n": 0}
        assert (await w.door.get(f"{API}/approvals")).json["approvals"] == []
        assert len((await w.door.get(f"{API}/approvals?pending=false")).json["approvals"]) == 1


@in_loop
async def test_a_decision_is_made_once():
    """A second decision that differs is refused."""
    async with world() as w:
        execution_id, approval = await _asked(w)
        target = f"{API}/approvals/{approval['approval_id']}/decision"
        rejected = await w.door.post(target, {"decision": "rejected", "reason": "no"})
        assert (rejected.json["decision"], rejected.json["decided_by"]) == ("rejected", "local")
        again = await w.door.post(target, {"decision": "approved"})
        assert (again.status, again.code) == (409, "E0408")
        assert (await w.ended(execution_id))["status"] == "completed"


@in_loop
async def test_edited_arguments_are_what_runs():
    """Approved with other arguments, the worker is given those."""
    async with world() as w:
        _, approval = await _asked(w)
        target = f"{API}/approvals/{approval['approval_id']}/decision"
        reply = await w.door.post(target, {"decision": "approved", "arguments": {"n": 41}})
        assert reply.json["decided_arguments"] == {"n": 41}
        assert (await w.poll())["tasks"][0]["arguments"] == {"n": 41}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"decision": "maybe"}, 400, "E0605"),
        ({}, 400, "E0605"),
        ({"decision": "approved", "effect_hash": "0" * 64}, 409, "E0409"),
        ({"decision": "approved", "arguments": {"n": "text"}}, 400, "E0305"),
        ({"decision": "rejected", "arguments": {"n": 1}}, 400, "E0605"),
        ({"decision": "approved", "channel": ""}, 400, "E0605"),
        ({"decision": "approved", "by": ""}, 400, "E0605"),
        ({"decision": "approved", "yes": True}, 400, "E0605"),
    ],
)
@in_loop
async def test_a_wrong_decision_decides_nothing(body, status, code):
    """What does not fit is refused and the approval stays open."""
    async with world() as w:
        _, approval = await _asked(w)
        reply = await w.door.post(f"{API}/approvals/{approval['approval_id']}/decision", body)
        assert (reply.status, reply.code) == (status, code), reply.body
        assert json.loads(reply.body)["error"]["slug"]
        assert (await w.door.get(f"{API}/approvals/{approval['approval_id']}")).json["decision"] is None


@in_loop
async def test_unknown_approvals():
    """An id that nobody gave is E0407, for looking and for deciding."""
    async with world() as w:
        assert (await w.door.get(f"{API}/approvals/anothing")).code == "E0407"
        reply = await w.door.post(f"{API}/approvals/anothing/decision", {"decision": "approved"})
        assert (reply.status, reply.code) == (404, "E0407")
        assert (await w.door.get(f"{API}/approvals?pending=maybe")).code == "E0605"
