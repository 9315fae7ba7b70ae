"""The plan_execute machine: a planner writes a plan, the machine checks it and carries it out.

    planning      the planner is asked; what cannot be carried out goes back to it, with every error
    executing     steps that do not depend on each other run at the same time; then the validations, then on_success
    failed        something failed: what was open is stopped, the operations of on_failure run
    falling_back  the fallback goes on, with the plan and what went wrong; without one the execution fails

The output is the result of the plan's last step, or what the team's own model makes of all of them.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.errors import ToolError
from perdure.core.history import text_of
from perdure.core.machines import answers, children, generated, operations, tool_calls
from perdure.core.machines.draft import Draft, stop_effects
from perdure.core.machines.teams import talk
from perdure.core.messages import Message, TextPart
from perdure.core.plan_reading import read_plan
from perdure.core.plan_run import Place, PlanRun, open_places, place_of
from perdure.core.plan_steps import Operation, StepPlan
from perdure.core.plan_texts import find_plan, plan_prompt, replan_prompt

NO_PLAN = "The answer has no JSON object with the key 'steps'."


def advance(draft: Draft) -> None:
    """Go on as far as the open steps allow; they are operations, or there is nothing to do."""
    if any(place_of(step) is None for step in draft.state.steps):
        return  # an agent, or what judges the input or the answer
    phase = draft.state.team.phase
    if draft.state.stopping and phase in ("ready", "planning"):
        _stop(draft)
    elif phase == "ready":
        _begin(draft)
    elif phase == "planning":
        _planned(draft)
    elif phase == "executing":
        _execute(draft)
    elif phase == "failed":
        _after_failure(draft)
    elif phase == "falling_back":
        _fallen_back(draft)


# Planning -------------------------------------------------------------------------------------------------


def _begin(draft: Draft) -> None:
    fixed = talk.team_of(draft).plan
    if fixed is None:
        _ask_planner(draft, "")
        return
    plan, errors = read_plan(fixed, _schemas(draft))
    if plan is None:  # it was checked when it was compiled, by a release that allowed more
        _fail(draft, errors)
    else:
        _carry_out(draft, ev.PlanAccepted(plan, "definition"))


def _schemas(draft: Draft) -> dict[str, dict[str, Any]]:
    return {name: tool.spec.input_schema for name, tool in draft.scope.plan.tools.items()}


def _ask_planner(draft: Draft, correction: str) -> None:
    """Begin an execution of the planner: the request, what it goes by, the tools; and what was wrong before."""
    team = talk.team_of(draft)
    planner = team.planner
    if planner is None:
        raise ValueError("a team without a plan has a planner")
    tools = (tool.spec for tool in draft.scope.plan.tools.values())
    told = [*(f"To go by:\n{text}" for text in team.planner_context), plan_prompt(tools), correction]
    given = _request_with(draft, told)
    number = operations.run_of(draft).rejected + 1
    children.request(draft, f"p{number}", planner, given, role="planner")


def _request_with(draft: Draft, told: Iterable[str]) -> Message:
    note = "\n\n".join(filter(None, told))
    return Message("user", (*talk.entries(draft)[0].message.parts, TextPart(f"\n\n{note}")))


def _planned(draft: Draft) -> None:
    answer = draft.event_of(ev.ChildCompleted)
    if answer is None:
        return
    plan, errors = _read(draft, answer.output)
    if plan is not None:
        _carry_out(draft, ev.PlanAccepted(plan))
        return
    draft.record(ev.PlanRejected(errors))
    if operations.run_of(draft).rejected > draft.scope.plan.output_retries:
        _fail(draft, errors)
    else:
        said = f"You answered this before:\n{text_of(answer.output)}"
        _ask_planner(draft, f"{said}\n\n{replan_prompt(errors)}")


def _read(draft: Draft, output: Any) -> tuple[StepPlan | None, tuple[str, ...]]:
    raw = output if isinstance(output, dict) and "steps" in output else find_plan(text_of(output))
    if raw is None:
        return None, (NO_PLAN,)
    plan, errors = read_plan(raw, _schemas(draft))
    if plan is not None and not draft.scope.plan.model.provider and plan.asks_a_model:
        return None, ("No model can write arguments here: give each operation 'args', not 'generate'.",)
    return plan, errors


# Carrying out ---------------------------------------------------------------------------------------------


def _carry_out(draft: Draft, accepted: ev.PlanAccepted) -> None:
    draft.record(accepted)
    _execute(draft)


def _execute(draft: Draft) -> None:
    while not draft.state.over:
        run, open_ = operations.run_of(draft), open_places(draft.state.steps)
        fault = run.fault(open_)
        if fault is not None:
            place, why = fault
            _fail(draft, (f"The {run.name_of(place)} failed: {why}",), place.call)
            return
        following = [] if draft.state.stopping else run.next(open_)
        if draft.state.stopping and not open_:
            _stop(draft)
            return
        if not following:
            if not open_:
                _finish(draft, run)
            return
        for place in following:
            _start(draft, place)
            if operations.run_of(draft).errors:
                break  # nothing more is begun that would be stopped at once


def _start(draft: Draft, place: Place) -> None:
    operation = operations.run_of(draft).operation(place)
    if isinstance(operation, Operation) and operation.generate is not None:
        generated.begin(draft, place, operation.tool, operation.generate)
        return
    try:
        call = operations.call_of(draft, place)
    except ToolError as error:
        operations.refuse_with(draft, place, error)
        return
    tool_calls.accept(draft, place.call, call)


def _finish(draft: Draft, run: PlanRun) -> None:
    if run.plan is None:
        raise ValueError("a plan that was carried out is there")
    if talk.team_of(draft).synthesize:
        draft.record(ev.AgentChosen(draft.scope.plan.agent, "synthesis"))
    else:
        talk.finish(draft, run.results()[run.plan.steps[-1].id])


def _stop(draft: Draft) -> None:
    """End with what there is, because somebody asked for it: the result of the last step that is done."""
    run = operations.run_of(draft)
    results = list(run.results().values()) if run.plan is not None else []
    answers.complete(draft, results[-1] if results else "", "stopped", "somebody asked for the end")


# When it fails --------------------------------------------------------------------------------------------


def _fail(draft: Draft, errors: tuple[str, ...], operation: str = "") -> None:
    """Stop what is still open and go over to what comes after a failure."""
    stopping = stop_effects(draft.state)  # before: the record leaves no step open
    draft.record(ev.PlanFailed(errors, operation, tuple(draft.state.steps)), *stopping)
    _after_failure(draft)


def _after_failure(draft: Draft) -> None:
    """The operations of on_failure, one after the other; then the fallback, or the end."""
    while not draft.state.over:
        run, open_ = operations.run_of(draft), open_places(draft.state.steps)
        following = run.next_after_failure(open_)
        if not following:
            if not open_:
                _fall_back(draft, run)
            return
        _start(draft, following[0])


def _fall_back(draft: Draft, run: PlanRun) -> None:
    fallback = talk.team_of(draft).fallback
    if fallback is None or draft.state.stopping:
        draft.end(ev.ExecutionFailed(_error(draft, run)))
        return
    children.request(draft, "f1", fallback, _request_with(draft, _told_of(run)), role="fallback")


def _told_of(run: PlanRun) -> list[str]:
    """What a fallback must know: what was tried, what came of it, what went wrong."""
    plan = "" if run.plan is None else msgspec.json.encode(run.plan).decode()
    gave = run.told()
    listed = "\n".join(f"- {error}" for error in _errors(run))
    return [
        "This was tried before, and failed.",
        plan and f"The plan:\n{plan}",
        gave and f"What its steps gave:\n{gave}",
        f"What went wrong:\n{listed}",
        "Do now what is still to be done for the request.",
    ]


def _errors(run: PlanRun) -> list[str]:
    errors = list(run.failure.errors) if run.failure is not None else []
    return errors + [
        f"The {run.name_of(place)} failed: {why}" for place, why in run.errors.items() if place.group == "on"
    ]


def _error(draft: Draft, run: PlanRun) -> ev.ErrorInfo:
    where = f"agent {draft.scope.plan.agent}"
    errors = _errors(run)
    why = " ".join(errors)[:4_000]
    if run.plan is None:
        return ev.ErrorInfo(
            "E0425",
            "There is no plan that can be carried out",
            where=where,
            why=why,
            fix="Use a stronger model for the planner, tell it more in planner_context, or give a fallback.",
        )
    return ev.ErrorInfo(
        "E0426",
        "The plan failed",
        where=where,
        why=why,
        fix="Look at the event plan_failed and those before it; a fallback could go on from there.",
    )


def _fallen_back(draft: Draft) -> None:
    answer = draft.event_of(ev.ChildCompleted)
    if answer is not None:
        talk.finish(draft, answer.output, "stop", "the plan failed, and the fallback answered")


def child_failed(draft: Draft, failed: ev.ChildFailed) -> None:
    """Without its planner the plan fails; without its fallback the team does."""
    asked = draft.child(failed.step)
    if asked is not None and asked.role == "planner":
        why = f"The planner {asked.agent} failed: [{failed.error.code}] {failed.error.what}"
        _fail(draft, (f"{why}: {failed.error.why}" if failed.error.why else why,))
    else:
        talk.fail_with_child(draft, failed)
