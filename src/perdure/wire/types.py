"""Request and response bodies, one type each. `WIRE_VERSION` goes with every answer as `Perdure-Wire`."""

from typing import Any, Literal

import msgspec

from perdure.core.definition import AgentDefinition
from perdure.core.messages import MediaPart
from perdure.core.model import Usage


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request body: a field that is not known is refused, not ignored."""


class Answer(msgspec.Struct, frozen=True):
    """A response body: every field is always written."""


# Agents -------------------------------------------------------------------------------------------------


class PlanBody(Body, frozen=True):
    """POST /agents/plan: compile without storing."""

    definition: AgentDefinition


class PlanAnswer(Answer, frozen=True):
    """The compiled plan and what it needs: tools served by workers, the provider's readiness."""

    agent: str
    plan_hash: str
    plan: dict[str, Any]
    worker_tools: list[str]
    model_problem: dict[str, Any] | None


class DeployBody(Body, frozen=True):
    """POST /agents: store and make current under the agent's name."""

    definition: AgentDefinition


class AgentAnswer(Answer, frozen=True):
    """A deployed agent."""

    agent: str
    plan_hash: str
    version: int
    deployed_at_ms: int


class AgentsAnswer(Answer, frozen=True):
    """GET /agents."""

    agents: list[AgentAnswer]


# Executions ---------------------------------------------------------------------------------------------


class StartBody(Body, frozen=True):
    """POST /executions: start a definition, or a deployed agent by name (exactly one of the two).

    The same `idempotency_key` with the same request gives the same execution; with another request E0413.
    """

    prompt: str
    definition: AgentDefinition | None = None
    agent: str | None = None
    media: list[MediaPart] = []
    context: dict[str, Any] | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    timeout_ms: int | None = None


class StartAnswer(Answer, frozen=True):
    """The execution; `created` is false when the idempotency key named one that existed.

    `worker_tools` are the queue names (`agent.tool`) that must be served by a worker.
    """

    execution_id: str
    agent: str
    plan_hash: str
    created: bool
    worker_tools: list[str]


class WaitInfo(Answer, frozen=True, omit_defaults=True):
    """One thing that an execution waits for; `kind` is approval, timer, worker, model, tool or child.

    `execution_id` and `agent` say who waits: the execution itself, or one of its children, or of theirs. Of a child,
    `execution_id` says whose it is, `agent`, `child_id` and `child_status` which it is and what it is doing. `asks` says
    what kind an approval is (absent: a call); `answer_schema` what an answer to it must fit.
    """

    kind: str
    step: str
    tool: str | None = None
    approval_id: str | None = None
    arguments: dict[str, Any] | None = None
    effect_hash: str | None = None
    due_ms: int | None = None
    worker: str | None = None
    attempt: int = 0
    agent: str | None = None
    child_id: str | None = None
    execution_id: str = ""
    child_status: str | None = None
    asks: str | None = None
    answer_schema: dict[str, Any] | None = None


class ExecutionAnswer(Answer, frozen=True):
    """GET /executions/{id}: the execution as it is now. `output`, `error` and `finish_reason` once it has ended.

    `waits` has what the executions below it wait for as well (not in a list of executions). `reason` says more of why
    it ended; `parent_id` whose child it is.
    """

    execution_id: str
    agent: str
    plan_hash: str
    title: str
    status: str
    turn: int
    last_seq: int
    created_at_ms: int
    updated_at_ms: int
    started_by: str
    usage: Usage
    waits: list[WaitInfo]
    output: Any
    finish_reason: str | None
    error: dict[str, Any] | None
    session_id: str | None
    idempotency_key: str | None
    parent_id: str | None
    reason: str


class ExecutionsAnswer(Answer, frozen=True):
    """GET /executions: newest first; give `next` as `before` for the next page."""

    executions: list[ExecutionAnswer]
    next: str | None


class EventRecord(Answer, frozen=True):
    """An event of the journal. `event` has its `kind` and fields as in `core.events`."""

    execution_id: str
    seq: int
    at_ms: int
    event: dict[str, Any]


class EventsAnswer(Answer, frozen=True):
    """GET /executions/{id}/events."""

    events: list[EventRecord]
    last_seq: int


class DeltaRecord(Answer, frozen=True):
    """A piece of a model's answer in flight (stream only, without an id).

    A reader joins the pieces of one (`step`, `attempt`, `kind_`) at `offset`; a higher attempt begins anew.
    """

    execution_id: str
    step: str
    attempt: int
    part: Literal["text", "reasoning"]
    offset: int
    text: str


