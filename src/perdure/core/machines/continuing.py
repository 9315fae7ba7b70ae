"""The turn machine's part about an execution that goes on from the events of another one (see `core.forking`).

The events come first, as one input; what is to be done from there on is decided by the next ones of the same commit, when
the conversation holds them.
"""

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.machines import inbox
from perdure.core.machines.attempts import effects_of, take_up
from perdure.core.machines.draft import Draft


def take_over(draft: Draft, item: inp.TakeOver) -> None:
    """Record the events of another execution; nothing is decided yet."""
    for event in item.events:
        draft.record(event)


def unknown(draft: Draft, item: inp.GoOn) -> list[inp.TaskSilent]:
    """The attempts that a worker of the other execution had: here nobody knows what became of them (E7)."""
    steps = draft.state.steps.items()
    return [inp.TaskSilent(i, s.attempt, item.reason) for i, s in steps if s.status == "leased"]


def go_on(draft: Draft, item: inp.GoOn) -> None:
    """Begin again everything that is open; what was paused or set aside goes on, since somebody wishes it."""
    state = draft.state
    if state.phase in ("paused", "quarantined"):
        draft.record(ev.ExecutionResumed(item.by), *inbox.tell_children(state, "resume"))
    if state.phase == "active":
        draft.effects[:] = effects_of(state)
        take_up(draft)
