"""From the engine's types to the wire's. Field by field: a new field of the engine's is not published by itself."""

from typing import Any, cast

from perdure.core.events import Recorded
from perdure.engine.ports import ApprovalRow, DeployedAgent, ExecutionView, PendingWait, Task, WorkerView
from perdure.server.plans import Compiled
from perdure.wire.types import (
    AgentAnswer,
    ApprovalAnswer,
    EventRecord,
    ExecutionAnswer,
    StartAnswer,
    TaskRecord,
    WaitInfo,
    WorkerAnswer,
)


def agent(row: DeployedAgent) -> AgentAnswer:
    """A deployed agent."""
    return AgentAnswer(row.agent, row.plan_hash, row.version, row.deployed_at_ms)


def started(execution_id: str, *, created: bool, compiled: Compiled) -> StartAnswer:
    """A started execution."""
    return StartAnswer(execution_id, compiled.plan.agent, compiled.plan_hash, created, compiled.worker_tools)


def execution(view: ExecutionView) -> ExecutionAnswer:
    """An execution as it is now."""
    return ExecutionAnswer(
        execution_id=view.execution_id,
        agent=view.agent,
        plan_hash=view.plan_hash,
        title=view.title,
        status=view.status,
        turn=view.turn,
        last_seq=view.last_seq,
        created_at_ms=view.created_at_ms,
        updated_at_ms=view.updated_at_ms,
        started_by=view.started_by,
        usage=view.usage,
        waits=[_wait(w) for w in view.waits],
        output=view.output,
        finish_reason=view.finish_reason,
        error=view.error,
        session_id=view.session_id,
        idempotency_key=view.idempotency_key,
        parent_id=view.parent_id,
        reason=view.reason,
    )


def _wait(wait: PendingWait) -> WaitInfo:
    return WaitInfo(
        kind=wait.kind,
        step=wait.step,
        tool=wait.tool,
        approval_id=wait.approval_id,
        arguments=wait.arguments,
        effect_hash=wait.effect_hash,
        due_ms=wait.due_ms,
        worker=wait.worker,
        attempt=wait.attempt,
        agent=wait.agent,
        child_id=wait.child_id,
        execution_id=wait.execution_id,
        child_status=wait.child_status,
        asks=wait.asks,
        answer_schema=wait.answer_schema,
    )


def event_record(execution_id: str, recorded: Recorded) -> EventRecord:
    """An event with its place. The event itself is encoded as it is: its JSON form is the journal's."""
    return EventRecord(execution_id, recorded.seq, recorded.at_ms, cast(dict[str, Any], recorded.event))


def approval(row: ApprovalRow) -> ApprovalAnswer:
    """An approval and its decision."""
    return ApprovalAnswer(
        approval_id=row.approval_id,
        execution_id=row.execution_id,
        step=row.step,
        agent=row.agent,
        tool=row.tool,
        arguments=row.arguments,
        effect_hash=row.effect_hash,
        requested_at_ms=row.requested_at_ms,
        unknown_epoch=row.unknown_epoch,
        decision=row.decision,
        decided_at_ms=row.decided_at_ms,
        decided_by=row.decided_by,
        channel=row.channel,
        reason=row.reason,
        decided_arguments=row.decided_arguments,
        kind=row.kind,
        answer_schema=row.answer_schema,
        answer=row.answer,
    )


def task(given: Task, token: str) -> TaskRecord:
    """A task for a worker, with the token of its attempt."""
    return TaskRecord(
        execution_id=given.execution_id,
        step=given.step,
        epoch=given.epoch,
        token=token,
        agent=given.agent,
        tool=given.tool,
        call_id=given.call_id,
        arguments=given.arguments,
        idempotency_key=given.idempotency_key,
        lease_ms=given.lease_ms,
        deadline_ms=given.deadline_ms,
        timeout_ms=given.timeout_ms,
        state=given.state,
        session_id=given.session_id,
    )


def worker(view: WorkerView) -> WorkerAnswer:
    """A worker as last heard of."""
    return WorkerAnswer(view.worker, list(view.tools), view.last_seen_ms, view.leases)
