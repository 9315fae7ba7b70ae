"""Hand-made records of the event stream."""

from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, user
from perdure.core.model import Usage
from perdure.core.plan_steps import StepPlan
from perdure.wire.types import DeltaRecord, EventRecord

T0 = 1_800_000_000_000
ID = "x01m82r81jg69s754qbm5fv8nw0"
ERROR = ev.ErrorInfo(
    "E0301", "The tool raised an error", where="tool refund", why="KeyError: 'x'", fix="Mend it."
)


def record(seq: int, event: ev.Event | dict[str, Any], at_ms: int | None = None) -> EventRecord:
    """The record of an event, one second after the one before."""
    plain = event if isinstance(event, dict) else msgspec.to_builtins(event)
    return EventRecord(ID, seq, T0 + 1000 * seq if at_ms is None else at_ms, plain)


def records(*events: ev.Event | dict[str, Any]) -> list[EventRecord]:
    """The records of these events, from seq 1."""
    return [record(seq, event) for seq, event in enumerate(events, 1)]


def delta(text: str, offset: int, attempt: int = 1, part: Any = "text", step: str = "t1.m") -> DeltaRecord:
    """A piece of an answer in flight."""
    return DeltaRecord(ID, step, attempt, part, offset, text)


STARTED = ev.ExecutionStarted("support", "hash", user("Refund A-1001"), "local")
ASKED = ev.ModelRequested("t1.m", 1)
CALLS = ev.ModelCompleted(
    "t1.m",
    1,
    Message(
        "assistant",
        (
            ReasoningPart("hm"),
            TextPart("Let me see."),
            ToolCallPart("c0", "lookup", {"id": 1}),
            ToolCallPart("c1", "refund", {"amount": 40}),
        ),
    ),
    Usage(1_000, 100),
    "tool_calls",
    "mock",
    duration_ms=300,
)
LOOKUP = ev.ToolRequested("t1.c0", "c0", "lookup", {"id": 1}, "ik_0")
LOOKUP_STARTED = ev.ToolStarted("t1.c0", 1, "w1")
LOOKUP_DONE = ev.ToolCompleted("t1.c0", 1, {"found": True}, duration_ms=500)
QUESTION = ev.ApprovalRequested("t1.c1", "c1", "refund", {"amount": 40}, "a1", "h1")
APPROVED = ev.ApprovalDecided("t1.c1", "a1", "approved", "ada", "cli", "h2", arguments={"amount": 20})
REJECTED = ev.ApprovalDecided("t1.c1", "a1", "rejected", "ada", "cli", "h1", reason="too much")
REFUND = ev.ToolRequested("t1.c1", "c1", "refund", {"amount": 20}, "ik_1")
REFUND_STARTED = ev.ToolStarted("t1.c1", 1, "w1")
REFUND_DONE = ev.ToolCompleted("t1.c1", 1, "paid")
TEAM = ev.ExecutionStarted("paper", "hash", user("Refunds"), "local", strategy="router")
CHOSEN = ev.AgentChosen("writer", "router")
CHILD = ev.ChildRequested("c1", "x01child", "writer", user("Write of refunds"), "p" * 64)
CHILD_DONE = ev.ChildCompleted("c1", "A poem.", usage=Usage(40, 2))
COMPLETED = ev.ExecutionCompleted("Done.")

