"""/executions/{id}/retry, rerun, fork, replay and diff over the real engine."""

import asyncio

import pytest

from tests.server.harness import API, definition, in_loop, with_tool, world


async def _worked(w, **changes):
    """An execution that has called its tool and has ended."""
    execution_id = await w.start(definition=with_tool(**changes))
    task = (await w.poll())["tasks"][0]
    result = {k: task[k] for k in ("execution_id", "step", "epoch", "token")} | {"result": {"is": "here"}}
    await w.poll(results=[result], want=0, wait_ms=0)
    assert (await w.ended(execution_id))["status"] == "completed"
    return execution_id


async def _make(w, execution_id, kind, **body):
    reply = await w.door.post(f"{API}/executions/{execution_id}/{kind}", body)
    assert reply.status == 200, reply.body
    return reply.json


async def _started(w, execution_id):
    events = (await w.door.get(f"{API}/executions/{execution_id}/events")).json["events"]
    return events[0]["event"]


@in_loop
async def test_a_fork_keeps_what_was_recorded_and_says_where_it_is_from():
    """The tool's result is in the copy; the answer is given anew; the link stands in the first event."""
    async with world() as w:
        old = await _worked(w)
        made = await _make(w, old, "fork", at="t2.m", by="ann")
        assert (made["origin"], made["kind"], made["created"]) == (old, "fork", True)
        assert made["worker_tools"] == ["helper.look"]
        new = await w.ended(made["execution_id"])
        assert (new["status"], new["output"], new["started_by"]) == ("completed", "looked", "ann")
        started = await _started(w, made["execution_id"])
        assert started["origin"]["execution_id"] == old
        assert started["origin"]["copied"] >= 5


@in_loop
async def test_an_edit_of_model_instructions_and_limit_is_another_plan():
    """The new execution is pinned to the changed plan, and the old one to its own."""
    async with world() as w:
        old = await _worked(w)
        edit = {"model": "mock/echo", "instructions": "Be kind.", "max_turns": 7}
        made = await _make(w, old, "fork", at="t2.m", edit=edit)
        assert made["plan_hash"] != (await w.door.get(f"{API}/executions/{old}")).json["plan_hash"]
        await w.ended(made["execution_id"])
        plan = await w.deps.catalog.get_plan(made["plan_hash"])
        assert (str(plan.model), plan.instructions, plan.max_turns) == ("mock/echo", "Be kind.", 7)
        assert (await _started(w, made["execution_id"]))["origin"]["edited"] == [
            "instructions",
            "model",
            "max_turns",
        ]


@in_loop
async def test_a_rerun_takes_the_plan_of_then_or_of_now():
    """`current` is what is deployed under the name; without a deployed one it is refused."""
    async with world() as w:
        old = await _worked(w)
        assert (await w.door.post(f"{API}/executions/{old}/rerun", {"plan": "current"})).code == "E0412"
        now = definition(model_settings={"script": [{"text": "now"}]})
        await w.door.post(f"{API}/agents", {"definition": now})
        made = await _make(w, old, "rerun", plan="current", prompt="And now?", context={"a": 1})
        new = await w.ended(made["execution_id"])
        assert (new["output"], new["title"]) == ("now", "And now?")
        assert (await _started(w, made["execution_id"]))["context"] == {"a": 1}


@in_loop
async def test_a_replay_needs_no_worker_and_a_diff_lays_both_side_by_side():
    """Recorded results answer the calls; the report has each step of both, and what parts them."""
    async with world() as w:
        old = await _worked(w)
        same = await _make(w, old, "replay")
        assert (await w.ended(same["execution_id"]))["output"] == "looked"
        found = (await w.door.get(f"{API}/executions/{old}/diff?other={same['execution_id']}")).json
        assert (found["first"], found["same_output"], found["not_recorded"]) == (None, True, [])
        assert [r["step"] for r in found["rows"]] == ["t1.m", "t1.c0", "t2.m"]
        assert found["right"]["origin"]["kind"] == "replay"
        other = with_tool(calls=2)
        made = await _make(w, old, "replay", definition=other)
        await w.ended(made["execution_id"])
        found = (await w.door.get(f"{API}/executions/{old}/diff?other={made['execution_id']}")).json
        assert (found["first"], found["same_output"], found["not_recorded"]) == ("t1.m", True, ["t1.c1"])
        assert [r["step"] for r in found["rows"]] == ["t1.m", "t1.c0", "t1.c1", "t2.m"]


@in_loop
async def test_a_failed_execution_is_retried():
    """The model's step is tried again, with all its attempts."""
    async with world() as w:
        fails = {"fail": {"code": "E0210", "times": 1}, "text": "there"}
        old = await w.start(definition=definition(model_settings={"script": [fails]}))
        assert (await w.ended(old))["status"] == "failed"
        made = await _make(w, old, "retry")
        assert (await w.ended(made["execution_id"]))["status"] in ("failed", "completed")
        assert (await w.ended(old))["status"] == "failed"


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("retry", {}, 409, "E0433"),
        ("fork", {"at": "t9.m"}, 400, "E0432"),
        ("fork", {"at": 1.5}, 400, "E0605"),
        ("fork", {"edit": {"colour": "red"}}, 400, "E0605"),
        ("fork", {"edit": {"max_turns": 0}}, 400, "E0605"),
        ("fork", {"edit": {"model": "nothing"}}, 400, "E0107"),
        ("replay", {"model": "openai/gpt-5"}, 400, "E0202"),
        ("replay", {"on_missing": "guess"}, 400, "E0605"),
        ("rerun", {"prompt": ""}, 400, "E0605"),
        ("rerun", {"idempotency_key": ""}, 400, "E0605"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_begins(kind, body, status, code):
    """Each with its code, before anything is written."""

    @in_loop
    async def check():
        async with world() as w:
            old = await w.start()
            await w.ended(old)
            reply = await w.door.post(f"{API}/executions/{old}/{kind}", body)
            assert (reply.status, reply.code) == (status, code)
            assert len((await w.door.get(f"{API}/executions")).json["executions"]) == 1

    check()


@in_loop
async def test_unknown_executions_are_not_found():
    """E0401 of either side; a diff without the other side is refused."""
    async with world() as w:
        old = await w.start()
        for kind in ("retry", "rerun", "fork", "replay"):
            assert (await w.door.post(f"{API}/executions/x0/{kind}", {})).code == "E0401"
        assert (await w.door.get(f"{API}/executions/{old}/diff?other=x0")).code == "E0401"
        assert (await w.door.get(f"{API}/executions/{old}/diff")).code == "E0605"


@in_loop
async def test_a_request_that_is_sent_twice_makes_one_execution():
    """The idempotency key names it."""
    async with world() as w:
        old = await _worked(w)
        made = await asyncio.gather(*(_make(w, old, "fork", at=1, idempotency_key="k") for _ in range(3)))
        assert len({m["execution_id"] for m in made}) == 1
        assert sorted(m["created"] for m in made) == [False, False, True]
