"""The turn machine's part about what is said to a running execution.

A message is recorded when it comes and shown to the model in the next turn, behind the results of the turn's calls: in
order, none lost, none twice (its id is remembered). An answer that was on its way when a message came is not the last
word: the next turn has both. `interrupt` gives up the model call that is running, so that the next turn begins at once.
What is said to a team reaches the children that are open, and whoever speaks after them.
"""

from typing import Literal

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import AbortModel, AwaitSession, Effect, SayToChild, TellChild
from perdure.core.machines.draft import Draft
from perdure.core.machines.turn_state import TurnState
from perdure.core.model import Usage
from perdure.core.plan import ToolPlan


def say(draft: Draft, item: inp.Say) -> None:
    """Take a message in; the same id again changes nothing."""
    if item.id in draft.scope.transcript.said_ids:
        return
    steps = draft.state.steps.items()
    children = [SayToChild(i, s.child_id or "") for i, s in steps if s.status == "child"]
    draft.record(ev.MessageReceived(item.id, item.message, item.by, item.mode), *children)
    waiting = next((i for i, s in draft.state.steps.items() if s.status == "message"), None)
    if waiting is not None:
        step = draft.state.steps[waiting]
        draft.record(ev.MessagesTaken(waiting, step.call_id or "", step.tool or "", 1))
    elif item.mode == "interrupt":
        _interrupt(draft)


def _interrupt(draft: Draft) -> None:
    """Give up the turn's model call; a judge's, and tools, go on."""
    for step_id, step in list(draft.state.steps.items()):
        if step.status in ("asking", "retrying") and step.tool is None:
            # What waits to be asked again uses nothing.
            used = draft.may_use(step_id, step.attempt) if step.status == "asking" else Usage()
            draft.record(ev.ModelInterrupted(step_id, step.attempt, used), AbortModel(step_id))


def wait_for(draft: Draft, step: str, call_id: str, tool: ToolPlan) -> None:
    """A call of a tool that gives the next messages."""
    there = draft.state.unseen
    if there or not tool.blocking:
        draft.record(ev.MessagesTaken(step, call_id, tool.spec.name, min(there, tool.batch_size)))
    else:
        draft.record(ev.MessageAwaited(step, call_id, tool.spec.name, tool.batch_size))


def stop_soon(draft: Draft, item: inp.StopSoon) -> None:
    """Remember that the execution is to end after this turn, and tell its children."""
    if draft.state.stopping:
        return
    draft.record(ev.StopRequested(item.by, item.reason), *tell_children(draft.state, "stop"))


def tell_children(state: TurnState, what: Literal["pause", "resume", "stop"]) -> list[Effect]:
    """Pass something on to all children that are open."""
    return [
        TellChild(step_id, step.child_id or "", what)
        for step_id, step in state.steps.items()
        if step.status == "child"
    ]


def await_session(draft: Draft, execution_id: str) -> None:
    """Begin after another execution of the session."""
    draft.record(ev.SessionAwaited("session", execution_id), AwaitSession("session", execution_id))


def join_session(draft: Draft, item: inp.JoinSession) -> None:
    """The execution before has ended; late, it changes nothing."""
    step = draft.state.steps.get("session")
    if step is not None and step.child_id == item.execution_id:
        draft.record(ev.SessionJoined("session"))
