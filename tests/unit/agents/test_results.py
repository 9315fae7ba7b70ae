"""Results, statuses and events as users see them."""

import dataclasses
import io
import typing

import pytest

from perdure.agents import (
    AgentEvent,
    AgentResult,
    AgentStatus,
    EventType,
    FinishReason,
    Status,
    TokenUsage,
    ToolContext,
    Wait,
)
from perdure.core.errors import ExecutionError
from perdure.engine.ports import TERMINAL_STATUSES
from perdure.engine.ports import Status as StatusWord


def test_status_words_are_the_journals():
    """The same words everywhere."""
    assert {s.value for s in Status} == set(typing.get_args(StatusWord))
    assert {s for s in Status if s.is_complete} == TERMINAL_STATUSES
    assert {s for s in Status if s.is_waiting} == {
        s for s in typing.get_args(StatusWord) if s.startswith("waiting")
    }


@pytest.mark.parametrize(
    ("status", "complete", "running", "waiting"),
    [
        (Status.RUNNING, False, True, False),
        (Status.WAITING_APPROVAL, False, False, True),
        (Status.PAUSED, False, False, False),
        (Status.FAILED, True, False, False),
    ],
)
def test_agent_status(status, complete, running, waiting):
    """Complete, running and waiting exclude each other."""
    now = AgentStatus("x1", status)
    assert (now.is_complete, now.is_running, now.is_waiting) == (complete, running, waiting)
    assert now.pending_tool is None


def test_the_pending_tool_is_the_first_approval():
    """Waits for other things are passed over."""
    waits = (
        Wait("worker", "t1.0", tool="find"),
        Wait("approval", "t1.1", tool="refund", approval_id="a1", arguments={"n": 1}, effect_hash="h"),
        Wait("approval", "t1.2", tool="refund", approval_id="a2"),
    )
    assert AgentStatus("x1", Status.WAITING_APPROVAL, waits).pending_tool == {
        "name": "refund",
        "args": {"n": 1},
        "approval_id": "a1",
        "effect_hash": "h",
        "step": "t1.1",
        "asks": "call",
        "answer_schema": None,
        "agent": None,
        "execution_id": "x1",
    }


@pytest.mark.parametrize(
    ("below", "waiting"),
    [
        ((), False),
        ((None,), False),
        (("running",), False),
        (("waiting:approval",), True),
        (("waiting:child", "waiting:worker"), True),
        (("waiting:approval", "running"), False),
        (("paused",), True),
        (("completed",), False),
    ],
)
def test_a_team_waits_when_all_below_it_wait(below, waiting):
    """What a child does is what its parent does: it waits for a person, or is at work."""
    waits = tuple(Wait("child", f"c{n}", child_id=f"x{n}", child_status=s) for n, s in enumerate(below))
    now = AgentStatus("x1", Status.WAITING_CHILD, waits)
    assert (now.is_waiting, now.is_running, now.is_complete) == (waiting, not waiting, False)


def test_results():
    """A result says in one word how it ended."""
    good = AgentResult("hi", "x1", usage=TokenUsage(1, 2, 3))
    failed = AgentResult(None, "x1", Status.FAILED, FinishReason.MAX_TURNS)
    rejected = AgentResult(None, "x1", Status.COMPLETED, "rejected")
    assert (good.is_success, good.is_failed, good.is_rejected) == (True, False, False)
    assert (failed.is_success, failed.is_failed, failed.is_rejected) == (False, True, False)
    assert (rejected.is_success, rejected.is_failed, rejected.is_rejected) == (False, False, True)
    assert good.token_usage is good.usage
    with pytest.raises(dataclasses.FrozenInstanceError):
        good.output = "other"


def test_print_result(capsys):
    """The answer or the error comes first, then one line of facts."""
    calls = [{"name": "a", "args": {}, "result": 1}]
    AgentResult("hi", "x1", finish_reason=FinishReason.STOP, tool_calls=calls).print_result()
    assert capsys.readouterr().out == "hi\n\ncompleted (stop) · 1 tool call · 0 tokens · execution x1\n"
    out = io.StringIO()
    AgentResult(None, "x1", Status.CANCELLED, usage=TokenUsage(cost_usd=0.0)).print_result(out)
    assert out.getvalue() == "(no output)\n\ncancelled · 0 tool calls · 0 tokens · execution x1\n"
    out = io.StringIO()
    AgentResult(None, "x1", Status.FAILED, error=ExecutionError("E0403", "No turns left")).print_result(out)
    assert out.getvalue().startswith("[E0403] No turns left\n")
    out = io.StringIO()
    AgentResult("hi", "x1", usage=TokenUsage(1, 2, 3, cost_usd=0.000_012)).print_result(out)
    assert out.getvalue() == "hi\n\ncompleted · 0 tool calls · 3 tokens · $0.000012 · execution x1\n"


def test_events():
    """Event types compare with texts; a type of a newer server stays a text."""
    assert AgentEvent(EventType.TOOL_CALL, "x1").type == "tool_call"
    assert AgentEvent("new_kind").type == "new_kind"


def test_tool_context():
    """Cancellation is seen through the property; each context has a state of its own."""
    one, other = ToolContext(), ToolContext()
    one.state["a"] = 1
    assert other.state == {}
    assert not one.is_cancelled
    one.cancelled.set()
    assert one.is_cancelled
    assert one.logger.name == "perdure.tool"
