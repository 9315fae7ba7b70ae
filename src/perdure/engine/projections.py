"""Rows that stand beside the journal, computed from the same events and committed with them."""

from collections.abc import Sequence

import msgspec

from perdure.core import events as ev
from perdure.engine.ports import ApprovalRow
from perdure.engine.resident import Resident


def approval_rows(resident: Resident, events: Sequence[ev.Event], at_ms: int) -> tuple[ApprovalRow, ...]:
    """The approvals that *events* open, decide or void.

    Called after the events were folded into the conversation; decided approvals are completed from what is kept
    of the request in `Resident.asked`.
    """
    rows: dict[str, ApprovalRow] = {}
    copied = _copied(events)
    for number, event in enumerate(events):
        if number < copied and isinstance(event, ev.ApprovalDecided):
            # It was decided in the execution that this one goes on from: the record of it stays there.
            del rows[resident.asked.pop(event.step).approval_id]
        elif isinstance(event, ev.ApprovalRequested):
            row = _requested(resident, event, at_ms)
            rows[row.approval_id] = resident.asked[row.step] = row
        elif isinstance(event, ev.ApprovalDecided):
            row = msgspec.structs.replace(
                resident.asked.pop(event.step),
                decision=event.decision,
                decided_at_ms=at_ms,
                decided_by=event.by,
                channel=event.channel,
                reason=event.reason,
                decided_arguments=event.arguments,
                answer=event.answer,
            )
            rows[row.approval_id] = row
        elif isinstance(event, (*ev.TERMINAL, ev.PlanFailed)):  # what was open is stopped
            for row in resident.asked.values():
                rows[row.approval_id] = msgspec.structs.replace(row, decision="void", decided_at_ms=at_ms)
            resident.asked = {}
    return tuple(rows.values())


def _copied(events: Sequence[ev.Event]) -> int:
    first = events[0] if events else None
    origin = first.origin if isinstance(first, ev.ExecutionStarted) else None
    return 0 if origin is None else origin.copied


def _requested(resident: Resident, event: ev.ApprovalRequested, at_ms: int) -> ApprovalRow:
    return ApprovalRow(
        approval_id=event.approval_id,
        execution_id=resident.execution_id,
        step=event.step,
        agent=resident.agent,
        tool=event.tool,
        arguments=event.arguments,
        effect_hash=event.effect_hash,
        requested_at_ms=at_ms,
        unknown_epoch=event.unknown_epoch,
        kind=event.asks,
        answer_schema=event.answer_schema,
    )


def asked_again(resident: Resident) -> dict[str, ApprovalRow]:
    """The open approvals of an execution that was read from the journal, as they were requested."""
    found: dict[str, ApprovalRow] = {}
    for step, call in resident.transcript.calls.items():
        open_step = resident.state.steps.get(step)
        if open_step is not None and open_step.status == "approval" and open_step.approval_id:
            found[step] = ApprovalRow(
                approval_id=open_step.approval_id,
                execution_id=resident.execution_id,
                step=step,
                agent=resident.agent,
                tool=call.tool,
                arguments=call.arguments,
                effect_hash=open_step.effect_hash or "",
                requested_at_ms=call.asked_at_ms,
                unknown_epoch=open_step.unknown_epoch,
                kind=call.asks,
                answer_schema=call.answer_schema,
            )
    return found
