"""Child executions through the engine: every strategy, nesting, failure, control, restarts at every commit."""

import asyncio
from typing import Any

import msgspec
import pytest

from perdure.core import conditions as cond
from perdure.core import events as ev
from perdure.core.definition import OutputDefinition
from perdure.core.model import ModelRef
from perdure.core.plan import Member, Plan
from perdure.engine.ports import ExecutionFilter, StartRequest
from tests.contract.engine.engine_harness import Gate, Harness, call, decision, reply, soon
from tests.contract.engine.team_plans import Book, Cast, call_of, solo
from tests.unit.core.invariants import check_journal
from tests.unit.core.plans import NOTE, team, tool

REFUND = tool("refund", {}, approval_required=True)


async def opened(h: Harness, **lines: Any) -> Cast:
    """Open the engine on a cast of agents."""
    h.model = Cast(**lines)
    await h.open()
    return h.model


async def started(h: Harness, request: StartRequest) -> str:
    """Start it."""
    return (await h.executions.start(request)).execution_id


async def family(h: Harness) -> list[str]:
    """The ids of all executions, oldest first."""
    return sorted(row.execution_id for row in await h.executions.find(ExecutionFilter(limit=500)))


async def in_order(h: Harness) -> None:
    """All have ended, every journal holds the invariants, every child was begun once, and usage adds up."""
    for execution_id in await family(h):
        records = await h.records(execution_id)
        check_journal(records)
        assert isinstance(records[-1].event, ev.TERMINAL), (
            execution_id,
            [ev.kind_of(r.event) for r in records],
        )
        asked = [r.event.child_id for r in records if isinstance(r.event, ev.ChildRequested)]
        begun = await h.executions.find(ExecutionFilter(parent_id=execution_id, limit=500))
        assert {row.execution_id for row in begun} <= set(asked)
        ends = [r.event for r in records if isinstance(r.event, ev.ChildCompleted | ev.ChildFailed)]
        own = [r.event for r in records if isinstance(r.event, ev.ModelCompleted)]
        tokens = sum(e.usage.total_tokens for e in (*ends, *own))
        assert (await h.executions.get(execution_id)).usage.total_tokens == tokens


def pair(strategy: Any, book: Book, **changed: Any) -> Plan:
    """A team of two."""
    return team(strategy, book.agent("ann"), book.agent("bob"), **changed)


async def test_a_pipeline_passes_on_what_each_stage_makes(h: Harness):
    """The second stage sees the request and the first one's answer; the last answer is the team's."""
    cast, book = await opened(h), Book()
    execution_id = await started(h, book.request(pair("sequential", book), "A poem"))
    assert (await h.ended(execution_id)).output == "bob 1"
    (asked,) = cast.of("bob")
    assert "A poem" in asked.messages[0].text
    assert "ann 1" in asked.messages[0].text
    await in_order(h)


@pytest.mark.parametrize("closed", [False, True])
async def test_gates_by_text_and_by_function(h: Harness, *, closed: bool):
    """A text gate is decided at once, a function's by a worker of the stage's agent."""
    _, book = await opened(h, bob="STOP" if closed else "go"), Book()
    function = msgspec.structs.replace(book.agent("ann"), gate=cond.FunctionGate())
    text = msgspec.structs.replace(book.agent("bob"), gate=cond.TextGate("STOP"))
    made = team("sequential", function, text, book.agent("cy"))
    execution_id = await started(h, book.request(made))
    task = await h.take("ann.@gate")
    assert (task.agent, task.tool, task.arguments) == ("ann", "@gate", {"output": "ann 1"})
    await h.hand_in(task, {"open": True})
    view = await h.ended(execution_id)
    assert (view.output, view.finish_reason) == (("STOP", "gate") if closed else ("cy 1", "stop"))
    await in_order(h)


async def test_all_at_once_and_summed_up(h: Harness):
    """The agents of a parallel team run at the same time; the team's model sees what each said."""
    gates = {name: Gate(reply(f"{name} said")) for name in ("ann", "bob")}
    cast, book = await opened(h, **gates, team="Summed."), Book()
    made = pair("parallel", book, sums_up=True, model=ModelRef("mock", "team"))
    execution_id = await started(h, book.request(made))
    for gate in gates.values():
        await gate.reached.wait()
    for gate in gates.values():
        gate.opened.set()
    assert (await h.ended(execution_id)).output == "Summed."
    (asked,) = cast.of("team")
    assert "[ann]: ann said" in asked.messages[-1].text
    assert "[bob]: bob said" in asked.messages[-1].text
    await in_order(h)


@pytest.mark.parametrize(
    ("policy", "status", "others"),
    [("fail", "failed", "cancelled"), ("wait", "failed", "completed"), ("skip", "completed", "completed")],
)
async def test_what_happens_when_one_of_them_fails(h: Harness, policy: Any, status: str, others: str):
    """`fail` stops the others at once, `wait` lets them end, `skip` does without the one that failed."""
    gate = Gate(reply("late"))
    _, book = await opened(h, ann=gate, bob=reply("no", finish="error")), Book()
    execution_id = await started(h, book.request(pair("parallel", book, on_child_failure=policy)))
    await gate.reached.wait()
    await soon_recorded(h, execution_id, ev.ChildFailed)
    gate.opened.set()
    view = await h.ended(execution_id)
    assert view.status == status
    if status == "failed":
        assert view.error is not None
        assert view.error["code"] == "E0418"
    (row,) = await h.executions.find(ExecutionFilter(agent="ann"))
    assert (await h.ended(row.execution_id)).status == others
    await in_order(h)


