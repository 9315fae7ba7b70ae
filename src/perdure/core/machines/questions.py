"""Questions to a person: a tool that a person answers, and who goes on in a team that a person leads.

They are approvals like any other: one decision, bound to the hash of what was asked, recorded with who and when. The
answer must fit the schema that was shown with the question.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError
from perdure.core.machines.draft import Draft
from perdure.core.machines.turn_state import Step
from perdure.core.validation import problems


def ask(
    draft: Draft,
    step: str,
    asks: ev.ApprovalKind,
    tool: str,
    question: dict[str, Any],
    answer_schema: dict[str, Any],
    call_id: str = "",
) -> None:
    """Ask a person."""
    execution = draft.scope.execution_id
    draft.record(
        ev.ApprovalRequested(
            step,
            call_id,
            tool,
            question,
            ids.approval_id(execution, f"{step}.{asks}"),  # leave for the call may have been asked before
            ids.effect_hash(execution, step, tool, answer_schema, question),
            asks=asks,
            answer_schema=answer_schema,
        )
    )


def answer(draft: Draft, item: inp.Decide, step_id: str, step: Step) -> None:
    """Record what a person said.

    Raises:
        ExecutionError: E0409 the hash is of something else; E0421 the answer does not fit the question.
    """
    schema = _schema_of(draft, step_id)
    asked = ids.effect_hash(draft.scope.execution_id, step_id, step.tool or "", schema, item.asked)
    if asked != step.effect_hash or item.effect_hash not in (None, asked):
        raise ExecutionError(
            "E0409",
            "The answer is to something else than what is asked",
            where=f"approval {item.approval_id}",
            fix="Read the question again and answer with the effect_hash that it shows.",
            effect_hash=step.effect_hash or "",
        )
    wrong = problems(schema, item.answer) if item.decision == "approved" else ()
    if wrong or item.arguments is not None:
        raise ExecutionError(
            "E0421",
            "The answer does not fit the question",
            where=f"approval {item.approval_id}",
            why="; ".join(wrong) or "A question has an answer, and no arguments to be edited.",
            fix="Give an answer that fits the answer_schema of the question; nothing was recorded.",
        )
    draft.record(
        ev.ApprovalDecided(
            step_id,
            item.approval_id,
            item.decision,
            item.by,
            item.channel,
            asked,
            item.reason,
            answer=item.answer,
        )
    )


def _schema_of(draft: Draft, step_id: str) -> dict[str, Any]:
    call = draft.scope.transcript.calls.get(step_id)
    return (call.answer_schema if call is not None else None) or {}
