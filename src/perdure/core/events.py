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

from perdure.core.messages import Message
from perdure.core.model import FinishReason, Usage

# The version of the events' meaning that a new execution begins under. It is stored in the execution's first event
# and stays its version for ever: a change of what an old event means is guarded by it.
EVENT_VERSION = 1


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as recorded: the five fields of `PerdureError`."""

    code: str
    what: str
    where: str = ""
    why: str = ""
    fix: str = ""


def storable(error: ErrorInfo) -> ErrorInfo:
    """The error with every character that no UTF-8 text can hold replaced by a question mark."""
    texts = (error.code, error.what, error.where, error.why, error.fix)
    return ErrorInfo(*(text.encode("utf-8", "replace").decode() for text in texts))


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """Base of all events."""

    BODY: ClassVar[str | None] = None


class ParentRef(msgspec.Struct, frozen=True):
    """Whose child an execution is, and of which of its steps; `depth` is 1 for a child of a root."""

    execution_id: str
    step: str
    depth: int = 1


class HistoryRef(msgspec.Struct, frozen=True):
    """Where a conversation goes on from, without a copy of it.

    `kind` is team (what the parent's agents said so far, `upto` of them), handoff (the parent's own conversation, `upto`
    messages of it) or session (all of another execution).
    """

    execution_id: str
    kind: Literal["team", "handoff", "session"]
    upto: int = 0


class Handover(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who goes on in place of the agent that ends, and what it is told."""

    agent: str
    note: str = ""


# Life cycle of an execution -----------------------------------------------------------------------------


class ExecutionStarted(Event, frozen=True, omit_defaults=True, tag="execution_started"):
    """Begun; always seq 1. `deadline_ms` is wall time, None without a limit.

    `v` is the `EVENT_VERSION` of the release that began it; absent means 1, whatever the release that reads it.
    `strategy` is set for a team that drives its agents by a machine of its own.
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
    conversation, done (a person or a router said so), handoff, or handover (with to whom).
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
    it was lost too often.
    """

    step: str
    attempt: int
    reason: str
    retry_at_ms: int | None = None


class OutputRejected(Event, frozen=True, omit_defaults=True, tag="output_rejected"):
    """The answer does not fit the output type; `errors` go back to the model in the next turn."""

    step: str
    errors: tuple[str, ...]


class AnswerRefused(Event, frozen=True, omit_defaults=True, tag="answer_refused"):
    """The answer is not taken, by whom it says; `feedback` goes back to the model in the next turn."""

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


# What a person is asked: may this call run, a question to be answered, who goes on.
ApprovalKind = Literal["call", "question", "pick"]


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


# Functions on workers -----------------------------------------------------------------------------------


class FunctionRequested(Event, frozen=True, omit_defaults=True, tag="function_requested"):
    """A worker is asked to run a function of the agent's, such as a router; its attempts are those of a tool step.

    `agent` is whose function it is. What is decided by its result is said by another event of the same commit.
    """

    BODY: ClassVar[str | None] = "arguments"
    step: str
    function: str
    agent: str
    arguments: dict[str, Any]
    key: str


# Child executions ---------------------------------------------------------------------------------------

ChildRole = Literal["member", "router", "planner", "fallback", "tool", "handoff"]


class ChildRequested(Event, frozen=True, omit_defaults=True, tag="child_requested"):
    """A child execution begins; its id is decided here, so that it begins once.

    `plan_hash` is None for an agent by name: what is deployed when it begins. `call_id` names the tool call that asked
    for it. The child sees `history`, then `input`.
    """

    BODY: ClassVar[str | None] = "input"
    step: str
    child_id: str
    agent: str
    input: Message
    plan_hash: str | None = None
    role: ChildRole = "member"
    call_id: str | None = None
    tool: str = ""
    history: HistoryRef | None = None


class ChildCompleted(Event, frozen=True, omit_defaults=True, tag="child_completed"):
    """The child's answer, once. `usage` is that of the child and all below it."""

    BODY: ClassVar[str | None] = "output"
    step: str
    output: Any
    finish_reason: str = "stop"
    usage: Usage = Usage()
    handover: Handover | None = None


class ChildFailed(Event, frozen=True, omit_defaults=True, tag="child_failed"):
    """The child ended without an answer; `status` is failed or cancelled."""

    step: str
    error: ErrorInfo
    status: Literal["failed", "cancelled"] = "failed"
    usage: Usage = Usage()


# Teams --------------------------------------------------------------------------------------------------


class AgentChosen(Event, frozen=True, omit_defaults=True, tag="agent_chosen"):
    """Who goes on. `by` is order, draw, router, person, handover, condition, or synthesis (the team's own model).

    `last`: that agent's answer is the team's.
    """

    agent: str
    by: str
    reason: str = ""
    last: bool = False


class GateDecided(Event, frozen=True, omit_defaults=True, tag="gate_decided"):
    """Whether the pipeline goes on after this agent."""

    agent: str
    open: bool
    reason: str = ""


class StopDecided(Event, frozen=True, omit_defaults=True, tag="stop_decided"):
    """Whether a stop condition that is a function ends the loop after this turn."""

    turn: int
    stop: bool


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
