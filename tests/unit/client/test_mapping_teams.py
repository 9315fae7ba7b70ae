"""What the events of teams, guardrails and callbacks mean to a user."""

from typing import Any

import pytest

from perdure.agents.results import AgentEvent, EventType
from perdure.client.history import result_of, tool_calls_of
from perdure.client.mapping import LEFT_OUT, EventMapper, is_told
from perdure.core import events as ev
from perdure.core.messages import Message, TextPart, ToolCallPart, user
from perdure.core.model import Usage
from perdure.wire.types import DeltaRecord
from tests.unit.client.test_mapping import INFO, answer, record

USAGE = Usage(3, 4)


def told(*events: ev.Event) -> list[AgentEvent]:
    """What a mapper makes of these events, from seq 1."""
    mapper = EventMapper()
    return [e for seq, event in enumerate(events, 1) for e in mapper.take(record(seq, event))]


def child(step: str, agent: str, role: Any = "member", **fields: Any) -> ev.ChildRequested:
    """A child is asked for."""
    return ev.ChildRequested(step, f"x-{step}", agent, user("go"), role=role, **fields)


def test_every_kind_of_event_is_told_or_left_out_on_purpose():
    """No kind is forgotten, and none is in both lists."""
    kinds = set(ev.AnyEvent.__args__)
    assert {k for k in kinds if is_told(k)} | LEFT_OUT == kinds
    assert not {k for k in LEFT_OUT if is_told(k)}


def test_who_goes_on_is_a_handoff():
    """One event for each child that goes on, with who chose it and why; a router's own execution is none."""
    found = told(
        ev.ExecutionStarted("team", "h", user("go"), "k", strategy="router"),
        child("c1.r", "chooser", "router"),
        ev.ChildCompleted("c1.r", "writer"),
        ev.AgentChosen("writer", "router"),
        child("c1", "writer"),
        ev.ChildCompleted("c1", "a draft", usage=USAGE),
        ev.AgentChosen("payer", "person", "ada"),
        child("c2", "payer"),
        ev.ChildFailed("c2", INFO),
        ev.AgentChosen("team", "synthesis"),
    )
    handoffs = [(e.target, e.by, e.content, e.child_id) for e in found if e.type == EventType.HANDOFF]
    assert handoffs == [
        ("writer", "router", "", "x-c1"),
        ("payer", "person", "ada", "x-c2"),
        ("team", "synthesis", "", None),
    ]
    assert [(e.type, e.seq, e.target) for e in found if e.type == EventType.ERROR] == [("error", 9, "payer")]
    assert {e.agent for e in found} == {"team"}


def test_an_agent_that_is_called_like_a_tool_is_told_like_one():
    """Its call, with the arguments of the model, and its result or its error."""
    calls = (ToolCallPart("k0", "ask_expert", {"request": "why?"}), ToolCallPart("k1", "ask_other", {}))
    found = told(
        ev.ModelCompleted("t1.m", 1, Message("assistant", calls), USAGE, "tool_calls"),
        child("t1.c0", "expert", "tool", call_id="k0", tool="ask_expert"),
        child("t1.c1", "other", "tool", call_id="k1", tool="ask_other"),
        ev.ChildCompleted("t1.c0", "because"),
        ev.ChildFailed("t1.c1", INFO),
    )
    assert [(e.type, e.tool_name, e.target, e.child_id) for e in found] == [
        ("tool_call", "ask_expert", "expert", "x-t1.c0"),
        ("tool_call", "ask_other", "other", "x-t1.c1"),
        ("tool_result", "ask_expert", "expert", "x-t1.c0"),
        ("tool_result", "ask_other", "other", "x-t1.c1"),
    ]
    first, second = tool_calls_of(found)
    assert (first["args"], first["result"]) == ({"request": "why?"}, "because")
    assert second["error"]["code"] == "E0301"


def test_guardrails_say_what_they_think():
    """A verdict is an event of its own; what a judging model says is neither a message nor a token."""
    mapper = EventMapper()
    asked = record(1, ev.JudgeRequested("t1.out.s0", "polite", "text"))
    said = Message("assistant", (TextPart('{"passed": false}'),))
    records: list[Any] = [
        asked,
        DeltaRecord("x1", "t1.out.s0", 1, "text", 0, '{"pas'),
        record(2, ev.ModelFailed("t1.out.s0", 1, INFO, 5)),
        record(3, ev.ModelCompleted("t1.out.s0", 2, said, USAGE, "stop")),
        record(4, ev.GuardDecided("t1.out", "polite", passed=False, action="retry", message="rude")),
        record(5, ev.AnswerRefused("t1.out", "guardrail polite", "Answer again.")),
        record(6, ev.AnswerRefused("t1.c0.i", "guardrail polite", "")),
        record(7, ev.GuardDecided("t2.out", "polite", passed=True)),
    ]
    found = [e for r in records for e in mapper.take(r)]
    assert [(e.type, e.guardrail_name, e.content) for e in found] == [
        ("retry", "polite", "it broke"),
        ("guardrail_fail", "polite", "rude"),
        ("retry", None, "Answer again."),
        ("guardrail_pass", "polite", ""),
    ]


