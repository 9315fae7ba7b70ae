"""Plans over the engine's ports: planning, steps at once, references, failures, and a restart after every commit."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import ToolError
from tests.contract.engine.engine_harness import Gate, Harness, decision, refused, reply, result_of, soon
from tests.contract.engine.plan_harness import (
    DyingJournal,
    PartModel,
    Worker,
    agent,
    start,
    team,
    tools,
    worked,
)
from tests.unit.core.invariants import check_journal

BROKEN = ToolError("E0301", "It broke")


def op(name: str, **args: Any) -> dict[str, Any]:
    """An operation."""
    return {"tool": name, "args": args}


def step(name: str, *operations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A step."""
    return {"id": name, "operations": list(operations), **fields}


def ref(name: str) -> dict[str, str]:
    """A reference."""
    return {"$ref": name}


WHOLE = {
    "steps": [
        step("a", op("fetch", n=1)),
        step("b", op("fetch", n=2)),
        step("c", {"tool": "write", "generate": {"instructions": "Join.", "context": [ref("a"), ref("b")]}}),
        step("d", op("think", request="Think."), depends_on=["c"]),
    ],
    "validation": [{"tool": "check", "args": {"x": ref("d")}, "success_condition": "$.ok"}],
    "on_success": [op("tell", what=ref("c"))],
}


async def open_with(h: Harness, **said: Any) -> PartModel:
    """An engine over a model that has these answers."""
    h.model = model = PartModel(**said)
    await h.open()
    return model


async def test_a_planner_and_its_plan(h: Harness):
    """A plan that cannot run goes back once; then everything runs, and the output is the last step's result."""
    bad = {"steps": [step("a", op("nothing"))]}
    model = await open_with(h, planner=[bad, WHOLE], writer=["no", {"text": "joined"}], expert=["thought"])
    worker = Worker(h, fetch=lambda t: t.arguments["n"], check={"ok": True})
    execution_id = await start(h, team(planner_context=("Mind the gap.",)))
    view = await worked(h, execution_id, worker)
    assert (view.status, view.output) == ("completed", "thought")
    assert "Mind the gap." in model.shown_to("planner")[0].messages[0].text
    assert "'nothing', which is no tool" in model.shown_to("planner")[1].messages[0].text
    assert "[1,2]" in model.shown_to("writer")[0].messages[0].text
    assert worker.of("write")[0].arguments == {"text": "joined"}
    assert worker.of("check")[0].arguments == {"x": "thought"}
    assert worker.of("tell")[0].arguments == {"what": "write done"}
    assert [e.role for e in await h.found(execution_id, ev.ChildRequested)] == ["planner", "planner", "tool"]
    assert view.usage.total_tokens == 5 * 15
    check_journal(await h.records(execution_id))


async def test_independent_steps_run_at_the_same_time(h: Harness):
    """Both are on offer at once, each with a key of its own; the third waits for both."""
    await h.open()
    plan = {
        "steps": [
            step("a", op("fetch")),
            step("b", op("tell")),
            step("c", op("check", x=[ref("a"), ref("b")])),
        ]
    }
    execution_id = await start(h, team(plan))
    first = await h.take("team.fetch")
    second = await h.take("team.tell")
    assert first.idempotency_key != second.idempotency_key
    await h.hand_in(second, 2)
    await h.no_task("team.check")
    await h.hand_in(first, 1)
    third = await h.take("team.check")
    assert third.arguments == {"x": [1, 2]}
    await h.hand_in(third, "end")
    assert (await h.ended(execution_id)).output == "end"


async def test_operations_one_after_the_other_and_at_once(h: Harness):
    """A parallel step offers all of them; another one the next when the last is done."""
    await h.open()
    plan = {"steps": [step("a", op("fetch"), op("tell")), step("b", op("check"), op("check"), parallel=True)]}
    execution_id = await start(h, team(plan))
    checks = await h.tasks.poll("w1", ["team.check"], 10, 5_000)
    assert [t.step for t in checks] == ["o2.c0", "o2.c1"]
    await h.no_task("team.tell")
    await h.hand_in(await h.take("team.fetch"))
    await h.hand_in(await h.take("team.tell"))
    await h.hand_in(checks[1], 2)
    await h.hand_in(checks[0], 1)
    assert (await h.ended(execution_id)).output == [1, 2]


async def test_an_approval_inside_a_plan(h: Harness):
    """Steps that need nobody go on beside it; approved with other arguments, the call runs with these."""
    await h.open()
    plan = {"steps": [step("a", op("fetch")), step("b", op("pay", amount=5))]}
    execution_id = await start(h, team(plan))
    await h.hand_in(await h.take("team.fetch"))
    view = await h.until(execution_id, "waiting:approval")
    (row,) = await h.executions.approvals(execution_id, pending=True)
    assert (row.tool, row.arguments, view.waits[0].step) == ("pay", {"amount": 5}, "o2.c0")
    await h.restart()
    await h.executions.decide(row.approval_id, decision("approved", arguments={"amount": 4}))
    task = await h.take("team.pay")
    assert task.arguments == {"amount": 4}
    await h.hand_in(task, "paid")
    assert (await h.ended(execution_id)).output == "paid"


