"""`evolve`: how each recorded event changes the turn machine's state, by the tables of `turn_tables`.

Rule 1: the state changes by events alone. Folding `evolve` over an execution's journal gives the stored state
again, byte for byte (I9); no code of `apply` runs for that, so a new release can take over old executions.

Rule 2: every legal pair is in PHASES or STEPS. A pair that is absent is a fault of the engine and raises E0414.

Rule 3: the state is small. It holds open steps, counters and the tools' shared state, never the transcript.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.errors import ExecutionError
from perdure.core.machines.teams.tables import Team, follow
from perdure.core.machines.turn_tables import (
    PHASES,
    STATE_VERSION,
    STEPS,
    Phase,
    Step,
    StepStatus,
    TurnState,
)

__all__ = [
    "PHASES",
    "STATE_VERSION",
    "STEPS",
    "Phase",
    "Step",
    "StepStatus",
    "TurnState",
    "copy_of",
    "decode_state",
    "encode_state",
    "evolve",
]


def _illegal(state: TurnState, event: ev.Event, detail: str) -> ExecutionError:
    return ExecutionError(
        "E0414",
        f"The event {ev.kind_of(event)} does not fit the state",
        where=f"phase {state.phase}, turn {state.turn}: {detail}",
        why="Rule 2 of the turn machine: a pair that is not in its tables is a fault of the engine.",
        fix="Please report it with the output of `perdure show ID -o json`; the journal is unharmed.",
    )


def _newer(what: str, version: int) -> ExecutionError:
    return ExecutionError(
        "E0414",
        f"{what} has version {version}, newer than {STATE_VERSION}",
        fix="Run the version of perdure that wrote it, or a newer one.",
    )


def _before(state: TurnState, step_id: str, event: ev.Event) -> Step | None:
    step = state.steps.get(step_id)
    key = (step.status if step else None, type(event))
    if key not in STEPS:
        raise _illegal(state, event, f"step {step_id} is {key[0] or 'not open'}")
    return step


def _started(state: TurnState, event: ev.ExecutionStarted) -> None:
    if event.v > STATE_VERSION:
        raise _newer("The journal", event.v)
    state.v = event.v
    state.deadline_ms = event.deadline_ms
    state.shared = dict(event.context or {})
    state.settled = True
    state.budgeted = bool(event.budgets)
    if event.strategy:
        state.team = Team(event.strategy, "ready")
    if event.origin is not None and event.origin.kind == "replay":
        state.replay = event.origin.on_missing


def _model_requested(state: TurnState, event: ev.ModelRequested) -> None:
    step = _before(state, event.step, event)
    state.turn = event.turn
    state.settled = False
    state.unseen = 0
    state.steps[event.step] = Step("asking", event.attempt, step.failures if step else 0)


def _aside_requested(state: TurnState, event: ev.JudgeRequested | ev.ArgumentsRequested) -> None:
    step = _before(state, event.step, event)
    failures = step.failures if step else 0
    about = f"@guard.{event.guard}" if isinstance(event, ev.JudgeRequested) else event.tool
    state.steps[event.step] = Step("asking", event.attempt, failures, tool=about)


def _plan_failed(state: TurnState, _event: ev.PlanFailed) -> None:
    state.steps = {}


def _condense_requested(state: TurnState, event: ev.CondenseRequested) -> None:
    step = _before(state, event.step, event)
    failures = step.failures if step else 0
    state.steps[event.step] = Step("asking", event.attempt, failures, tool="@condense")
    state.condensed = event.turn


def _hook_ended(state: TurnState, event: ev.HookEnded) -> None:
    if event.hook == "@before_model":
        state.prepared = event.turn


def _model_completed(state: TurnState, event: ev.ModelCompleted) -> None:
    step = _before(state, event.step, event)
    del state.steps[event.step]
    state.usage = state.usage.plus(event.usage)
    if step is None or step.tool is None:  # not a judge's
        # Calls of the same answer open their steps in the events that follow in the same commit.
        state.settled = True


def _model_failed(state: TurnState, event: ev.ModelFailed) -> None:
    step = _before(state, event.step, event)
    failures = (step.failures if step else 0) + 1
    tool = step.tool if step else None
    state.steps[event.step] = Step("retrying", event.attempt, failures, event.retry_at_ms, tool=tool)


def _model_lost(state: TurnState, event: ev.ModelLost) -> None:
    step = _before(state, event.step, event)
    failures = step.failures if step else 0
    tool = step.tool if step else None
    state.steps[event.step] = Step("retrying", event.attempt, failures, event.retry_at_ms, tool=tool)


def _output_rejected(state: TurnState, event: ev.OutputRejected) -> None:
    _before(state, event.step, event)
    state.rejections += 1


def _answer_refused(state: TurnState, event: ev.AnswerRefused) -> None:
    _before(state, event.step, event)
    state.refusals = {**state.refusals, event.by: state.refusals.get(event.by, 0) + 1}


def _tool_refused(state: TurnState, event: ev.ToolRefused) -> None:
    _before(state, event.step, event)


def _tool_requested(state: TurnState, event: ev.ToolRequested) -> None:
    _before(state, event.step, event)
    state.calls = {**state.calls, event.tool: state.calls.get(event.tool, 0) + 1}
    state.steps[event.step] = Step("ready", tool=event.tool, call_id=event.call_id)


def _tool_started(state: TurnState, event: ev.ToolStarted) -> None:
    step = _before(state, event.step, event)
    if step is None or event.epoch != step.attempt + 1:
        raise _illegal(state, event, f"epoch {event.epoch} does not follow")
    state.steps[event.step] = msgspec.structs.replace(
        step, status="leased", attempt=event.epoch, due_ms=None, worker=event.worker
    )


def _fence(
    state: TurnState, step: Step | None, event: ev.ToolCompleted | ev.ToolFailed | ev.ToolLost
) -> Step:
    # E3: whatever slipped past the engine's own check, a result of an old epoch is never recorded.
    if step is None or step.attempt != event.epoch:
        raise _illegal(state, event, f"E3 one winner: epoch {event.epoch} does not hold the lease")
    return step


def _tool_completed(state: TurnState, event: ev.ToolCompleted) -> None:
    step = _before(state, event.step, event)
    _fence(state, step, event)
    del state.steps[event.step]
    if event.state:
        state.shared = {**state.shared, **event.state}


def _tool_failed(state: TurnState, event: ev.ToolFailed) -> None:
    step = _before(state, event.step, event)
    step = _fence(state, step, event)
    if event.retry_at_ms is None:
        del state.steps[event.step]
    else:
        state.steps[event.step] = msgspec.structs.replace(
            step, status="ready", failures=step.failures + 1, due_ms=event.retry_at_ms, worker=None
        )


def _tool_lost(state: TurnState, event: ev.ToolLost) -> None:
    step = _before(state, event.step, event)
    step = _fence(state, step, event)
    if event.policy == "fail":
        del state.steps[event.step]
    else:
        state.steps[event.step] = msgspec.structs.replace(
            step, status="ready", due_ms=event.retry_at_ms, worker=None
        )


def _timer_fired(state: TurnState, event: ev.TimerFired) -> None:
    step = _before(state, event.step, event)
    if step is None or step.due_ms != event.due_ms:
        raise _illegal(state, event, "the timer is not set")
    state.steps[event.step] = msgspec.structs.replace(step, due_ms=None)


def _approval_requested(state: TurnState, event: ev.ApprovalRequested) -> None:
    step = _before(state, event.step, event)
    asks = None if event.asks == "call" else event.asks
    base = step or Step("approval", tool=event.tool, call_id=event.call_id, asks=asks)
    if event.asks == "question":
        state.calls = {**state.calls, event.tool: state.calls.get(event.tool, 0) + 1}
    state.steps[event.step] = msgspec.structs.replace(
        base,
        status="approval",
        due_ms=None,
        approval_id=event.approval_id,
        effect_hash=event.effect_hash,
        unknown_epoch=event.unknown_epoch,
    )


def _approval_decided(state: TurnState, event: ev.ApprovalDecided) -> None:
    step = _before(state, event.step, event)
    if step is None or step.approval_id != event.approval_id:
        raise _illegal(state, event, "I7: the decision is about another approval")
    if event.decision == "approved" and step.unknown_epoch is not None:
        # The call was requested before; it is offered again under the same key and the next epoch.
        state.steps[event.step] = msgspec.structs.replace(
            step, status="ready", approval_id=None, effect_hash=None, unknown_epoch=None
        )
    else:
        del state.steps[event.step]


def _function_requested(state: TurnState, event: ev.FunctionRequested) -> None:
    _before(state, event.step, event)
    state.steps[event.step] = Step("ready", tool=event.function, agent=event.agent)


def _child_requested(state: TurnState, event: ev.ChildRequested) -> None:
    _before(state, event.step, event)
    if event.tool:
        state.calls = {**state.calls, event.tool: state.calls.get(event.tool, 0) + 1}
    state.steps[event.step] = Step(
        "child",
        tool=event.tool or None,
        call_id=event.call_id,
        agent=event.agent,
        child_id=event.child_id,
    )


def _child_ended(state: TurnState, event: ev.ChildCompleted | ev.ChildFailed) -> None:
    _before(state, event.step, event)
    del state.steps[event.step]
    state.usage = state.usage.plus(event.usage)


def _message_received(state: TurnState, _event: ev.MessageReceived) -> None:
    state.unseen += 1


def _model_interrupted(state: TurnState, event: ev.ModelInterrupted) -> None:
    _before(state, event.step, event)
    del state.steps[event.step]
    state.settled = True


def _message_awaited(state: TurnState, event: ev.MessageAwaited) -> None:
    _before(state, event.step, event)
    state.calls = {**state.calls, event.tool: state.calls.get(event.tool, 0) + 1}
    state.steps[event.step] = Step("message", tool=event.tool, call_id=event.call_id)


def _messages_taken(state: TurnState, event: ev.MessagesTaken) -> None:
    if _before(state, event.step, event) is None:
        state.calls = {**state.calls, event.tool: state.calls.get(event.tool, 0) + 1}
    state.steps.pop(event.step, None)
    state.unseen -= event.count


def _budget_reached(state: TurnState, event: ev.BudgetReached) -> None:
    step = _before(state, event.step, event)
    del state.steps[event.step]
    if step is not None and step.tool is None:
        state.settled = True


def _stop_requested(state: TurnState, _event: ev.StopRequested) -> None:
    state.stopping = True


def _session_awaited(state: TurnState, event: ev.SessionAwaited) -> None:
    _before(state, event.step, event)
    state.steps[event.step] = Step("session", child_id=event.execution_id)


def _calls_prefilled(state: TurnState, _event: ev.CallsPrefilled) -> None:
    state.prefilled = True


def _session_joined(state: TurnState, event: ev.SessionJoined) -> None:
    _before(state, event.step, event)
    del state.steps[event.step]


def _stop_decided(state: TurnState, event: ev.StopDecided) -> None:
    state.stop_asked = event.turn


def _end(state: TurnState, _event: ev.Event) -> None:
    state.steps = {}
    state.settled = False


def _nothing(_state: TurnState, _event: ev.Event) -> None:
    """The phase table has said it all."""


_EVOLVE: dict[type[ev.Event], Callable[[TurnState, Any], None]] = {
    ev.ExecutionStarted: _started,
    ev.ExecutionPaused: _nothing,
    ev.ExecutionResumed: _nothing,
    ev.ExecutionQuarantined: _nothing,
    ev.ExecutionCompleted: _end,
    ev.ExecutionFailed: _end,
    ev.ExecutionCancelled: _end,
    ev.ModelRequested: _model_requested,
    ev.ModelCompleted: _model_completed,
    ev.ModelFailed: _model_failed,
    ev.ModelLost: _model_lost,
    ev.OutputRejected: _output_rejected,
    ev.AnswerRefused: _answer_refused,
    ev.JudgeRequested: _aside_requested,
    ev.CondenseRequested: _condense_requested,
    ev.GuardDecided: _nothing,
    ev.HookEnded: _hook_ended,
    ev.Replaced: _nothing,
    ev.AnswerProposed: _nothing,
    ev.HandoffDecided: _nothing,
    ev.MessageReceived: _message_received,
    ev.ModelInterrupted: _model_interrupted,
    ev.MessageAwaited: _message_awaited,
    ev.MessagesTaken: _messages_taken,
    ev.StopRequested: _stop_requested,
    ev.SessionAwaited: _session_awaited,
    ev.SessionJoined: _session_joined,
    ev.CallsPrefilled: _calls_prefilled,
    ev.BudgetReached: _budget_reached,
    ev.BudgetGranted: _nothing,
    ev.ToolRefused: _tool_refused,
    ev.ToolRequested: _tool_requested,
    ev.ToolStarted: _tool_started,
    ev.ToolCompleted: _tool_completed,
    ev.ToolFailed: _tool_failed,
    ev.ToolLost: _tool_lost,
    ev.TimerFired: _timer_fired,
    ev.ApprovalRequested: _approval_requested,
    ev.ApprovalDecided: _approval_decided,
    ev.FunctionRequested: _function_requested,
    ev.ChildRequested: _child_requested,
    ev.ChildCompleted: _child_ended,
    ev.ChildFailed: _child_ended,
    ev.AgentChosen: _nothing,
    ev.GateDecided: _nothing,
    ev.StopDecided: _stop_decided,
    ev.PlanAccepted: _nothing,
    ev.PlanRejected: _nothing,
    ev.PlanFailed: _plan_failed,
    ev.ArgumentsRequested: _aside_requested,
}


def copy_of(state: TurnState) -> TurnState:
    """A copy that `evolve` may change; steps are frozen, so their table is all that must be copied."""
    return msgspec.structs.replace(state, steps=dict(state.steps))


def evolve(state: TurnState, event: ev.Event) -> None:
    """Change *state* in place as *event* says.

    Raises:
        ExecutionError: E0414, the pair is not in the tables.
    """
    phase = PHASES.get((state.phase, type(event)))
    if phase is None:
        raise _illegal(state, event, "E5 terminal is final" if state.over else "not in PHASES")
    if state.team.strategy:
        team = follow(state.team, event)
        if team is None:
            raise _illegal(state, event, f"the team's phase is {state.team.phase}")
        state.team = team
    state.phase = phase
    _EVOLVE[type(event)](state, event)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(TurnState)


class _Versioned(msgspec.Struct):
    v: int = 1


_VERSION = msgspec.json.Decoder(_Versioned)


def encode_state(state: TurnState) -> bytes:
    """The state as JSON."""
    return _ENCODER.encode(state)


def decode_state(raw: bytes) -> TurnState:
    """The state of its JSON.

    Raises:
        ExecutionError: E0414 when it was written by a newer version.
    """
    # The version first: what a newer one added need not be decodable here.
    version = _VERSION.decode(raw).v
    if version > STATE_VERSION:
        raise _newer("The state", version)
    return _DECODER.decode(raw)
