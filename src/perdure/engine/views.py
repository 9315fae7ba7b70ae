"""Executions as people and programs see them, from the stored state and the last event."""

from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.machines.turn_state import Step, TurnState
from perdure.engine.ports import ApprovalRow, ExecutionView, PendingWait, Status, StoredExecution
from perdure.engine.resident import Resident

_WAIT_KINDS = {
    "asking": "model",
    "retrying": "timer",
    "approval": "approval",
    "ready": "worker",
    "leased": "tool",
    "child": "child",
    "message": "message",
    "session": "session",
}


def view(
    row: StoredExecution | Resident,
    state: TurnState,
    asked: dict[str, ApprovalRow],
    status: Status | None = None,
) -> ExecutionView:
    """The view of an execution; *asked* has its open approvals by step."""
    return ExecutionView(
        execution_id=row.execution_id,
        agent=row.agent,
        plan_hash=row.plan_hash,
        title=row.title,
        status=status or row.status,
        turn=state.turn,
        last_seq=row.seq if isinstance(row, Resident) else row.last_seq,
        created_at_ms=row.created_at_ms,
        updated_at_ms=row.updated_at_ms,
        started_by=row.started_by,
        usage=state.usage,
        waits=tuple(_wait(row, step_id, step, asked.get(step_id)) for step_id, step in state.steps.items()),
        session_id=row.session_id,
        idempotency_key=row.idempotency_key,
        parent_id=row.parent_id,
    )


def _wait(of: StoredExecution | Resident, step_id: str, step: Step, row: ApprovalRow | None) -> PendingWait:
    kind = _WAIT_KINDS[step.status]
    if step.status == "ready" and step.due_ms is not None:
        kind = "timer"
    return PendingWait(
        kind=kind,
        step=step_id,
        tool=step.tool,
        approval_id=step.approval_id,
        arguments=row.arguments if row is not None and kind == "approval" else None,
        effect_hash=step.effect_hash,
        due_ms=step.due_ms,
        worker=step.worker,
        attempt=step.attempt,
        agent=step.agent or of.agent,
        child_id=step.child_id,
        execution_id=of.execution_id,
        asks=step.asks,
        answer_schema=row.answer_schema if row is not None and kind == "approval" else None,
    )


def with_outcome(seen: ExecutionView, last: ev.AnyEvent) -> ExecutionView:
    """The view with the answer or the error of its terminal event."""
    changes: dict[str, Any] = {}
    if isinstance(last, ev.ExecutionCompleted):
        changes = {"output": last.output, "finish_reason": last.finish_reason, "reason": last.reason}
    elif isinstance(last, ev.ExecutionFailed):
        error = msgspec.to_builtins(last.error)
        changes = {"error": error, "finish_reason": last.finish_reason, "output": last.partial or None}
    elif isinstance(last, ev.ExecutionCancelled):
        error = {"code": "E0406", "what": "The execution was cancelled", "where": f"by {last.by}"}
        if last.reason:
            error["why"] = last.reason
        changes = {"error": error, "finish_reason": "cancelled"}
    return msgspec.structs.replace(seen, **changes) if changes else seen