async def test_a_failed_operation_stops_the_rest(h: Harness):
    """A task, an approval, a model call and an agent that are open end with the plan; then on_failure, the fallback."""
    gate = Gate(reply("never"))
    h.model.turns = [gate]
    await h.open()
    writing = {"tool": "write", "generate": {"instructions": "W."}}
    plan = {
        "steps": [
            step("bad", op("fetch")),
            step("task", op("check")),
            step("person", op("pay")),
            step("agent", op("think", request="Think.")),
            step("model", writing),
        ],
        "on_failure": [op("tell", why="failed")],
    }
    execution_id = await start(h, team(plan, fallback=agent("rescue"), fallback_max_turns=2))
    bad, task = await h.take("team.fetch"), await h.take("team.check")
    (row,) = await h.executions.approvals(execution_id, pending=True)
    (child,) = [e.child_id for e in await h.found(execution_id, ev.ChildRequested)]
    await gate.reached.wait()
    await h.until(child, "running")
    await h.tasks.complete(
        [result_of(bad, None, error={"code": "E0301", "what": "It broke"}, retryable=False)]
    )
    assert await h.hand_in(task) == "E0307"
    assert (await refused(h.executions.decide(row.approval_id, decision("approved")))).code == "E0408"
    assert await h.executions.approvals(execution_id, pending=True) == []
    await h.until(child, "cancelled")
    assert gate.cancelled
    h.model.turns = [reply("rescued")]
    told = await h.take("team.tell")
    assert told.arguments == {"why": "failed"}
    await h.hand_in(told)
    view = await h.ended(execution_id)
    assert (view.status, view.output) == ("completed", "rescued")
    assert "The step bad (fetch) failed: It broke" in h.model.requests[-1].messages[0].text
    check_journal(await h.records(execution_id))


async def test_a_child_that_nobody_waits_for_is_cancelled_at_the_next_start(h: Harness):
    """E9: the server dies between the record that the plan failed and the stop of what was open."""
    gate = Gate(reply("never"))
    h.model.turns = [gate]
    h.wrap = DyingJournal
    await h.open()
    plan = {
        "steps": [step("bad", op("fetch")), step("agent", op("think", request="T."))],
        "on_failure": [op("tell")],
    }
    execution_id = await start(h, team(plan))
    await gate.reached.wait()
    (child,) = [e.child_id for e in await h.found(execution_id, ev.ChildRequested)]
    bad = await h.take("team.fetch")
    journal = h.journal
    journal.left = 1
    failing = result_of(bad, None, error={"code": "E0301", "what": "It broke"}, retryable=False)
    handing = asyncio.get_running_loop().create_task(h.tasks.complete([failing]))
    await journal.died.wait()
    handing.cancel()
    await asyncio.gather(handing, return_exceptions=True)
    await h.close()
    journal.left = None
    await h.restart()
    await h.until(child, "cancelled")
    await h.hand_in(await h.take("team.tell"))
    assert (await h.ended(execution_id)).error["code"] == "E0426"


async def test_a_validation_that_does_not_hold_without_a_fallback(h: Harness):
    """The execution fails with the condition and the output; on_success does not run."""
    await open_with(h, planner=[WHOLE], writer=[{"text": "x"}], expert=["thought"])
    worker = Worker(h, fetch=lambda t: t.arguments["n"], check={"ok": False})
    view = await worked(h, await start(h, team()), worker)
    assert view.error["code"] == "E0426"
    assert "$.ok does not hold of" in view.error["why"]
    assert worker.of("tell") == []


async def test_a_planner_without_a_plan_falls_back(h: Harness):
    """After its retries the fallback gets the request and what was wrong."""
    model = await open_with(h, planner=["I cannot plan."], rescue=["by hand"])
    execution_id = await start(h, team(fallback=agent("rescue"), output_retries=1))
    assert (await h.ended(execution_id)).output == "by hand"
    assert len(model.shown_to("planner")) == 2
    assert "no JSON object with the key 'steps'" in model.shown_to("rescue")[0].messages[0].text


