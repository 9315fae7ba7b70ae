"""The turn machine: one agent's loop. Model call, its tool calls in parallel, results back, until the answer.

`apply` takes an input and gives the events to record, the state after them, and the effects to perform once they
are durable. It decides; `turn_state.evolve` is the only thing that changes the state.

An input that lost a race raises: a result of an old epoch (E3, E0307), a second decision (E0408), a verb on an
execution that is over (E5, E0402). A late input that needs no answer does nothing.
"""

from collections.abc import Callable
from typing import Any

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import CallModel, WithdrawTask
from perdure.core.errors import ExecutionError, PerdureError
from perdure.core.machines import (
    answers,
    children,
    condensing,
    continuing,
    functions,
    generated,
    inbox,
    joints,
    passage,
    prefill,
    spending,
    tool_calls,
)
from perdure.core.machines.attempts import (
    broken_answer,
    effects_of,
    is_function,
    model_lost,
    next_due_ms,
    on_offer,
    out_of_time,
    said,
    take_up,
)
from perdure.core.machines.backoff import retry_at
from perdure.core.machines.draft import Applied, Draft, Scope, Ways, stale_error
from perdure.core.machines.teams.strategies import MACHINES
from perdure.core.machines.turn_state import Step, TurnState
from perdure.core.validation import not_storable, parse_answer, problems

__all__ = ["apply", "effects_of", "next_due_ms"]

_LATE = (
    inp.ModelSucceeded,
    inp.ModelErrored,
    inp.TaskSilent,
    inp.ChildEnded,
    inp.BudgetBreached,
    inp.JoinSession,
    inp.Tick,
    inp.Recover,
    inp.GoOn,
    inp.AskLive,
)


def apply(scope: Scope, state: TurnState, item: inp.Input, now_ms: int) -> Applied:
    """What *item* means in *state*.

    Raises:
        ExecutionError: E0402, E0408, E0409, E0415: the verb does not fit; nothing changes.
        ToolError: E0307, the attempt is over; E0305, edited arguments do not fit the tool.
    """
    if state.over:
        if isinstance(item, _LATE):
            return Applied(state)  # late, and nobody waits for an answer (E5)
        raise over_error(scope, state, item)
    draft = Draft(scope, state, now_ms, _WAYS)
    _DECIDE[type(item)](draft, item)
    return Applied(draft.state, tuple(draft.events), tuple(draft.effects))


def over_error(scope: Scope, state: TurnState, item: inp.Input) -> PerdureError:
    """E5: what a caller is told who comes after the end."""
    if isinstance(item, inp.TakeTask | inp.TaskSucceeded | inp.TaskErrored):
        return stale_error(scope, item.step, f"the execution is {state.phase}")
    return ExecutionError(
        "E0402",
        f"The execution is {state.phase}; {type(item).__name__.lower()} comes too late",
        where=f"execution {scope.execution_id}",
        fix="Start a new execution.",
        status=state.phase,
    )


# Beginning and going on ----------------------------------------------------------------------------------


def _begin(draft: Draft, item: inp.Begin) -> None:
    draft.record(
        ev.ExecutionStarted(
            agent=draft.scope.plan.agent,
            plan_hash=item.plan_hash,
            input=item.input,
            started_by=item.started_by,
            v=ev.EVENT_VERSION,
            deadline_ms=item.deadline_ms,
            session_id=item.session_id,
            idempotency_key=item.idempotency_key,
            context=item.context,
            strategy=draft.scope.plan.team.strategy if draft.scope.plan.team is not None else "",
            parent=item.parent,
            history=item.history,
            budgets=item.budgets,
            origin=item.origin,
        )
    )
    if item.after is not None:
        inbox.await_session(draft, item.after)
    else:
        passage.enter(draft, "in")


def _go_on_from(draft: Draft, item: inp.GoOn) -> None:
    for lost in continuing.unknown(draft, item):
        _task_silent(draft, lost)
    continuing.go_on(draft, item)
    advance(draft)


def _join_session(draft: Draft, item: inp.JoinSession) -> None:
    inbox.join_session(draft, item)
    if draft.event_of(ev.SessionJoined) is not None:
        passage.enter(draft, "in")


def _budget_breached(draft: Draft, item: inp.BudgetBreached) -> None:
    spending.breached(draft, item)
    advance(draft)


