"""Commits, events and rows for the tests of the journal, and a way to await a commit."""

import asyncio
from collections.abc import Sequence
from typing import Any

from perdure.core.definition import OutputDefinition, RetryPolicy
from perdure.core.errors import JournalError
from perdure.core.events import (
    AnswerProposed,
    AnyEvent,
    ApprovalDecided,
    ApprovalRequested,
    ArgumentsRequested,
    CallsPrefilled,
    ChildCompleted,
    ChildRequested,
    ErrorInfo,
    ExecutionCompleted,
    ExecutionStarted,
    FunctionRequested,
    HistoryRef,
    JudgeRequested,
    MessageReceived,
    ModelCompleted,
    ModelRequested,
    PlanAccepted,
    Replaced,
    ToolCompleted,
    ToolFailed,
    ToolRequested,
    ToolStarted,
)
from perdure.core.messages import Message, TextPart, ToolCallPart, user
from perdure.core.model import ModelRef, ModelSettings, ToolSpec, Usage
from perdure.core.plan import Plan, ToolPlan
from perdure.core.plan_steps import Operation, PlanStep, StepPlan
from perdure.engine.ports import ApprovalRow, Commit, NewExecution, Status, StoredExecution

T0 = 1_700_000_000_000  # wall time of the first commit in most tests, ms


def new(execution_id: str, **changes: Any) -> NewExecution:
    """An execution of the agent `helper`."""
    fields: dict[str, Any] = {
        "agent": "helper",
        "plan_hash": "plan-1",
        "title": "Refund order 7",
        "started_by": "key:test",
        "created_at_ms": T0,
    }
    return NewExecution(execution_id, **{**fields, **changes})


def started(text: str = "Refund order 7") -> ExecutionStarted:
    """The first event of an execution."""
    return ExecutionStarted(agent="helper", plan_hash="plan-1", input=user(text), started_by="key:test")


def model_completed(step: str, text: str) -> ModelCompleted:
    """A model's answer."""
    return ModelCompleted(
        step=step,
        attempt=1,
        message=Message("assistant", (TextPart(text),)),
        usage=Usage(100, 20),
        finish_reason="stop",
    )


def turn(number: int, size: int = 200) -> tuple[AnyEvent, ...]:
    """The two events of a model step: its answer, and the next request."""
    return model_completed(f"m{number}", "a" * size), ModelRequested(step=f"m{number + 1}", turn=number + 1)


def tool_events(step: str, result: Any) -> tuple[AnyEvent, ...]:
    """The life of a tool call that fails once."""
    return (
        ToolRequested(step=step, call_id="c1", tool="refund", arguments={"order": 7}, key="ik_1"),
        ToolStarted(step=step, epoch=1, worker="w1"),
        ToolFailed(step=step, epoch=1, error=ErrorInfo("E0301", "It raised"), retry_at_ms=T0 + 1000),
        ToolStarted(step=step, epoch=2, worker="w2"),
        ToolCompleted(step=step, epoch=2, result=result, state={"seen": [1, None, "é"]}),
    )


def approval_events(approval_id: str, arguments: dict[str, Any]) -> tuple[AnyEvent, ...]:
    """A question to a person, and the answer."""
    return (
        ApprovalRequested(
            step="t1",
            call_id="c1",
            tool="refund",
            arguments=arguments,
            approval_id=approval_id,
            effect_hash="e" * 64,
        ),
        ApprovalDecided(
            step="t1",
            approval_id=approval_id,
            decision="approved",
            by="ann",
            channel="cli",
            effect_hash="f" * 64,
        ),
    )


def approval_row(approval_id: str, execution_id: str, **changes: Any) -> ApprovalRow:
    """A pending approval."""
    fields: dict[str, Any] = {
        "step": "t1",
        "agent": "helper",
        "tool": "refund",
        "arguments": {"order": 7, "amount": 12.5},
        "effect_hash": "e" * 64,
        "requested_at_ms": T0,
    }
    return ApprovalRow(approval_id, execution_id, **{**fields, **changes})


def first(execution_id: str, **changes: Any) -> Commit:
    """The first commit of an execution; fields of `NewExecution` go by `new_` and their name."""
    about = {k.removeprefix("new_"): changes.pop(k) for k in list(changes) if k.startswith("new_")}
    fields: dict[str, Any] = {
        "expected_seq": 0,
        "at_ms": T0,
        "events": (started(),),
        "state": b'{"v":1}',
        "status": "running",
        "new": new(execution_id, **about),
    }
    return Commit(execution_id, **{**fields, **changes})


