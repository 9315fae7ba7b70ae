"""Effects: what a machine asks the engine to do next, as data.

The engine performs an effect only after the events of the same `apply` are durable (E1). An effect is derived
from the state alone: after a crash, `effects_of(state)` of the machine gives again every effect whose step has
no recorded result.
"""

import msgspec


class CallModel(msgspec.Struct, frozen=True):
    """Make this attempt of a model step; a call of the step that is running is left alone."""

    step: str
    attempt: int


class AbortModel(msgspec.Struct, frozen=True):
    """Stop the call of a model step if it is still running; its result will not be taken."""

    step: str


class OfferTask(msgspec.Struct, frozen=True):
    """Offer a tool step to the workers."""

    step: str
    tool: str


class WithdrawTask(msgspec.Struct, frozen=True):
    """Offer the step no longer, and tell the worker that has it to stop."""

    step: str


Effect = CallModel | AbortModel | OfferTask | WithdrawTask