def _say(draft: Draft, item: inp.Say) -> None:
    inbox.say(draft, item)
    advance(draft)


def _stop_soon(draft: Draft, item: inp.StopSoon) -> None:
    inbox.stop_soon(draft, item)
    advance(draft)


def advance(draft: Draft) -> None:
    """Begin the next turn when everything of the last one is settled and the execution may go on.

    A team's machine goes first; it records what comes next also while the execution is paused, and nothing of it begins.
    """
    state = draft.state
    machine = (
        MACHINES[state.team.strategy] if state.team.strategy and state.team.phase != "synthesis" else None
    )
    waits = bool(state.steps) and not (machine is not None and machine.beside_steps)
    if state.over or state.phase == "new" or not state.settled or waits:
        return
    if state.stopping and (state.turn or state.team.turns):
        answers.stop_here(draft)
        return
    if machine is not None:
        machine.advance(draft)
        if state.steps or state.over:
            return
    if state.phase == "active" and prefill.begins(draft):
        advance(draft)
    elif state.phase == "active" and not answers.stops(draft):
        _next_turn(draft)


def _next_turn(draft: Draft) -> None:
    state = draft.state
    if state.turn >= draft.scope.plan.max_turns:
        limit = draft.scope.plan.max_turns
        error = ev.ErrorInfo(
            "E0403",
            f"The agent used all {limit} turns without an answer",
            where=f"agent {draft.scope.plan.agent}",
            fix="Raise max_turns, or make the task smaller.",
        )
        partial = said(draft)
        draft.record(ev.ExecutionFailed(error, finish_reason="max_turns", partial=partial))
        return
    turn = state.turn + 1
    if condensing.condenses(draft, turn):
        return
    if state.prepared < turn and passage.has_stages(draft, f"t{turn}.b"):
        passage.enter(draft, f"t{turn}.b")
        return
    step = f"t{turn}.m"
    draft.record(ev.ModelRequested(step, turn), CallModel(step, 1))


# Model steps --------------------------------------------------------------------------------------------


def _asking(draft: Draft, step_id: str, attempt: int) -> bool:
    """Whether this attempt is the one in flight; a late one is ignored."""
    step = draft.state.steps.get(step_id)
    return step is not None and step.status == "asking" and step.attempt == attempt


def _model_succeeded(draft: Draft, item: inp.ModelSucceeded) -> None:
    if not _asking(draft, item.step, item.attempt):
        return
    reply = item.reply
    wrong = not_storable(reply)
    if wrong is not None:
        # Refused here, the attempt fails; refused by the journal, nothing could be recorded of it at all (E10).
        _model_failed(draft, item, broken_answer(draft, wrong), retryable=True)
        return
    if item.step in draft.scope.transcript.condensing and not reply.message.text.strip():
        # A summary of nothing would take the place of the whole conversation.
        _model_failed(
            draft, item, broken_answer(draft, "the summary of the conversation is empty"), retryable=True
        )
        return
    is_aside = draft.state.steps[item.step].tool is not None
    draft.record(
        ev.ModelCompleted(
            item.step,
            item.attempt,
            reply.message,
            reply.usage,
            reply.finish_reason,
            reply.model,
            reply.response_id,
            item.duration_ms,
        )
    )
    if is_aside:
        if joints.stage_of(item.step) is not None:
            passage.judged(draft, item)
        else:
            generated.written(draft, item)
        advance(draft)
    elif "after_model" in draft.scope.plan.hooks:
        passage.enter(draft, f"t{draft.state.turn}.a")
    else:
        _after_reply(draft, draft.events[-1], reply.message.text)


def _after_model(draft: Draft, subject: str) -> None:
    """What a model's answer asks for: calls, another turn, or the end."""
    reply = joints.answer_of(draft) or draft.scope.transcript.last_reply
    if reply is not None:
        _after_reply(draft, reply, joints.content(draft, subject))


def _after_reply(draft: Draft, reply: ev.Event, text: str) -> None:
    if not isinstance(reply, ev.ModelCompleted):
        return
    if reply.message.tool_calls:
        tool_calls.accept_all(draft, reply.message)
        advance(draft)
    elif reply.finish_reason == "length":
        advance(draft)
    else:
        _answer(draft, reply.step, reply.finish_reason, text)


