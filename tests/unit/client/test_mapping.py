"""From records to events, status and result."""

from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, field_validator

from perdure.agents.agent import Agent
from perdure.agents.results import EventType, Status
from perdure.client.history import result_of, tool_calls_of
from perdure.client.mapping import EventMapper, status_of
from perdure.core import events as ev
from perdure.core.errors import ExecutionError
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, user
from perdure.core.model import Usage
from perdure.wire.types import DeltaRecord, EventRecord, ExecutionAnswer, WaitInfo

INFO = ev.ErrorInfo("E0301", "it broke", fix="mend it")
USAGE = Usage(10, 5, 2)


def record(seq: int, event: ev.Event) -> EventRecord:
    """An event as it comes over the wire."""
    return EventRecord("x1", seq, 1000 + seq, msgspec.json.decode(ev.encode(event)))


def answer(**fields: Any) -> ExecutionAnswer:
    """An execution as the server shows it."""
    known: dict[str, Any] = dict.fromkeys(
        ("output", "finish_reason", "error", "session_id", "idempotency_key", "parent_id")
    )
    known |= {
        "execution_id": "x1",
        "agent": "a",
        "plan_hash": "h",
        "title": "t",
        "status": "completed",
        "turn": 1,
    }
    known |= {
        "last_seq": 9,
        "created_at_ms": 0,
        "updated_at_ms": 0,
        "started_by": "k",
        "usage": USAGE,
        "waits": [],
        "reason": "",
    }
    return ExecutionAnswer(**(known | fields))


CALLS = (
    ToolCallPart("c0", "pay", {"n": 1}),
    ToolCallPart("c1", "pay", {"n": 2}),
    ToolCallPart("c2", "gone", {}),
)
HISTORY = [
    record(n, event)
    for n, event in enumerate(
        [
            ev.ExecutionStarted("a", "h", user("go"), "k"),
            ev.ModelRequested("t1", 1),
            ev.ModelLost("t1", 1, "the server stopped"),
            ev.ModelRequested("t1", 1, 2),
            ev.ModelCompleted(
                "t1",
                2,
                Message("assistant", (ReasoningPart("hm"), TextPart("first"), *CALLS)),
                USAGE,
                "tool_calls",
            ),
            ev.ApprovalRequested("t1.c0", "c0", "pay", {"n": 1}, "a0", "hash"),
            ev.ToolRequested("t1.c1", "c1", "pay", {"n": 2}, "ik"),
            ev.ToolRefused("t1.c2", "c2", "gone", ev.ErrorInfo("E0304", "no such tool")),
            ev.ToolStarted("t1.c1", 1, "w"),
            ev.ToolFailed("t1.c1", 1, INFO, 5),
            ev.ToolStarted("t1.c1", 2, "w"),
            ev.ToolLost("t1.c1", 2, "silence"),
            ev.ToolStarted("t1.c1", 3, "w"),
            ev.ToolCompleted("t1.c1", 3, {"paid": 2}),
            ev.ApprovalDecided("t1.c0", "a0", "approved", "eva", "sdk", "hash2", arguments={"n": 9}),
            ev.ToolRequested("t1.c0", "c0", "pay", {"n": 9}, "ik0"),
            ev.ToolStarted("t1.c0", 1, "w"),
            ev.ToolFailed("t1.c0", 1, INFO),
            ev.ModelRequested("t2", 2),
            ev.ModelCompleted("t2", 1, Message("assistant", (TextPart("done"),)), USAGE, "stop"),
            ev.ExecutionCompleted("done"),
        ],
        1,
    )
]


def test_each_event_is_told_with_what_its_step_is_about():
    """Types, texts, tools and arguments of a whole execution; what only the engine cares for is left out."""
    mapper = EventMapper()
    events = [e for r in HISTORY for e in mapper.take(r)]
    told = [(e.seq, str(e.type), e.tool_name, e.attempt) for e in events]
    assert told == [
        (1, "state", None, None),
        (3, "retry", None, 1),
        (5, "thinking", None, 2),
        (5, "message", None, 2),
        (6, "waiting", "pay", None),
        (7, "tool_call", "pay", None),
        (8, "tool_result", "gone", None),
        (10, "retry", "pay", 1),
        (12, "retry", "pay", 2),
        (14, "tool_result", "pay", 3),
        (15, "approval", "pay", None),
        (16, "tool_call", "pay", None),
        (18, "tool_result", "pay", 1),
        (20, "message", None, 1),
        (21, "done", None, None),
    ]
    by_seq = {e.seq: e for e in events}
    assert (by_seq[6].approval_id, by_seq[6].args) == ("a0", {"n": 1})
    assert (by_seq[15].approved, by_seq[15].args) == (True, {"n": 9})
    assert by_seq[14].result == {"paid": 2}
    assert by_seq[18].error is not None
    assert by_seq[18].error.fix == "mend it"
    assert by_seq[21].output == "done"


def test_calls_are_matched_by_step():
    """Two calls of one tool keep their own arguments and results; edited arguments are those that ran."""
    mapper = EventMapper()
    calls = tool_calls_of([e for r in HISTORY for e in mapper.take(r)])
    assert [(c["name"], c["args"], c["call_id"]) for c in calls] == [
        ("pay", {"n": 9}, "c0"),
        ("pay", {"n": 2}, "c1"),
        ("gone", None, "c2"),
    ]
    assert [c.get("error", {}).get("code") for c in calls] == ["E0301", None, "E0304"]
    assert calls[1]["result"] == {"paid": 2}


