"""An `apply` under way: what it may look at, and what it has decided so far."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from perdure.core import events as ev
from perdure.core.effects import AbortModel, Effect, StopChild, WithdrawTask
from perdure.core.errors import ToolError
from perdure.core.machines.turn_state import TurnState, copy_of, evolve
from perdure.core.messages import Message
from perdure.core.model import Usage
from perdure.core.plan import Plan
from perdure.core.plan_run import PlanRun
from perdure.core.requests import may_use
from perdure.core.tokens import Tokens, heuristic_tokens
from perdure.core.transcript import Transcript, in_context, opening, with_text

E = TypeVar("E", bound=ev.Event)


class Scope(msgspec.Struct, frozen=True):
    """What `apply` may look at beside the state: the pinned plan, the conversation so far, how tokens are counted."""

    execution_id: str
    plan: Plan
    transcript: Transcript
    tokens: Tokens = heuristic_tokens


class Applied(msgspec.Struct, frozen=True):
    """The outcome of an input: `events` are recorded first, `effects` performed afterwards (E1)."""

    state: TurnState
    events: tuple[ev.AnyEvent, ...] = ()
    effects: tuple[Effect, ...] = ()


class Draft:
    """An `apply` under way: the state being changed, and what has been decided so far.

    `ways` says what comes after a joint (see `joints`), by its kind.
    """

    __slots__ = ("effects", "events", "now_ms", "plan_run", "scope", "state", "ways")

    def __init__(self, scope: Scope, state: TurnState, now_ms: int, ways: "Ways") -> None:
        self.scope = scope
        self.ways = ways
        self.state = copy_of(state)
        self.now_ms = now_ms
        self.events: list[ev.AnyEvent] = []
        self.effects: list[Effect] = []
        self.plan_run: tuple[PlanRun, int] | None = None  # kept by `operations.run_of`

    def record(self, event: ev.AnyEvent, *effects: Effect) -> None:
        """Change the state by *event*, keep it for the journal, and ask for *effects* after the commit."""
        evolve(self.state, event)
        self.events.append(event)
        self.effects.extend(effects)

    def end(self, event: ev.AnyEvent) -> None:
        """Record the end of the execution, and stop what is still in flight (E9)."""
        effects = stop_effects(self.state)  # before: the end leaves no step open
        for step_id, step in list(self.state.steps.items()):
            if step.status == "asking" and self.scope.transcript.budgets:
                self.record(ev.ModelInterrupted(step_id, step.attempt, self.may_use(step_id, step.attempt)))
        self.record(event, *effects)

    def may_use(self, step: str, attempt: int) -> Usage:
        """The most that a model call in flight can use; nothing where no budget counts it."""
        return may_use(self.scope.plan, self.scope.transcript, step, attempt)

    def event_of(self, kind: type[E]) -> E | None:
        """The last event of a kind that this input has brought."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def transcript(self) -> Transcript:
        """The conversation with what this input has brought. It is a copy: take it where it is needed."""
        found = self.scope.transcript.copy()
        for event in self.events:
            found.fold(event, self.now_ms)
        return found

    def child(self, step: str) -> ev.ChildRequested | None:
        """The request of a child whose end may have been recorded by this input."""
        return self.scope.transcript.children.get(step)

    @staticmethod
    def opening(started: ev.ExecutionStarted) -> Message:
        """The first message of the execution that this input has begun."""
        return opening(started)

    def asked_with(self, text: str) -> Message:
        """The first message of the execution, when another text stands for what was asked."""
        started = self.event_of(ev.ExecutionStarted)
        if started is not None:
            return in_context(with_text(started.input, text), started.context)
        return self.scope.transcript.opening_with(text)


Ways = dict[str, Callable[[Draft, str], None]]


def stop_effects(state: TurnState) -> list[Effect]:
    """What must be stopped when the execution ends now (E9)."""
    found: list[Effect] = []
    for step_id, step in state.steps.items():
        if step.status == "asking":
            found.append(AbortModel(step_id))
        elif step.status in ("ready", "leased"):
            found.append(WithdrawTask(step_id))
        elif step.status == "child":
            found.append(StopChild(step_id, step.child_id or ""))
    return found


def stale_error(scope: Scope, step: str, why: str) -> ToolError:
    """E3: what a worker is told whose attempt is over."""
    return ToolError(
        "E0307",
        "The result is not taken: the attempt is over",
        where=f"execution {scope.execution_id}, step {step}",
        why=why,
        fix="Drop the work; another attempt has it, or it is settled.",
    )