async def soon_recorded(h: Harness, execution_id: str, kind: type[Any], count: int = 1) -> list[Any]:
    """Its events of a kind, once there are so many."""
    for _ in range(1_000):
        found = await h.found(execution_id, kind)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {kind.__name__}")


async def test_speakers_in_turn_see_what_was_said(h: Harness):
    """Each is shown the conversation, its own words as its own; a condition of data ends it."""
    cast, book = await opened(h), Book()
    made = pair("round_robin", book, termination=cond.MaxMessages(3))
    execution_id = await started(h, book.request(made, "Talk."))
    view = await h.ended(execution_id)
    assert (view.output, view.finish_reason) == ("ann 2", "termination")
    seen = [(m.role, m.text) for m in cast.of("ann")[1].messages]
    assert seen == [("user", "Talk."), ("assistant", "ann 1"), ("user", "[bob]: bob 1")]
    await in_order(h)


async def test_a_stop_condition_that_is_a_function(h: Harness):
    """It is asked on a worker after each turn; what it is not clear about ends the team (E8)."""
    _, book = await opened(h), Book()
    execution_id = await started(h, book.request(pair("random", book, stop_when=True)))
    await h.hand_in(await h.take("team.@stop_when"), {"stop": False})
    await h.hand_in(await h.take("team.@stop_when"), "perhaps")
    view = await h.ended(execution_id)
    assert view.error is not None
    assert (view.status, view.error["code"]) == ("failed", "E0417")
    await in_order(h)


async def test_a_person_picks(h: Harness):
    """The pick is an approval with an answer; it waits out of memory and over a restart."""
    _, book = await opened(h), Book()
    execution_id = await started(h, book.request(pair("manual", book)))
    await h.until(execution_id, "waiting:approval")
    await soon(lambda: not h.gauge("executions_resident"))
    await h.restart()
    for answer in ({"agent": "bob"}, {"agent": "DONE"}):
        await h.until(execution_id, "waiting:approval")
        (row,) = await h.executions.approvals(execution_id, pending=True)
        assert row.kind == "pick"
        await h.executions.decide(row.approval_id, decision("approved", answer=answer))
    assert (await h.ended(execution_id)).output == "bob 1"
    await in_order(h)


async def test_a_router_agent_and_a_router_function(h: Harness):
    """The router's answer says who goes on; a function's comes from a worker."""
    _, book = await opened(h, guide='{"agent": "bob"}'), Book()
    schema = {"type": "object", "properties": {"agent": {"type": "string"}}, "required": ["agent"]}
    guide = book.agent("guide", output=OutputDefinition("Route", schema))
    by_agent = await started(h, book.request(pair("router", book, router=guide)))
    assert (await h.ended(by_agent)).output == "bob 1"
    by_function = await started(h, book.request(pair("router", book, router_function=True)))
    await h.hand_in(await h.take("team.@router"), {"agent": "ann", "final": True})
    assert (await h.ended(by_function)).output == "ann 1"
    await in_order(h)


async def test_an_agent_as_a_tool_and_a_handoff_with_its_conversation(h: Harness):
    """The tool's child sees its request alone; the handoff's child sees the conversation, and then the note."""
    book = Book()
    transfer = tool("transfer_to_bob", NOTE, kind="transfer", agent=book.agent("bob"))
    root = solo("root", call_of(book.agent("ann")), transfer)
    cast = await opened(
        h,
        root=[
            reply("Let me ask.", call("ask_ann", request="What is 2?")),
            reply("And now.", call("transfer_to_bob", note="wants a sofa")),
            "Bye.",
        ],
    )
    execution_id = await started(h, book.request(root, "Hello"))
    assert (await h.ended(execution_id)).output == "Bye."
    assert [m.text for m in cast.of("ann")[0].messages] == ["What is 2?"]
    seen = [m.text for m in cast.of("bob")[0].messages]
    assert seen[0] == "Hello"
    assert seen[-1] == "wants a sofa"
    assert any("ann 1" in text for text in seen)
    await in_order(h)


async def test_an_agent_by_name(h: Harness):
    """It is what is deployed when it begins; a name that nobody has is a failed child (E0412)."""
    _, book = await opened(h, root=[reply(call("ask_ann")), "Bye."]), Book()
    root = solo("root", call_of(Member("ann")))
    execution_id = await started(h, book.request(root))
    await h.ended(execution_id)
    (failed,) = await h.found(execution_id, ev.ChildFailed)
    assert failed.error.code == "E0412"
    member = book.agent("ann")
    await h.journal.put_plan(member.plan_hash, book.plans[member.plan_hash or ""], 0)
    await h.journal.deploy("ann", member.plan_hash, 0)
    h.model.requests.clear()
    again = await started(h, book.request(root))
    await h.ended(again)
    assert [e.output for e in await h.found(again, ev.ChildCompleted)] == ["ann 1"]
    await in_order(h)