# Every kind of event, each at least once, in an order in which a view takes them.
ALL_KINDS: list[ev.Event] = [
    STARTED,
    ASKED,
    ev.ModelFailed("t1.m", 1, ev.ErrorInfo("E0206", "The provider's rate limit was reached"), T0 + 60_000),
    ev.ModelRequested("t1.m", 1, attempt=2),
    ev.ModelLost("t1.m", 2, "the server stopped"),
    ev.ModelRequested("t1.m", 1, attempt=3),
    CALLS,
    LOOKUP,
    ev.ToolRefused("t1.c9", "c9", "nope", ev.ErrorInfo("E0304", "There is no tool named nope")),
    QUESTION,
    LOOKUP_STARTED,
    ev.ToolFailed("t1.c0", 1, ERROR, T0 + 90_000),
    ev.TimerFired("t1.c0", T0 + 90_000),
    ev.ToolStarted("t1.c0", 2, "w1"),
    ev.ToolLost("t1.c0", 2, "w1 was silent"),
    ev.ToolStarted("t1.c0", 3, "w2"),
    ev.ToolCompleted("t1.c0", 3, {"found": True}),
    ev.ExecutionPaused("ada", "lunch"),
    ev.ExecutionResumed("ada"),
    ev.ExecutionQuarantined(ev.ErrorInfo("E0411", "Set aside")),
    ev.ExecutionResumed("ada"),
    APPROVED,
    REFUND,
    REFUND_STARTED,
    REFUND_DONE,
    ev.ModelRequested("t2.m", 2),
    ev.ModelCompleted("t2.m", 1, Message("assistant", (TextPart("[]"),)), Usage(5, 5), "stop", "mock"),
    ev.OutputRejected("t2.m", ("amount: missing",)),
    ev.AnswerRefused("t2.m", "required_tools", "Call lookup first."),
    ev.FunctionRequested("t2.stop", "@stop_when", "support", {"iteration": 2}, "ik_2"),
    ev.StopDecided(2, stop=False),
    CHOSEN,
    CHILD,
    CHILD_DONE,
    ev.GateDecided("writer", open=True),
    ev.ChildFailed("c2", ERROR, usage=Usage(1, 1)),
    ev.HandoffDecided("writer", met=True),
    ev.PlanRejected(("no such tool",)),
    ev.PlanAccepted(StepPlan(())),
    ev.ArgumentsRequested("s1.o0.g", "refund", "Write them."),
    ev.PlanFailed(("lookup failed",), stopped=("s1.o0.g",)),
    ev.JudgeRequested("t2.out.s0", "polite", "[]"),
    ev.ModelCompleted("t2.out.s0", 1, Message("assistant", (TextPart("no"),)), Usage(1, 1), "stop", "mock"),
    ev.GuardDecided("t2.out", "polite", passed=False, action="retry", message="rude"),
    ev.AnswerRefused("t2.out", "guardrail polite", "Answer again."),
    ev.AnswerRefused("t2.c0.i", "guardrail polite", ""),
    ev.HookEnded("t2.a", "@after_model", ("text",), 2),
    ev.Replaced("t2.a", "[1]", "@after_model"),
    ev.AnswerProposed("t2.out", "[1]"),
    ev.BudgetReached("t2.m", ID, "tokens", "100 were allowed", "ask"),
    ev.BudgetGranted(ID, "tokens", "ada"),
    ev.CondenseRequested("t2.s", 2, 1, 4, 9_000),
    ev.ModelCompleted("t2.s", 1, Message("assistant", (TextPart("so far"),)), Usage(1, 1), "stop", "mock"),
    ev.SessionAwaited("before", "x00before"),
    ev.SessionJoined("before"),
    ev.CallsPrefilled(Message("assistant", ())),
    ev.MessageAwaited("t2.c3", "c3", "wait_for_message"),
    ev.MessageReceived("m1", user("hurry"), "ada", "interrupt"),
    ev.MessagesTaken("t2.c3", "c3", "wait_for_message", 1),
    ev.ModelRequested("t3.m", 3),
    ev.ModelInterrupted("t3.m", 1),
    ev.StopRequested("ada", "enough"),
    ev.ModelRequested("t4.m", 4),
    ev.ModelCompleted("t4.m", 1, Message("assistant", (TextPart("Done."),)), Usage(5, 5), "stop", "mock"),
    COMPLETED,
    ev.ExecutionFailed(ERROR, finish_reason="error", partial="I was about to"),
    ev.ExecutionCancelled("ada", "no longer needed"),
]
