"""The events of the journal: what happened, one frozen type each.

An event is written once and never changed. `kind` (the tag) is its name in the journal, in the event stream
and on the page. A field may be added with a default; a kind may be added; nothing is ever renamed or removed,
because journals of every release must load for ever (`tests/replay`).

`BODY` names the one field of a kind that can be large (a message, a result, arguments). The journal stores a
large body once, under the hash of its content, and puts it back when the event is read; the machines never
notice.
"""

from typing import Any, ClassVar, Literal

import msgspec

from perdure.core.event_base import ErrorInfo, Event, Handover, HistoryRef, Origin, ParentRef, storable
from perdure.core.messages import Message
from perdure.core.model import FinishReason, Usage
from perdure.core.talk_events import (
    CallsPrefilled,
    CondenseRequested,
    MessageAwaited,
    MessageMode,
    MessageReceived,
    MessagesTaken,
    ModelInterrupted,
    SessionAwaited,
    SessionJoined,
    StopRequested,
)
from perdure.core.team_events import (
    AgentChosen,
    AnswerProposed,
    ArgumentsRequested,
    BudgetGranted,
    BudgetReached,
    ChildCompleted,
    ChildFailed,
    ChildRequested,
    ChildRole,
    FunctionRequested,
    GateDecided,
    GuardDecided,
    HandoffDecided,
    HookEnded,
    JudgeRequested,
    PlanAccepted,
    PlanFailed,
    PlanRejected,
    Replaced,
    StopDecided,
)

__all__ = [
    "EVENT_VERSION",
    "TERMINAL",
    "AgentChosen",
    "AnswerProposed",
    "AnswerRefused",
    "AnyEvent",
    "ApprovalDecided",
    "ApprovalKind",
    "ApprovalRequested",
    "ArgumentsRequested",
    "BudgetGranted",
    "BudgetReached",
    "CallsPrefilled",
    "ChildCompleted",
    "ChildFailed",
    "ChildRequested",
    "ChildRole",
    "CondenseRequested",
    "ErrorInfo",
    "Event",
    "ExecutionCancelled",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionPaused",
    "ExecutionQuarantined",
    "ExecutionResumed",
    "ExecutionStarted",
    "FunctionRequested",
    "GateDecided",
    "GuardDecided",
    "HandoffDecided",
    "Handover",
    "HistoryRef",
    "HookEnded",
    "JudgeRequested",
    "MessageAwaited",
    "MessageMode",
    "MessageReceived",
    "MessagesTaken",
    "ModelCompleted",
    "ModelFailed",
    "ModelInterrupted",
    "ModelLost",
    "ModelRequested",
    "Origin",
    "OutputRejected",
    "ParentRef",
    "PlanAccepted",
    "PlanFailed",
    "PlanRejected",
    "Recorded",
    "Replaced",
    "SessionAwaited",
    "SessionJoined",
    "StopDecided",
    "StopRequested",
    "TimerFired",
    "ToolCompleted",
    "ToolFailed",
    "ToolLost",
    "ToolRefused",
    "ToolRequested",
    "ToolStarted",
    "decode",
    "encode",
    "kind_of",
    "storable",
]

# The version of the events' meaning that a new execution begins under. It is stored in the execution's first event
# and stays its version for ever: a change of what an old event means is guarded by it.
EVENT_VERSION = 1


# Life cycle of an execution -----------------------------------------------------------------------------


class ExecutionStarted(Event, frozen=True, omit_defaults=True, tag="execution_started"):
    """Begun; always seq 1. `deadline_ms` is wall time, None without a limit.

    `v` is the `EVENT_VERSION` of the release that began it; absent means 1, whatever the release that reads it.
    `strategy` is set for a team that drives its agents by a machine of its own; `budgets` are the executions, from the
    root down, whose budgets this one counts in. `origin` is set when it was made out of another execution.
    """

    BODY: ClassVar[str | None] = "input"
    agent: str
    plan_hash: str
    input: Message
    started_by: str
    v: int = 1
    deadline_ms: int | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    context: dict[str, Any] | None = None
    strategy: str = ""
    parent: ParentRef | None = None
    history: HistoryRef | None = None
    budgets: tuple[str, ...] = ()
    origin: Origin | None = None


class ExecutionPaused(Event, frozen=True, omit_defaults=True, tag="execution_paused"):
    """A person asked that no new step begins; steps in flight may end."""

    by: str
    reason: str = ""


