"""Attempts at steps: which are due, which are made again after a crash, which effects the state alone asks for."""

import msgspec

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import AwaitSession, CallModel, Effect, OfferTask, SayToChild, StartChild
from perdure.core.machines import inbox, joints
from perdure.core.machines.backoff import MOST_LOST, retake_at
from perdure.core.machines.draft import Draft
from perdure.core.machines.turn_state import Step, TurnState


def effects_of(state: TurnState) -> tuple[Effect, ...]:
    """Every effect whose step has no recorded outcome: what a restart or a resume performs again (E4)."""
    if state.phase == "paused":
        return tuple(inbox.tell_children(state, "pause"))
    if state.phase != "active":
        return ()
    found: list[Effect] = []
    for step_id, step in state.steps.items():
        if step.status == "asking":
            found.append(CallModel(step_id, step.attempt))
        elif on_offer(step):
            found.append(offer(step_id, step))
        elif step.status == "child":
            found += [StartChild(step_id, step.child_id or ""), SayToChild(step_id, step.child_id or "")]
        elif step.status == "session":
            found.append(AwaitSession(step_id, step.child_id or ""))
    if state.stopping:
        found += inbox.tell_children(state, "stop")
    return tuple(found)


def offer(step_id: str, step: Step) -> OfferTask:
    """The offer of an open step."""
    return OfferTask(step_id, step.tool or "", step.agent)


def said(draft: Draft) -> str:
    """The agent's last words. An answer of this very input is not in the transcript yet."""
    transcript = draft.scope.transcript
    answer = joints.answer_of(draft)
    if answer is not None:
        before = () if answer.message.tool_calls else transcript.cut
        return "".join((*before, answer.message.text))
    return "".join(transcript.cut) or transcript.last_text


def ask_again(draft: Draft, step_id: str, step: Step) -> None:
    """Begin the next attempt of a model step."""
    attempt = step.attempt + 1
    judge = draft.scope.transcript.judges.get(step_id)
    if judge is not None:
        draft.record(msgspec.structs.replace(judge, attempt=attempt), CallModel(step_id, attempt))
        return
    summary = draft.scope.transcript.condensing.get(step_id)
    if summary is not None:
        draft.record(msgspec.structs.replace(summary, attempt=attempt), CallModel(step_id, attempt))
        return
    arguments = draft.scope.transcript.writing.get(step_id)
    if arguments is not None:
        draft.record(msgspec.structs.replace(arguments, attempt=attempt), CallModel(step_id, attempt))
        return
    draft.record(ev.ModelRequested(step_id, draft.state.turn, attempt), CallModel(step_id, attempt))


def take_up(draft: Draft) -> None:
    """Begin the next attempt of every step whose wait is over."""
    for step_id, step in list(draft.state.steps.items()):
        if step.due_ms is not None and step.due_ms > draft.now_ms:
            continue
        if step.status == "retrying":
            ask_again(draft, step_id, step)
        elif step.status == "ready" and step.due_ms is not None:
            draft.record(ev.TimerFired(step_id, step.due_ms), offer(step_id, step))


def next_due_ms(state: TurnState) -> int | None:
    """When the execution must be given a `Tick`: the earliest end of a wait, or its deadline."""
    if state.over:
        return None
    first = state.deadline_ms
    if state.phase == "active":
        for step in state.steps.values():
            if step.due_ms is not None and (first is None or step.due_ms < first):
                first = step.due_ms
    return first


def model_lost(draft: Draft, item: inp.Recover, step_id: str, step: Step) -> None:
    """Ask again; at last give up, because a call that stops its server stops all other executions too."""
    losses = step.without_outcome
    used = draft.may_use(step_id, step.attempt)
    if losses >= MOST_LOST:
        error = ev.ErrorInfo(
            "E0405",
            f"The server stopped during {losses} attempts at the same model call",
            where=f"agent {draft.scope.plan.agent}, step {step_id}",
            why=item.reason,
            fix="Look in the server's log for what stops it, e.g. memory, then start the execution again.",
        )
        partial = said(draft)
        draft.record(ev.ModelLost(step_id, step.attempt, item.reason, used=used))
        draft.end(ev.ExecutionFailed(error, partial=partial))
        return
    due = retake_at(losses, draft.now_ms)
    draft.record(ev.ModelLost(step_id, step.attempt, item.reason, due, used))
    if due is None and draft.state.phase == "active":
        ask_again(draft, step_id, step)


def is_function(step: Step) -> bool:
    """Whether the step is a function's and not a tool call."""
    return (step.tool or "").startswith("@")


def on_offer(step: Step) -> bool:
    """Whether a worker may take the step now."""
    return step.status == "ready" and step.due_ms is None


def broken_answer(draft: Draft, why: str) -> ev.ErrorInfo:
    """What a model's answer fails with that the journal cannot hold."""
    return ev.ErrorInfo(
        "E0209",
        "The provider's answer holds a value that cannot be stored",
        where=f"agent {draft.scope.plan.agent}, model {draft.scope.plan.model}",
        why=why,
        fix="It is asked for again; if it stays, report it with the provider and model.",
    )


def out_of_time(draft: Draft) -> bool:
    """End the execution if its time is over; True: it was."""
    state, plan = draft.state, draft.scope.plan
    if state.deadline_ms is None or state.deadline_ms > draft.now_ms:
        return False
    error = ev.ErrorInfo(
        "E0404",
        "The execution ran out of time",
        where=f"agent {plan.agent}, turn {state.turn}",
        why=f"timeout_seconds is {plan.timeout_ms / 1000:g}" if plan.timeout_ms else "",
        fix="Raise timeout_seconds (waiting for people counts), or give the start a longer limit.",
    )
    draft.end(ev.ExecutionFailed(error, finish_reason="timeout", partial=said(draft)))
    return True
