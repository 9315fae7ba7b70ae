"""The turn machine's part about budgets: what is done when a limit stands in the way of a step.

    stop       the execution fails
    finish     it ends with what there is
    downgrade  the next turn asks the cheaper model; once, then it is as stop
    ask        a person may allow as much again; a rejection is as stop

A tool call that is one too many is refused, and the model told why, unless the budget says stop. Whether a limit is
reached is the engine's to say, because a budget is shared by all executions below the one that has it.
"""

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.machines import answers, joints, passage, questions
from perdure.core.machines.draft import Draft

GRANT_SCHEMA = {"type": "null"}


def breached(draft: Draft, item: inp.BudgetBreached) -> None:
    """Do what the budget says; a notice that is late changes nothing."""
    step = draft.state.steps.get(item.step)
    if step is None or step.status not in ("asking", "ready") or step.attempt != item.attempt:
        return
    is_call = step.tool is not None and joints.stage_of(item.step) is None and step.status == "ready"
    # Another model would make no more tool calls possible: of those, one that is too many is refused, or it is the end.
    action = item.action if is_call or _of_a_plan(draft) else _action(draft, item)
    model = item.model if action == "downgrade" and not is_call and not _of_a_plan(draft) else ""
    draft.record(ev.BudgetReached(item.step, item.owner, item.limit, item.why, action, model))
    if joints.stage_of(item.step) is not None:
        passage.failed(draft, item.step, step.tool or "", item.why)
    elif action == "stop":
        _stop(draft, item.why)
    elif is_call or _of_a_plan(draft):
        return  # the model has been told; a plan whose operation is not made fails, and its machine sees to that
    elif action == "finish":
        answers.complete(draft, draft.scope.transcript.last_text, "budget", item.why)
    elif action == "ask":
        asked = {"question": "May more be used?", "limit": item.limit, "why": item.why}
        questions.ask(draft, f"{item.step}.budget", "budget", "raise_budget", asked, GRANT_SCHEMA)


def _of_a_plan(draft: Draft) -> bool:
    team = draft.state.team
    return team.strategy == "plan_execute" and team.phase != "synthesis"


def _action(draft: Draft, item: inp.BudgetBreached) -> str:
    if item.action == "downgrade" and (draft.scope.transcript.model is not None or not item.model):
        return "stop"
    return item.action


def _stop(draft: Draft, why: str) -> None:
    error = ev.ErrorInfo(
        "E0424",
        "The budget is used up",
        where=f"agent {draft.scope.plan.agent}",
        why=why,
        fix="Give it a larger budget, or let it ask, downgrade or finish: Budget(on_breach=...).",
    )
    partial = draft.scope.transcript.last_text
    draft.end(ev.ExecutionFailed(error, finish_reason="budget", partial=partial))


def answered(draft: Draft, decided: ev.ApprovalDecided) -> None:
    """A person has said whether more may be used."""
    met = draft.scope.transcript.last_breach
    if met is None:
        return
    if decided.decision == "approved":
        draft.record(ev.BudgetGranted(met.owner, met.limit, decided.by))
    else:
        _stop(draft, decided.reason or f"{met.why}; {decided.by} allowed no more")