class ExecutionResumed(Event, frozen=True, omit_defaults=True, tag="execution_resumed"):
    """A person asked to go on, after a pause or out of quarantine."""

    by: str


class ExecutionCompleted(Event, frozen=True, omit_defaults=True, tag="execution_completed"):
    """Ended with an answer. `output` is a text, or the JSON value that fits the output type.

    `finish_reason` is stop, length, content_filter, termination (with the `reason`), gate, max_turns of a
    conversation, done (a person or a router said so), handoff, handover (with to whom), or stopped.
    """

    BODY: ClassVar[str | None] = "output"
    output: Any
    finish_reason: str = "stop"
    reason: str = ""
    handover: Handover | None = None


class ExecutionFailed(Event, frozen=True, omit_defaults=True, tag="execution_failed"):
    """Ended without an answer; `partial` is the last text of the agent, if any.

    `finish_reason` is error, max_turns, timeout or output_invalid.
    """

    error: ErrorInfo
    finish_reason: str = "error"
    partial: str = ""


class ExecutionCancelled(Event, frozen=True, omit_defaults=True, tag="execution_cancelled"):
    """Ended because somebody asked for it."""

    by: str
    reason: str = ""


class ExecutionQuarantined(Event, frozen=True, omit_defaults=True, tag="execution_quarantined"):
    """Set aside after repeated engine faults (E10); a person may resume it."""

    error: ErrorInfo


# Model steps --------------------------------------------------------------------------------------------


class ModelRequested(Event, frozen=True, omit_defaults=True, tag="model_requested"):
    """An attempt at a model step begins; written before the call is made (E1)."""

    step: str
    turn: int
    attempt: int = 1


class ModelCompleted(Event, frozen=True, omit_defaults=True, tag="model_completed"):
    """The recorded answer of a model step."""

    BODY: ClassVar[str | None] = "message"
    step: str
    attempt: int
    message: Message
    usage: Usage
    finish_reason: FinishReason
    model: str = ""
    response_id: str | None = None
    duration_ms: int = 0


class ModelFailed(Event, frozen=True, omit_defaults=True, tag="model_failed"):
    """An attempt failed; the next one begins at `retry_at_ms`, or never when it is None."""

    step: str
    attempt: int
    error: ErrorInfo
    retry_at_ms: int | None = None


class ModelLost(Event, frozen=True, omit_defaults=True, tag="model_lost"):
    """The server stopped in mid-call: what the attempt streamed is void.

    It is asked again at `retry_at_ms`, at once when that is None; an end of the execution in the same commit says that
    it was lost too often. `used` is the most that the attempt can have used, where a budget counts it.
    """

    step: str
    attempt: int
    reason: str
    retry_at_ms: int | None = None
    used: Usage = Usage()


class OutputRejected(Event, frozen=True, omit_defaults=True, tag="output_rejected"):
    """The answer does not fit the output type; `errors` go back to the model in the next turn."""

    step: str
    errors: tuple[str, ...]


class AnswerRefused(Event, frozen=True, omit_defaults=True, tag="answer_refused"):
    """The answer, or a call, is not taken, by whom it says; `feedback` goes back to the model in the next turn.

    Without feedback it is a call, whose own result says why.
    """

    step: str
    by: str
    feedback: str


# Tool steps ---------------------------------------------------------------------------------------------


class ToolRequested(Event, frozen=True, omit_defaults=True, tag="tool_requested"):
    """A call is accepted and ready for a worker. `key` is its idempotency key (E6)."""

    BODY: ClassVar[str | None] = "arguments"
    step: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    key: str


class ToolRefused(Event, frozen=True, omit_defaults=True, tag="tool_refused"):
    """A call that is not run (no such tool, bad arguments, limit, rejected); the model sees the error."""

    step: str
    call_id: str
    tool: str
    error: ErrorInfo


class ToolStarted(Event, frozen=True, omit_defaults=True, tag="tool_started"):
    """A worker was given the task; written before it is (E1). `epoch` counts the attempts from 1."""

    step: str
    epoch: int
    worker: str


class ToolCompleted(Event, frozen=True, omit_defaults=True, tag="tool_completed"):
    """The one recorded result of a call (E3). `state` holds the changed keys of the shared state."""

    BODY: ClassVar[str | None] = "result"
    step: str
    epoch: int
    result: Any
    state: dict[str, Any] | None = None
    duration_ms: int = 0