def then(
    execution_id: str,
    expected_seq: int,
    events: Sequence[AnyEvent] | None = None,
    status: Status = "running",
    **changes: Any,
) -> Commit:
    """A later commit: a model step, when no events are given."""
    chosen = turn(expected_seq) if events is None else tuple(events)
    fields: dict[str, Any] = {"at_ms": T0 + expected_seq, "state": b'{"seq":%d}' % expected_seq}
    return Commit(
        execution_id, expected_seq=expected_seq, events=chosen, status=status, **{**fields, **changes}
    )


def completed(execution_id: str, expected_seq: int, output: Any = "done") -> Commit:
    """The commit that ends an execution."""
    return then(execution_id, expected_seq, (ExecutionCompleted(output=output),), "completed")


def every_body_event(body_text: str) -> tuple[AnyEvent, ...]:
    """One event of each kind that may have a large body, with *body_text* in it."""
    call = ToolCallPart("c1", "refund", {"note": body_text})
    return (
        started(body_text),
        ModelCompleted(
            step="m1",
            attempt=1,
            message=Message("assistant", (TextPart("I will"), call)),
            usage=Usage(1, 2),
            finish_reason="tool_calls",
            model="mock/one",
        ),
        ToolRequested(step="t1", call_id="c1", tool="refund", arguments={"note": body_text}, key="ik_1"),
        ToolCompleted(step="t1", epoch=1, result=[{"text": body_text}, 1, 2.5, None, True]),
        *approval_events("a1", {"note": body_text}),
        ApprovalDecided(
            step="t1",
            approval_id="a1",
            decision="approved",
            by="ann",
            channel="api",
            effect_hash="f" * 64,
            arguments={"note": body_text, "amount": 1},
        ),
        ExecutionCompleted(output={"kind": "text", "body": body_text}),
        FunctionRequested(
            step="c1.gate", function="@gate", agent="helper", arguments={"output": body_text}, key="ik_2"
        ),
        ChildRequested(
            step="c1",
            child_id="x2",
            agent="writer",
            input=user(f"Write of: {body_text}"),
            plan_hash="p" * 64,
            history=HistoryRef("x1", "team", 3),
        ),
        ChildCompleted(step="c1", output={"text": body_text}, usage=Usage(3, 4)),
        JudgeRequested(step="t1.out.s0", guard="polite", content={"judged": body_text}),
        AnswerProposed(subject="t1.out", output={"proposed": body_text}),
        Replaced(subject="t1.out", value={"instead": body_text}, by="@after_agent"),
        MessageReceived(id="m1", message=user(f"Said: {body_text}"), by="ann"),
        CallsPrefilled(Message("assistant", (TextPart(f"Before: {body_text}"),))),
        PlanAccepted(StepPlan((PlanStep("a", (Operation("refund", {"note": body_text}),)),)), "definition"),
        ArgumentsRequested("o1.g0", "refund", "Write.", context=[body_text]),
    )


def plan(agent: str = "helper", instructions: str = "Be kind.") -> Plan:
    """A plan with one tool."""
    spec = ToolSpec(
        "refund", "Give money back", {"type": "object", "properties": {"order": {"type": "integer"}}}
    )
    return Plan(
        agent=agent,
        definition_hash="d" * 64,
        model=ModelRef("mock", "one"),
        settings=ModelSettings(temperature=0.5, extra={"script": ["hi"]}),
        instructions=instructions,
        tools={"refund": ToolPlan(spec, approval_required=True, retry=RetryPolicy(max_attempts=2))},
        output=OutputDefinition("Answer", {"type": "object"}),
        max_turns=5,
        timeout_ms=0,
        output_retries=3,
        model_retry=RetryPolicy(),
    )


async def commit(journal: Any, what: Commit) -> StoredExecution | None:
    """Commit and wait; the error of the answer is raised.

    Raises:
        JournalError: what stopped the commit.
    """
    return (await commit_all(journal, [what], check=True))[0]


async def commit_all(journal: Any, commits: Sequence[Commit], *, check: bool = False) -> list[Any]:
    """Commit all at once and wait for all; answers in the commits' order, errors as values unless *check*."""
    loop = asyncio.get_running_loop()
    answers = [loop.create_future() for _ in commits]
    for what, answer in zip(commits, answers, strict=True):
        journal.commit(what, answer.set_result)  # a second call would raise: done comes once
    results = await asyncio.gather(*answers)
    for result in results:
        if check and isinstance(result, JournalError):
            raise result
    return results