def _answer(draft: Draft, step: str, finish_reason: str, text: str) -> None:
    plan = draft.scope.plan
    if answers.lacks_tools(draft, step):
        advance(draft)
        return
    text = "".join((*draft.scope.transcript.cut, text))
    if finish_reason == "error" or (finish_reason == "content_filter" and not text):
        error = ev.ErrorInfo(
            "E0204",
            "The provider withheld the answer, or broke it off",
            where=f"agent {plan.agent}, model {plan.model}",
            why=f"The provider ended the answer with {finish_reason}.",
            fix="Reword the prompt or the instructions, or use another model.",
        )
        draft.record(ev.ExecutionFailed(error, partial=text))
        return
    if plan.output is None:
        answers.complete(draft, text, finish_reason)
        advance(draft)
        return
    value, wrong = parse_answer(text)
    errors = (wrong,) if wrong else problems(plan.output.schema, value)
    if not errors:
        answers.complete(draft, value, finish_reason)
        advance(draft)
        return
    draft.record(ev.OutputRejected(step, errors))
    if draft.state.rejections > plan.output_retries:
        error = ev.ErrorInfo(
            "E0410",
            f"The answer does not fit the output type {plan.output.name} after {draft.state.rejections} tries",
            where=f"agent {plan.agent}",
            why="; ".join(errors),
            fix="Say in the instructions what each field holds, use a simpler type or a stronger model.",
        )
        draft.record(ev.ExecutionFailed(error, finish_reason="output_invalid", partial=text))
        return
    advance(draft)


def _model_errored(draft: Draft, item: inp.ModelErrored) -> None:
    if not _asking(draft, item.step, item.attempt):
        return
    error = item.error if not_storable(item.error) is None else ev.storable(item.error)
    _model_failed(
        draft, item, error, retryable=item.retryable, jitter=item.jitter, wait_ms=item.retry_after_ms
    )


def _model_failed(
    draft: Draft,
    item: inp.ModelSucceeded | inp.ModelErrored,
    error: ev.ErrorInfo,
    *,
    retryable: bool,
    jitter: float = 0.5,
    wait_ms: int | None = None,
) -> None:
    policy = draft.scope.plan.model_retry
    failures = draft.state.steps[item.step].failures + 1
    if not retryable or failures >= policy.max_attempts:
        if joints.stage_of(item.step) is not None:
            draft.record(ev.ModelFailed(item.step, item.attempt, error))
            passage.failed(draft, item.step, draft.state.steps[item.step].tool or "", error.what)
            return
        if generated.is_writing(item.step):
            draft.record(ev.ModelFailed(item.step, item.attempt, error))
            generated.failed(draft, item.step, error)
            advance(draft)
            return
        draft.end(ev.ExecutionFailed(error, partial=said(draft)))
        return
    due = retry_at(policy, failures, draft.now_ms, jitter, wait_ms)
    draft.record(ev.ModelFailed(item.step, item.attempt, error, due))


# Time, faults and people ---------------------------------------------------------------------------------


def _tick(draft: Draft, _item: inp.Tick) -> None:
    if not out_of_time(draft) and draft.state.phase == "active":
        take_up(draft)


def _recover(draft: Draft, item: inp.Recover) -> None:
    for step_id, step in list(draft.state.steps.items()):
        if step.status == "asking":
            model_lost(draft, item, step_id, step)
    advance(draft)


def _cancel(draft: Draft, item: inp.Cancel) -> None:
    draft.end(ev.ExecutionCancelled(item.by, item.reason))


def _pause(draft: Draft, item: inp.Pause) -> None:
    if draft.state.phase == "paused":
        return
    offered = [WithdrawTask(i) for i, s in draft.state.steps.items() if on_offer(s)]
    told = inbox.tell_children(draft.state, "pause")
    draft.record(ev.ExecutionPaused(item.by, item.reason), *offered, *told)


def _resume(draft: Draft, item: inp.Resume) -> None:
    if draft.state.phase == "active":
        return  # resuming what runs is what a restarted client does; it changes nothing
    draft.record(ev.ExecutionResumed(item.by), *inbox.tell_children(draft.state, "resume"))
    # A call that is still running is left alone by the engine; one that a crash took away is made again.
    draft.effects.extend(effects_of(draft.state))
    take_up(draft)
    advance(draft)