def test_functions_that_decide_are_no_tool_calls():
    """What they decide is told, their failures are, and the list of tool calls does not have them."""
    found = told(
        ev.FunctionRequested("c1.gate", "@gate", "writer", {}, "ik"),
        ev.ToolStarted("c1.gate", 1, "w"),
        ev.ToolFailed("c1.gate", 1, INFO, 5),
        ev.ToolCompleted("c1.gate", 2, {"open": False}),
        ev.GateDecided("writer", open=False, reason="no"),
        ev.FunctionRequested("t1.stop", "@stop_when", "writer", {}, "ik"),
        ev.ToolFailed("t1.stop", 1, INFO),
        ev.StopDecided(1, stop=False),
        ev.StopDecided(2, stop=True),
    )
    assert [(e.type, e.content) for e in found] == [
        ("retry", "it broke"),
        ("state", "the gate of writer is closed: no"),
        ("error", "it broke"),
        ("state", "the stop condition is met"),
    ]
    assert tool_calls_of(found) == []


def test_questions_say_what_they_ask_and_what_was_answered():
    """A question is a call whose result is the answer; a pick is no call."""
    schema = {"type": "object"}
    found = told(
        ev.ApprovalRequested(
            "t1.c0", "k0", "ask", {"question": "?"}, "a0", "h", asks="question", answer_schema=schema
        ),
        ev.ApprovalDecided("t1.c0", "a0", "approved", "ada", "sdk", "h", answer={"answer": "42"}),
        ev.ApprovalRequested("p1", "", "pick_agent", {}, "a1", "h", asks="pick", answer_schema=schema),
        ev.ApprovalDecided("p1", "a1", "approved", "ada", "sdk", "h", answer={"agent": "b"}),
    )
    assert [(e.type, e.asks, e.answer_schema, e.answer, e.result) for e in found] == [
        ("waiting", "question", schema, None, None),
        ("approval", "question", schema, {"answer": "42"}, None),
        ("tool_result", "question", schema, None, {"answer": "42"}),
        ("waiting", "pick", schema, None, None),
        ("approval", "pick", schema, {"agent": "b"}, None),
    ]
    (only,) = tool_calls_of(found)
    assert (only["name"], only["result"]) == ("ask", {"answer": "42"})


def test_executions_do_not_mix():
    """Two executions through one mapper have their own steps and agents."""
    mapper = EventMapper()
    mine = record(1, ev.ExecutionStarted("a", "h", user("go"), "k"))
    other = type(mine)("x2", 1, 5, mine.event | {"agent": "b"})
    call = record(2, ev.ToolRequested("t1.c0", "k0", "pay", {}, "ik"))
    result = record(3, ev.ToolCompleted("t1.c0", 1, 1))
    theirs = type(mine)("x2", 3, 5, result.event)
    found = [e for r in (mine, other, call, result, theirs) for e in mapper.take(r)]
    assert [(e.execution_id, e.agent, e.tool_name) for e in found] == [
        ("x1", "a", None), ("x2", "b", None), ("x1", "a", "pay"), ("x1", "a", "pay"), ("x2", "b", None),
    ]  # fmt: skip


@pytest.mark.parametrize("role", ["member", "handoff"])
def test_a_result_has_what_the_agents_said(role: Any):
    """Messages name who said them, in their place; the last output of each agent is in the sub-results."""
    history = [
        ev.ExecutionStarted("team", "h", user("go"), "k", strategy="round_robin"),
        child("c1", "writer", role),
        ev.ChildCompleted("c1", "first"),
        child("c2", "critic", role),
        ev.ChildCompleted("c2", {"verdict": "no"}),
        child("c3", "writer", role),
        ev.ChildCompleted("c3", "second"),
        child("c4", "chooser", "router"),
        ev.ChildCompleted("c4", "DONE"),
        ev.ExecutionCompleted("second", "termination", "enough"),
    ]
    records = [record(seq, event) for seq, event in enumerate(history, 1)]
    result = result_of(answer(output="second", finish_reason="termination", reason="enough"), records, None)
    assert result.sub_results == {"writer": "second", "critic": {"verdict": "no"}}
    assert [(m["role"], m.get("agent"), m["parts"][0]["text"]) for m in result.messages] == [
        ("user", None, "go"),
        ("assistant", "writer", "first"),
        ("assistant", "critic", '{"verdict":"no"}'),
        ("assistant", "writer", "second"),
    ]
    assert (result.finish_reason, result.reason) == ("termination", "enough")