def test_a_rejected_call_says_so():
    """A call that a person refused is in the list, with the reason."""
    mapper = EventMapper()
    decided = record(7, ev.ApprovalDecided("t1.c0", "a0", "rejected", "eva", "sdk", "hash", "too much"))
    calls = tool_calls_of([e for r in (HISTORY[5], decided) for e in mapper.take(r)])
    assert [(c["name"], c["rejected"], c["reason"]) for c in calls] == [("pay", True, "too much")]


def test_what_a_person_did_says_who():
    """A decision, a pause, a resumption and a cancelling carry the name of whoever did it."""
    done = (
        ev.ApprovalDecided("t1.c0", "a0", "approved", "eva", "sdk", "hash"),
        ev.ExecutionPaused("eva", "lunch"),
        ev.ExecutionResumed("eva"),
        ev.ExecutionCancelled("eva"),
    )
    told = [EventMapper().take(record(7, event)) for event in done]
    assert [[e.by for e in events] for events in told] == [["eva"]] * 4


def test_messages_are_the_conversation():
    """Roles alternate as the model was shown them, and everything is plain JSON."""
    messages = result_of(answer(), HISTORY, None).messages
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert [p["call_id"] for p in messages[2]["parts"]] == ["c0", "c1", "c2"]
    assert messages == msgspec.json.decode(msgspec.json.encode(messages))


def test_failures_and_cancels_end_with_done():
    """Whatever the end, the last event is `done`, with the error where there is one."""
    for event, code in (
        (ev.ExecutionFailed(INFO, partial="so far"), "E0301"),
        (ev.ExecutionCancelled("eva", "enough"), "E0406"),
    ):
        last = EventMapper().take(record(1, event))[-1]
        assert last.type == EventType.DONE
        assert last.error is not None
        assert last.error.code == code


def test_pieces_and_unknown_kinds_pass_through():
    """A delta is a token or a thought; a kind of a newer server keeps its name and never stops the stream."""
    mapper = EventMapper()
    token = mapper.take(DeltaRecord("x1", "t1", 2, "text", 0, "He"))[0]
    assert (token.type, token.content, token.attempt, token.seq) == (EventType.TOKEN, "He", 2, 0)
    assert mapper.take(DeltaRecord("x1", "t1", 2, "reasoning", 0, "hm"))[0].type == EventType.THINKING
    new = mapper.take(EventRecord("x1", 4, 5, {"kind": "budget_spent", "much": 3}))[0]
    assert (new.type, new.kind, new.seq) == ("budget_spent", "budget_spent", 4)


def test_status_says_what_is_waited_for():
    """The wait's approval is the pending tool."""
    wait = WaitInfo("approval", "t1.c0", tool="pay", approval_id="a0", arguments={"n": 1}, effect_hash="h")
    status = status_of(answer(status="waiting:approval", waits=[wait]))
    assert status.is_waiting
    assert not status.is_complete
    assert status.pending_tool == {
        "name": "pay", "args": {"n": 1}, "approval_id": "a0", "effect_hash": "h", "step": "t1.c0",
        "asks": "call", "answer_schema": None, "agent": None, "execution_id": "x1",
    }  # fmt: skip
    assert status.usage.total_tokens == 15


def test_a_cost_is_in_dollars_or_not_known():
    """Micro-dollars become dollars; with one call that has no price the sum is not known."""
    for usage, cost in (
        (Usage(10, 5), 0.0),
        (Usage(10, 5, cost_micro=1_250_001), 1.250_001),
        (Usage(10, 5, cost_micro=9, unpriced_calls=1), None),
    ):
        assert status_of(answer(usage=usage)).usage.cost_usd == cost
        assert result_of(answer(usage=usage), [], None).usage.cost_usd == cost


class Order(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def positive(cls, number: int) -> int:
        if number <= 0:
            raise ValueError("must be positive")
        return number


def test_the_output_has_its_type():
    """With the agent at hand the output is an object of its type; E0410 names the execution when it cannot be."""
    agent = Agent("a", "mock/script", output_type=Order, metadata={"team": "x"})
    result = result_of(answer(output={"number": 4}, finish_reason="stop"), HISTORY, agent)
    assert result.output == Order(number=4)
    assert result.is_success
    assert result.metadata == {"team": "x"}
    with pytest.raises(ExecutionError, match="must be positive") as caught:
        result_of(answer(output={"number": 0}), HISTORY, agent)
    assert (caught.value.code, "x1" in caught.value.where) == ("E0410", True)
    assert result_of(answer(output={"number": 4}), HISTORY, None).output == {"number": 4}


def test_a_failed_execution_has_its_error_and_no_typed_output():
    """The result of a failure is a result, not an exception."""
    agent = Agent("a", "mock/script", output_type=Order)
    failed = answer(status="failed", error={"code": "E0403", "what": "turns"}, finish_reason="max_turns")
    result = result_of(failed, HISTORY, agent)
    assert result.status is Status.FAILED
    assert result.error is not None
    assert (result.error.code, result.output, result.is_failed) == ("E0403", None, True)
    assert result_of(answer(finish_reason="brand_new"), [], None).finish_reason == "brand_new"
