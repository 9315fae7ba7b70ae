"""Inputs: what can happen to an execution from outside, as data.

A machine's `apply` takes one input and answers with the events to record and the effects to perform. An input
is not stored; the events are. `jitter` is a random number from 0 up to 1, drawn by the caller.
"""

from typing import Any, Literal

import msgspec

from perdure.core.events import AnyEvent, ErrorInfo, Handover, HistoryRef, MessageMode, Origin, ParentRef
from perdure.core.messages import Message
from perdure.core.model import ModelReply, Usage


class Begin(msgspec.Struct, frozen=True):
    """Start the execution; the first input, once. `after` is the execution that must end before this one goes on."""

    plan_hash: str
    input: Message
    started_by: str
    deadline_ms: int | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    context: dict[str, Any] | None = None
    parent: ParentRef | None = None
    history: HistoryRef | None = None
    after: str | None = None
    budgets: tuple[str, ...] = ()
    origin: Origin | None = None


class TakeOver(msgspec.Struct, frozen=True):
    """Begin with events of another execution, as `core.forking` has adopted them. `GoOn` follows in the same commit."""

    events: tuple[AnyEvent, ...]


class GoOn(msgspec.Struct, frozen=True):
    """Take up what the events that were taken over leave open. An attempt of a worker is unknown here (E7)."""

    by: str
    reason: str


class AskLive(msgspec.Struct, frozen=True):
    """A replay has no recorded result for this call: a person is asked whether it may be made."""

    step: str


class BudgetBreached(msgspec.Struct, frozen=True):
    """A limit stands in the way of a step; see `events.BudgetReached`."""

    step: str
    attempt: int
    owner: str
    limit: str
    why: str
    action: str
    model: str = ""


class ChildEnded(msgspec.Struct, frozen=True):
    """A child execution has ended: with `output`, or with `error` when its `status` is not completed."""

    step: str
    child_id: str
    status: Literal["completed", "failed", "cancelled"]
    usage: Usage
    output: Any = None
    finish_reason: str = "stop"
    handover: Handover | None = None
    error: ErrorInfo | None = None


class ModelSucceeded(msgspec.Struct, frozen=True):
    """An attempt at a model step gave an answer."""

    step: str
    attempt: int
    reply: ModelReply
    duration_ms: int = 0


class ModelErrored(msgspec.Struct, frozen=True):
    """An attempt at a model step failed."""

    step: str
    attempt: int
    error: ErrorInfo
    retryable: bool
    jitter: float
    retry_after_ms: int | None = None


class TakeTask(msgspec.Struct, frozen=True):
    """A worker asks for a tool step."""

    step: str
    worker: str


class TaskSucceeded(msgspec.Struct, frozen=True):
    """A worker reports a result. `state` holds the changed keys of the shared state."""

    step: str
    epoch: int
    result: Any
    state: dict[str, Any] | None = None
    duration_ms: int = 0


class TaskErrored(msgspec.Struct, frozen=True):
    """A worker reports that the attempt failed."""

    step: str
    epoch: int
    error: ErrorInfo
    retryable: bool
    jitter: float


class TaskSilent(msgspec.Struct, frozen=True):
    """The lease of an attempt ran out."""

    step: str
    epoch: int
    reason: str


class Decide(msgspec.Struct, frozen=True):
    """A person decides about a call. `effect_hash`, when given, is the hash of what was looked at.

    `asked` are the arguments that the approval shows; `arguments` those that the person put in their place; `answer`
    is what was said to a question.
    """

    approval_id: str
    decision: Literal["approved", "rejected"]
    by: str
    channel: str
    asked: dict[str, Any]
    effect_hash: str | None = None
    reason: str = ""
    arguments: dict[str, Any] | None = None
    answer: Any = None


class Cancel(msgspec.Struct, frozen=True):
    """A person or a parent asks for the end."""

    by: str
    reason: str = ""


class Pause(msgspec.Struct, frozen=True):
    """A person asks that no new step begins."""

    by: str
    reason: str = ""


class Resume(msgspec.Struct, frozen=True):
    """A person asks to go on."""

    by: str


class Say(msgspec.Struct, frozen=True):
    """Somebody says something to the running execution. The same `id` again changes nothing."""

    id: str
    message: Message
    by: str
    mode: MessageMode = "enqueue"


class StopSoon(msgspec.Struct, frozen=True):
    """A person asks for the end after the turn that the execution is in."""

    by: str
    reason: str = ""


class JoinSession(msgspec.Struct, frozen=True):
    """The execution before this one in its session has ended."""

    execution_id: str


class Tick(msgspec.Struct, frozen=True):
    """A timer is due: the engine says only that time has passed; the machine knows for what."""


class Recover(msgspec.Struct, frozen=True):
    """The server was stopped in mid-step: what was in flight in it is gone."""

    reason: str


class Quarantine(msgspec.Struct, frozen=True):
    """The engine met repeated faults in this execution (E10)."""

    error: ErrorInfo


Input = (
    Begin
    | TakeOver
    | GoOn
    | AskLive
    | ModelSucceeded
    | ModelErrored
    | TakeTask
    | TaskSucceeded
    | TaskErrored
    | TaskSilent
    | ChildEnded
    | BudgetBreached
    | Decide
    | Cancel
    | Pause
    | Resume
    | Say
    | StopSoon
    | JoinSession
    | Tick
    | Recover
    | Quarantine
)
