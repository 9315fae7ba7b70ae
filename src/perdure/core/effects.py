"""Effects: what a machine asks the engine to do next, as data.

The engine performs an effect only after the events of the same `apply` are durable (E1). An effect is derived
from the state alone: after a crash, `effects_of(state)` of the machine gives again every effect whose step has
no recorded result.
"""

from typing import Literal

import msgspec


class CallModel(msgspec.Struct, frozen=True):
    """Make this attempt of a model step; a call of the step that is running is left alone."""

    step: str
    attempt: int


class AbortModel(msgspec.Struct, frozen=True):
    """Stop the call of a model step if it is still running; its result will not be taken."""

    step: str


class OfferTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """Offer a step to the workers. `agent` is whose function it is, when it is not the execution's own agent's."""

    step: str
    tool: str
    agent: str | None = None


class WithdrawTask(msgspec.Struct, frozen=True):
    """Offer the step no longer, and tell the worker that has it to stop."""

    step: str


class StartChild(msgspec.Struct, frozen=True):
    """Begin the child execution of this step, unless it was begun before; see to it that its end is heard of."""

    step: str
    child_id: str


class StopChild(msgspec.Struct, frozen=True):
    """Cancel the child execution of this step (E9)."""

    step: str
    child_id: str


class TellChild(msgspec.Struct, frozen=True):
    """Pass on to the child execution of this step what its parent was told: to pause, to go on, or to stop soon."""

    step: str
    child_id: str
    what: Literal["pause", "resume", "stop"]


class SayToChild(msgspec.Struct, frozen=True):
    """Pass on to the child execution of this step the messages that it has not been given yet."""

    step: str
    child_id: str


class AwaitSession(msgspec.Struct, frozen=True):
    """Give `JoinSession` when that execution has ended."""

    step: str
    execution_id: str


Effect = (
    CallModel
    | AbortModel
    | OfferTask
    | WithdrawTask
    | StartChild
    | StopChild
    | TellChild
    | SayToChild
    | AwaitSession
)