async def test_the_fallback_has_as_many_turns_as_it_was_given(h: Harness):
    """fallback_max_turns limits it, whatever its own limit is."""
    from_tools = tools()[3:4]
    h.model.turns = [reply("nothing"), reply("nothing")]
    await h.open()
    definition = team(
        {"steps": [step("a", op("fetch"))]},
        fallback=agent("rescue", tools=from_tools, max_turns=9, required_tools=("tell",)),
        fallback_max_turns=1,
    )
    execution_id = await start(h, definition)
    view = await worked(h, execution_id, Worker(h, fetch=BROKEN))
    assert view.error["code"] == "E0418"
    assert "[E0403]" in view.error["why"]


async def test_a_guardrail_inside_a_plan(h: Harness):
    """A function judges a result on a worker; its own words take the place."""
    await h.open()
    guard = GuardrailDefinition("clean", "function", "output", "fix")
    plan = {"steps": [step("a", op("fetch")), step("b", op("tell", what=ref("a")))]}
    worker = Worker(h, fetch="raw", **{"@guard.clean": {"passed": False, "fixed": "clean"}})
    view = await worked(h, await start(h, team(plan, tools=tools(guard))), worker)
    assert worker.of("tell")[0].arguments == {"what": "clean"}
    assert view.output == "tell done"


async def test_a_team_that_sums_up(h: Harness):
    """Its model is shown what the steps gave, and its words are the output."""
    model = await open_with(h, team=["summed up"])
    execution_id = await start(h, team({"steps": [step("a", op("fetch"))]}, synthesize=True))
    view = await worked(h, execution_id, Worker(h, fetch="news"))
    assert view.output == "summed up"
    assert "[a]: news" in model.requests[0].messages[-1].text


async def test_cancelling_a_plan(h: Harness):
    """E9: its tasks, approvals, agents and model calls end with it."""
    gate = Gate(reply("never"))
    h.model.turns = [gate]
    await h.open()
    plan = {"steps": [step("a", op("fetch")), step("b", op("pay")), step("c", op("think", request="T."))]}
    execution_id = await start(h, team(plan))
    task = await h.take("team.fetch")
    await gate.reached.wait()
    (child,) = [e.child_id for e in await h.found(execution_id, ev.ChildRequested)]
    await h.executions.cancel(execution_id, "ann", "")
    await h.until(child, "cancelled")
    assert await h.hand_in(task) == "E0307"
    assert await h.executions.approvals(execution_id, pending=True) == []


async def test_pausing_a_plan(h: Harness):
    """A result that comes meanwhile is recorded, and what follows is on offer after the resume."""
    await h.open()
    execution_id = await start(
        h, team({"steps": [step("a", op("fetch")), step("b", op("tell", x=ref("a")))]})
    )
    task = await h.take("team.fetch")
    await h.executions.pause(execution_id, "ann", "")
    await h.hand_in(task, 1)
    await h.no_task("team.tell")
    await h.restart()
    await h.no_task("team.tell")
    await h.executions.resume(execution_id, "ann")
    await h.hand_in(await h.take("team.tell"), 2)
    assert (await h.ended(execution_id)).output == 2


@pytest.mark.parametrize("commits", range(1, 27))
async def test_a_restart_after_any_commit_ends_the_same(h: Harness, commits: int):
    """E4: the server dies when the n-th commit is durable, before it acts on it; nothing that is recorded is done again."""
    said = {"planner": [WHOLE], "writer": [{"text": "joined"}], "expert": ["thought"]}
    h.wrap = DyingJournal
    model = await open_with(h, **said)
    journal = h.journal
    execution_id = await start(h, team())
    journal.left = commits
    worker = Worker(h, fetch=lambda t: t.arguments["n"], check={"ok": True})
    working = asyncio.get_running_loop().create_task(worker.run())
    ending = asyncio.get_running_loop().create_task(h.executions.wait(execution_id, 5_000))
    dying = asyncio.get_running_loop().create_task(journal.died.wait())
    await asyncio.wait([ending, dying], return_when=asyncio.FIRST_COMPLETED)
    for work in (working, ending, dying):
        work.cancel()
    await asyncio.gather(working, ending, dying, return_exceptions=True)
    await h.close()
    journal.left = None
    await h.restart()
    view = await worked(h, execution_id, worker)
    assert (view.status, view.output) == ("completed", "thought")
    records = await h.records(execution_id)
    check_journal(records)
    starts = [e.step for e in await h.found(execution_id, ev.ToolRequested)]
    assert sorted(starts) == ["o1.c0", "o2.c0", "o3.c0", "ov.c0", "oy.c0"], "each call is made once"
    keys = {t.step: {u.idempotency_key for u in worker.tasks if u.step == t.step} for t in worker.tasks}
    assert all(len(found) == 1 for found in keys.values()), "E6: a call has one key"
    redone = sum(worker.done.values()) - len(worker.done) + sum(model.answered.values()) - 3
    assert redone <= 2, "only what had no recorded result is done again"
    await soon(lambda: h.gauge("executions_resident") == 0)