class ToolFailed(Event, frozen=True, omit_defaults=True, tag="tool_failed"):
    """An attempt failed; tried again at `retry_at_ms`, or given up (None) and told to the model."""

    step: str
    epoch: int
    error: ErrorInfo
    retry_at_ms: int | None = None


class ToolLost(Event, frozen=True, omit_defaults=True, tag="tool_lost"):
    """The worker fell silent: the attempt is unknown (E7), and the tool's policy decides.

    `policy` is retry (offered again at `retry_at_ms`, at once when that is None), ask (an approval) or fail (the model
    is told); fail too when a tool to be tried again was lost too often.
    """

    step: str
    epoch: int
    reason: str
    policy: Literal["retry", "ask", "fail"] = "retry"
    retry_at_ms: int | None = None


class TimerFired(Event, frozen=True, omit_defaults=True, tag="timer_fired"):
    """The wait before the next attempt of a tool step is over."""

    step: str
    due_ms: int


# Approvals ----------------------------------------------------------------------------------------------


# What a person is asked: may this call run, a question to be answered, who goes on, may this pass a
# guardrail, may more be used than the budget allows.
ApprovalKind = Literal["call", "question", "pick", "guardrail", "budget"]


class ApprovalRequested(Event, frozen=True, omit_defaults=True, tag="approval_requested"):
    """A person must decide about this call before it runs.

    `effect_hash` binds the decision to exactly this call (`core.ids.effect_hash`). `unknown_epoch` is set when
    the question is whether to run a call again whose earlier attempt may have taken effect. `asks` says what kind of
    approval it is; a question and a pick are decided with an answer that fits `answer_schema`.
    """

    BODY: ClassVar[str | None] = "arguments"
    step: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    approval_id: str
    effect_hash: str
    unknown_epoch: int | None = None
    asks: ApprovalKind = "call"
    answer_schema: dict[str, Any] | None = None


class ApprovalDecided(Event, frozen=True, omit_defaults=True, tag="approval_decided"):
    """The one decision. `arguments` is set when the person edited them; `effect_hash` is of what will run.

    `answer` is what the person said to a question.
    """

    BODY: ClassVar[str | None] = "arguments"
    step: str
    approval_id: str
    decision: Literal["approved", "rejected"]
    by: str
    channel: str
    effect_hash: str
    reason: str = ""
    arguments: dict[str, Any] | None = None
    answer: Any = None


AnyEvent = (
    ExecutionStarted
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionQuarantined
    | ModelRequested
    | ModelCompleted
    | ModelFailed
    | ModelLost
    | OutputRejected
    | ToolRequested
    | ToolRefused
    | ToolStarted
    | ToolCompleted
    | ToolFailed
    | ToolLost
    | TimerFired
    | ApprovalRequested
    | ApprovalDecided
    | FunctionRequested
    | ChildRequested
    | ChildCompleted
    | ChildFailed
    | AgentChosen
    | GateDecided
    | StopDecided
    | AnswerRefused
    | HandoffDecided
    | GuardDecided
    | HookEnded
    | Replaced
    | AnswerProposed
    | JudgeRequested
    | PlanAccepted
    | PlanRejected
    | PlanFailed
    | ArgumentsRequested
    | BudgetReached
    | BudgetGranted
    | CondenseRequested
    | MessageReceived
    | ModelInterrupted
    | MessageAwaited
    | MessagesTaken
    | StopRequested
    | SessionAwaited
    | SessionJoined
    | CallsPrefilled
)

TERMINAL = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(AnyEvent)


def kind_of(event: Event) -> str:
    """The event's name in the journal."""
    return str(event.__struct_config__.tag)


def encode(event: Event) -> bytes:
    """The event as JSON, tag included."""
    return _ENCODER.encode(event)


def decode(payload: bytes | str) -> AnyEvent:
    """The event of a JSON payload.

    Raises:
        msgspec.ValidationError: an unknown kind, or a payload that does not fit its kind.
    """
    event: AnyEvent = _DECODER.decode(payload)
    return event


class Recorded(msgspec.Struct, frozen=True):
    """An event with its place in the journal: `seq` counts from 1 in its execution, `at_ms` is wall time."""

    seq: int
    at_ms: int
    event: AnyEvent