class ControlBody(Body, frozen=True):
    """POST /executions/{id}/cancel, pause, resume."""

    reason: str = ""
    by: str | None = None


class MessageBody(Body, frozen=True):
    """POST /executions/{id}/messages: say something to a running execution.

    The same `id` again changes nothing; without one every call is a new message. `interrupt` gives up the model call
    that is running, so that the message is seen at once.
    """

    text: str
    id: str | None = None
    by: str | None = None
    mode: Literal["enqueue", "interrupt"] = "enqueue"


# Approvals ----------------------------------------------------------------------------------------------


class ApprovalAnswer(Answer, frozen=True):
    """An approval: what exactly would be done, and the decision once there is one.

    `kind` is call (may this run?), question (a person answers), pick (a person chooses who goes on), guardrail (may this
    pass?) or budget (may more be used?); all but the first are decided with an `answer` that fits `answer_schema`.
    """

    approval_id: str
    execution_id: str
    step: str
    agent: str
    tool: str
    arguments: dict[str, Any]
    effect_hash: str
    requested_at_ms: int
    unknown_epoch: int | None
    decision: str | None
    decided_at_ms: int | None
    decided_by: str | None
    channel: str | None
    reason: str
    decided_arguments: dict[str, Any] | None
    kind: str
    answer_schema: dict[str, Any] | None
    answer: Any


class ApprovalsAnswer(Answer, frozen=True):
    """GET /approvals."""

    approvals: list[ApprovalAnswer]


class DecisionBody(Body, frozen=True):
    """POST /approvals/{id}/decision. `effect_hash` of what was looked at; `arguments` when they were edited.

    `answer` goes with the approval of a question.
    """

    decision: Literal["approved", "rejected"]
    effect_hash: str | None = None
    reason: str = ""
    arguments: dict[str, Any] | None = None
    by: str | None = None
    channel: str = "api"
    answer: Any = None


# Workers ------------------------------------------------------------------------------------------------


class TaskRecord(Answer, frozen=True):
    """A task for a worker. Hand `token` back with the result; it is good for this attempt alone."""

    execution_id: str
    step: str
    epoch: int
    token: str
    agent: str
    tool: str
    call_id: str
    arguments: dict[str, Any]
    idempotency_key: str
    lease_ms: int
    deadline_ms: int | None
    timeout_ms: int | None
    state: dict[str, Any]
    session_id: str | None


class ResultRecord(Body, frozen=True):
    """The outcome of one attempt: `result`, or `error` (code, what, ...) with `retryable`."""

    execution_id: str
    step: str
    epoch: int
    token: str
    result: Any = None
    state: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    retryable: bool = True
    duration_ms: int = 0


class PollBody(Body, frozen=True):
    """POST /worker/poll: hand in results and ask for tasks, in one round trip.

    `tools` are queue names (`agent.tool`). Results are recorded before the wait for new tasks begins;
    with `want` 0 the answer comes at once.
    """

    worker: str
    tools: list[str]
    want: int = 1
    wait_ms: int = 0
    results: list[ResultRecord] = []


class PollAnswer(Answer, frozen=True):
    """Leased tasks, and for each result None (recorded) or the error (E0307: drop it)."""

    tasks: list[TaskRecord]
    receipts: list[dict[str, Any] | None]


class LeaseRecord(Body, frozen=True):
    """One attempt that the worker is working on."""

    execution_id: str
    step: str
    epoch: int


class HeartbeatBody(Body, frozen=True):
    """POST /worker/heartbeat."""

    worker: str
    leases: list[LeaseRecord]


class HeartbeatAnswer(Answer, frozen=True):
    """For each lease whether it is still held; false: stop and drop the work."""

    held: list[bool]


class WorkerAnswer(Answer, frozen=True):
    """A worker as last heard of."""

    worker: str
    tools: list[str]
    last_seen_ms: int
    leases: int


class WorkersAnswer(Answer, frozen=True):
    """GET /workers."""

    workers: list[WorkerAnswer]


# The server ---------------------------------------------------------------------------------------------


class HealthAnswer(Answer, frozen=True):
    """GET /health: open to all, says nothing secret. `status` is ok, stopping or storage_unavailable."""

    status: str
    version: str
    wire: int


class ErrorAnswer(Answer, frozen=True):
    """Every error answer: `error` has code, slug, what, where, why, fix, fields."""

    error: dict[str, Any]
