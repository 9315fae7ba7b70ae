"""Operations of a plan, as tool calls: begun, with their arguments known or written by a model.

They are accepted as a model's calls are: the same checks, guardrails, approvals, limits and retries. What is different is
where their arguments come from and where their results go (`core.plan_run`). One that cannot begin is refused, which
is recorded as of any call.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core.errors import ToolError
from perdure.core.machines.draft import Draft
from perdure.core.messages import ToolCallPart
from perdure.core.plan_run import Place, PlanRun, place_of
from perdure.core.plan_steps import Operation
from perdure.core.validation import parse_answer


def run_of(draft: Draft) -> PlanRun:
    """How far the plan has come, with what this input has brought."""
    run, seen = draft.plan_run or ((draft.scope.transcript.plan_run or PlanRun()).copy(), 0)
    for event in draft.events[seen:]:
        run.fold(event)
    draft.plan_run = run, len(draft.events)
    return run


def call_of(draft: Draft, place: Place) -> ToolCallPart:
    """The call that an operation makes; its id is the name of its step.

    Raises:
        ToolError: E0305 a reference leads nowhere.
    """
    run = run_of(draft)
    operation = run.operation(place)
    if isinstance(operation, Operation) and operation.generate is not None:
        arguments: Any = parse_answer(run.written.get(place, ""))[0]
    else:
        arguments = run.arguments(place)
    if isinstance(arguments, dict):
        return ToolCallPart(place.call, operation.tool, arguments)
    return ToolCallPart(place.call, operation.tool, None, f"They are {arguments!r:.200}")


def called(draft: Draft, step: str) -> ToolCallPart | None:
    """The call of a step, when it is an operation's that has begun."""
    place = place_of(step)
    is_plan = draft.state.team.strategy == "plan_execute"
    return call_of(draft, place) if place is not None and is_plan else None


def refuse(draft: Draft, place: Place, error: ev.ErrorInfo) -> None:
    """Record that an operation cannot run."""
    tool = run_of(draft).operation(place).tool
    draft.record(ev.ToolRefused(place.call, place.call, tool, error))


def refuse_with(draft: Draft, place: Place, error: ToolError) -> None:
    """The same for an error that was raised."""
    refuse(draft, place, ev.ErrorInfo(error.code, error.what, error.where, error.why, error.fix))