def nested(book: Book, depth: int) -> Plan:
    """Pipelines of one in each other, *depth* deep, with an agent at the bottom."""
    inner = book.agent("ann")
    for level in range(depth):
        made = team("sequential", inner, agent=f"level{level}")
        inner = book.keep(made)
    return made


@pytest.mark.parametrize("depth", [3, 10])
async def test_teams_in_teams(h: Harness, depth: int):
    """The answer comes up from the bottom, and each knows its parent."""
    _, book = await opened(h), Book()
    execution_id = await started(h, book.request(nested(book, depth)))
    assert (await h.ended(execution_id)).output == "ann 1"
    assert len(await family(h)) == depth + 1
    roots = await h.executions.find(ExecutionFilter(roots=True))
    assert [r.execution_id for r in roots] == [execution_id]
    await in_order(h)


async def test_a_cancel_of_the_root_cancels_all_below(h: Harness):
    """E9: three levels down the model call is aborted."""
    gate = Gate(reply("never"))
    _, book = await opened(h, ann=gate), Book()
    execution_id = await started(h, book.request(nested(book, 3)))
    await gate.reached.wait()
    await h.executions.cancel(execution_id, "ann", "enough")
    for one in await family(h):
        assert (await h.ended(one)).status == "cancelled"
    await soon(lambda: gate.cancelled)
    await in_order(h)


async def test_a_cancel_while_children_are_being_begun(h: Harness):
    """E9: whatever was under way, nothing is left running."""
    _, book = await opened(h), Book()
    members = [book.agent(f"a{n}") for n in range(20)]
    for _ in range(5):
        execution_id = await started(h, book.request(team("parallel", *members)))
        await h.executions.cancel(execution_id, "ann", "")
    for one in await family(h):
        await h.ended(one)
    await in_order(h)


async def test_a_waiting_team_is_let_go_of_and_woken_by_its_childs_approval(h: Harness):
    """Nothing of it is in memory while a person thinks; the tree's approvals are found from the root."""
    _, book = await opened(h, ann=[reply(call("refund")), "Refunded."]), Book()
    execution_id = await started(h, book.request(team("sequential", book.agent("ann", REFUND))))
    await h.until(execution_id, "waiting:child")
    await soon(lambda: not h.gauge("executions_resident"), "it stays in memory")
    (row,) = await h.executions.approvals(execution_id, pending=True, tree=True)
    await h.executions.decide(row.approval_id, decision("approved"))
    await h.hand_in(await h.take("ann.refund"))
    assert (await h.ended(execution_id)).output == "Refunded."
    await in_order(h)


async def test_a_paused_team_begins_nothing_until_it_is_resumed(h: Harness):
    """The child that was under way may end; the next one begins after the resume, over a restart too."""
    gate = Gate(reply("first"))
    _, book = await opened(h, ann=gate), Book()
    execution_id = await started(h, book.request(pair("sequential", book)))
    await gate.reached.wait()
    await h.executions.pause(execution_id, "ann", "")
    gate.opened.set()
    await asyncio.sleep(0.1)
    await h.restart()
    await asyncio.sleep(0.1)
    assert h.model.of("bob") == []
    await h.executions.resume(execution_id, "ann")
    assert (await h.ended(execution_id)).output == "bob 1"
    await in_order(h)


async def test_a_restart_at_every_commit_of_a_team(h: Harness):
    """E4: whatever is recorded is not done again, and the team ends the same as without restarts."""
    cast, book = await opened(h), Book()
    inner = book.keep(pair("parallel", book, agent="inner"))
    made = team("sequential", book.agent("cy"), inner, book.agent("dee"))
    execution_id = await started(h, book.request(made))
    for _ in range(60):
        await h.restart()
        await asyncio.sleep(0.004)
        if (await h.executions.get(execution_id)).status == "completed":
            break
    view = await h.ended(execution_id)
    assert view.status == "completed"
    assert str(view.output).startswith("dee")
    assert len(await family(h)) == 6
    answered = [r for one in await family(h) for r in await h.found(one, ev.ModelCompleted)]
    assert len(answered) == 4
    assert len(cast.requests) < 60
    await in_order(h)


async def test_a_long_conversation_stays_linear(h: Harness):
    """A child holds a reference to the conversation and not a copy: the bytes of a turn do not grow."""
    _, book = await opened(h, ann="x" * 400, bob="y" * 400), Book()
    made = pair("round_robin", book, max_turns=60)
    execution_id = await started(h, book.request(made))
    await h.ended(execution_id, 50)
    children = sorted(
        await h.executions.find(ExecutionFilter(parent_id=execution_id, limit=500)),
        key=lambda r: r.execution_id,
    )
    assert len(children) == 60
    sizes = [sum(len(ev.encode(r.event)) for r in await h.records(c.execution_id)) for c in children]
    assert max(sizes[10:]) - min(sizes[10:]) < 50