def _quarantine(draft: Draft, item: inp.Quarantine) -> None:
    if draft.state.phase == "quarantined":
        return
    offered = [WithdrawTask(i) for i, s in draft.state.steps.items() if on_offer(s)]
    draft.record(ev.ExecutionQuarantined(item.error), *offered)


def _task_succeeded(draft: Draft, item: inp.TaskSucceeded) -> None:
    step = tool_calls.succeed(draft, item)
    if is_function(step):
        _function_ended(draft, item.step, step, item.result)
    else:
        tool_calls.ended(draft, item.step)
    advance(draft)


def _function_ended(draft: Draft, step_id: str, step: Step, result: Any) -> None:
    """What a function's result is taken for, in the commit that records it."""
    if joints.stage_of(step_id) is not None:
        passage.function_ended(draft, step_id, step.tool or "", result)
    elif draft.state.team.strategy and draft.state.team.phase != "synthesis":
        MACHINES[draft.state.team.strategy].function_ended(draft, step.tool or "", result)
    else:
        answers.stop_decided(draft, result)


def _task_errored(draft: Draft, item: inp.TaskErrored) -> None:
    step = tool_calls.fail(draft, item)
    _given_up(draft, item.step, step, item.error)


def _task_silent(draft: Draft, item: inp.TaskSilent) -> None:
    step = tool_calls.lose(draft, item)
    if step is not None:
        _given_up(draft, item.step, step, ev.ErrorInfo("E0308", item.reason))


def _given_up(draft: Draft, step_id: str, step: Step, error: ev.ErrorInfo) -> None:
    """Go on after a failed attempt; a function for which no further one is made has not decided (E8)."""
    if is_function(step) and step_id not in draft.state.steps:
        why = " ".join(filter(None, (error.what, error.why)))
        if joints.stage_of(step_id) is not None:
            passage.failed(draft, step_id, step.tool or "", why)
        else:
            functions.fail(draft, step.tool or "", step.agent or "", why)
    advance(draft)


def _child_ended(draft: Draft, item: inp.ChildEnded) -> None:
    asked = draft.child(item.step)
    if asked is None or not children.end(draft, item):
        return
    failed = draft.event_of(ev.ChildFailed)
    if asked.call_id is not None:
        if failed is None:
            tool_calls.ended(draft, item.step)
    elif failed is not None:
        MACHINES[draft.state.team.strategy].child_failed(draft, failed)
    advance(draft)


def _decide(draft: Draft, item: inp.Decide) -> None:
    tool_calls.decide(draft, item)
    decided = draft.event_of(ev.ApprovalDecided)
    if decided is not None and joints.stage_of(decided.step) is not None:
        passage.answered(draft, decided)
    elif decided is not None and decided.step.endswith(".budget"):
        spending.answered(draft, decided)
    elif decided is not None and decided.answer is not None and "." in decided.step:
        tool_calls.ended(draft, decided.step)
    elif decided is not None and draft.state.team.strategy and draft.state.team.phase == "choosing":
        MACHINES[draft.state.team.strategy].answered(draft, decided)
    advance(draft)


def _go_on(draft: Draft, _subject: str) -> None:
    advance(draft)


def _after_result(draft: Draft, subject: str) -> None:
    answers.passes_on(draft, subject)
    advance(draft)


_WAYS: Ways = {
    "in": _go_on,
    "b": _go_on,
    "a": _after_model,
    "i": tool_calls.passed,
    "r": _after_result,
    "out": answers.take,
}
_DECIDE: dict[type[inp.Input], Callable[[Draft, Any], None]] = {
    inp.Begin: _begin,
    inp.TakeOver: continuing.take_over,
    inp.GoOn: _go_on_from,
    inp.AskLive: tool_calls.ask_live,
    inp.ModelSucceeded: _model_succeeded,
    inp.ModelErrored: _model_errored,
    inp.TakeTask: tool_calls.take,
    inp.TaskSucceeded: _task_succeeded,
    inp.TaskErrored: _task_errored,
    inp.TaskSilent: _task_silent,
    inp.ChildEnded: _child_ended,
    inp.Decide: _decide,
    inp.Cancel: _cancel,
    inp.Pause: _pause,
    inp.Resume: _resume,
    inp.BudgetBreached: _budget_breached,
    inp.Say: _say,
    inp.StopSoon: _stop_soon,
    inp.JoinSession: _join_session,
    inp.Tick: _tick,
    inp.Recover: _recover,
    inp.Quarantine: _quarantine,
}
