"""The engine's ports: what it needs from storage and from models, and what it offers to the server.

Every verb of `Journal` is one transaction, is handed the time, and raises only `JournalError`. Adapters:
`journal.memory` (the oracle of the contract suite) and `journal.sqlite` (the default). The server depends on
`Executions` and `Tasks` alone, so that another engine can stand behind the same doors.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from perdure.core.errors import JournalError
from perdure.core.events import AnyEvent, ApprovalKind, MessageMode, Recorded
from perdure.core.messages import Message
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Plan

# What an execution is doing, in one word: the same in journal, API, command line and page.
Status = Literal[
    "running",
    "waiting:approval",
    "waiting:timer",
    "waiting:worker",
    "waiting:child",
    "waiting:message",
    "waiting:session",
    "paused",
    "quarantined",
    "completed",
    "failed",
    "cancelled",
]
TERMINAL_STATUSES: frozenset[str] = frozenset({"completed", "failed", "cancelled"})


# The journal --------------------------------------------------------------------------------------------


class ApprovalRow(msgspec.Struct, frozen=True):
    """An approval as a record of its own. `arguments` are those asked for; `decided_arguments` those edited.

    `kind` says what is asked; a question is decided with an `answer` that fits `answer_schema`.
    """

    approval_id: str
    execution_id: str
    step: str
    agent: str
    tool: str
    arguments: dict[str, Any]
    effect_hash: str
    requested_at_ms: int
    unknown_epoch: int | None = None
    decision: Literal["approved", "rejected", "void"] | None = None
    decided_at_ms: int | None = None
    decided_by: str | None = None
    channel: str | None = None
    reason: str = ""
    decided_arguments: dict[str, Any] | None = None
    kind: ApprovalKind = "call"
    answer_schema: dict[str, Any] | None = None
    answer: Any = None


class NewExecution(msgspec.Struct, frozen=True):
    """What is known of an execution when it is created.

    `title` is the beginning of the prompt; `parent_id` the execution whose child it is.
    """

    execution_id: str
    agent: str
    plan_hash: str
    title: str
    started_by: str
    created_at_ms: int
    session_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str = ""
    parent_id: str | None = None


class Commit(msgspec.Struct, frozen=True):
    """One transaction on one execution: its new events, its new state, its wake-up time, its approvals.

    Attributes:
        expected_seq: the last seq that the writer of this commit knows; anything else is a conflict.
        events: appended as `expected_seq + 1 ...`, all stamped `at_ms`.
        state: the machine's state as JSON, stored over the old one.
        next_due_ms: when the execution must be woken for a timer; None: never.
        approvals: rows to insert or replace.
        new: set in the first commit of an execution only.
    """

    execution_id: str
    expected_seq: int
    at_ms: int
    events: tuple[AnyEvent, ...]
    state: bytes
    status: Status
    next_due_ms: int | None = None
    approvals: tuple[ApprovalRow, ...] = ()
    new: NewExecution | None = None


class StoredExecution(msgspec.Struct, frozen=True):
    """The row of an execution."""

    execution_id: str
    agent: str
    plan_hash: str
    title: str
    started_by: str
    status: Status
    last_seq: int
    created_at_ms: int
    updated_at_ms: int
    next_due_ms: int | None
    state: bytes
    session_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str = ""
    parent_id: str | None = None


class ExecutionFilter(msgspec.Struct, frozen=True):
    """Which executions to list, newest first. `before` is the id of the last row of the page before.

    `parent_id`: only the children of that one; `roots`: only those that are nobody's child.
    """

    status: tuple[str, ...] = ()
    agent: str | None = None
    session_id: str | None = None
    parent_id: str | None = None
    roots: bool = False
    before: str | None = None
    limit: int = 50


class Journal(Protocol):
    """The durable, append-only log of all executions, with the small state that goes with it."""

    async def open(self) -> None:
        """Take the storage for this process alone.

        Raises:
            JournalError: E0502 another process has it; E0504 a newer version wrote it; E0507 unsafe SQLite.
        """

    async def close(self) -> None:
        """Wait for commits under way, then let go."""

    def commit(self, commit: Commit, done: Callable[[StoredExecution | JournalError | None], None]) -> None:
        """Append durably; then call *done* once, on the event loop.

        *done* gets None when the commit is durable; a `StoredExecution` when `new.idempotency_key` belongs to an
        execution that exists (nothing was written); or the `JournalError` that stopped it (nothing was written):
        E0505 `expected_seq` is not the last one; E0501, E0506 the disk.

        Commits of one execution must not overlap: the next is given after *done* of the one before.
        """

    async def load(self, execution_id: str) -> StoredExecution | None:
        """One execution's row."""

    async def events(self, execution_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """The events with seq over *after*, in order, bodies put back.

        Raises:
            JournalError: E0503 the chain of checksums is broken in this execution.
        """

    async def find(self, where: ExecutionFilter) -> list[StoredExecution]:
        """Executions, newest first."""

    async def unfinished(self) -> list[StoredExecution]:
        """What a restart takes up, oldest first: what is running, paused, quarantined, or waits for another execution.

        The last two may have had steps in flight; what waits for a person or a timer has not.
        """

    async def orphans(self) -> list[str]:
        """Ids of the executions that have not ended although their parent has, or waits for them no more; oldest first."""

    async def due(self, now_ms: int, limit: int) -> list[str]:
        """Ids whose `next_due_ms` is at or before *now_ms*, the longest overdue first."""

    async def next_due(self) -> int | None:
        """The smallest `next_due_ms` of all executions that have not ended."""

    async def counts(self) -> dict[str, int]:
        """How many executions have each status, ended ones included; a status that none has may be absent."""

    async def approvals(
        self,
        *,
        execution_id: str | None = None,
        pending: bool = True,
        limit: int = 200,
        tree: bool = False,
    ) -> list[ApprovalRow]:
        """Approvals, the longest waiting first; only undecided ones unless *pending* is false.

        With *tree* also those of all executions below *execution_id*.
        """

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval."""

    def statistics(self) -> dict[str, float]:
        """Counters for metrics: commits, events, syncs, bytes written, last sync seconds."""


class DeployedAgent(msgspec.Struct, frozen=True):
    """An agent that can be started by name."""

    agent: str
    plan_hash: str
    version: int
    deployed_at_ms: int


class Catalog(Protocol):
    """Plans by hash, and which plan an agent's name means now. The adapters of `Journal` implement it too."""

    async def put_plan(self, plan_hash: str, plan: Plan, now_ms: int) -> None:
        """Store a plan under its hash; the same hash again does nothing."""

    async def get_plan(self, plan_hash: str) -> Plan | None:
        """The plan of this hash."""

    async def deploy(self, agent: str, plan_hash: str, now_ms: int) -> int:
        """Make a plan the current one of an agent's name; return its version.

        Versions count 1, 2, ...; the plan that is current already keeps its version.
        """

    async def deployed(self, agent: str | None = None) -> list[DeployedAgent]:
        """The current plans by name; all of them, sorted by name, when *agent* is None."""


# Models -------------------------------------------------------------------------------------------------


class Models(Protocol):
    """The models of all providers."""

    def check(self, model: ModelRef) -> None:
        """Say, without any network, whether a call could be made.

        Raises:
            ModelError: E0201 unknown provider; E0202 its key is not set (the fix names the variable);
                E0203 its library is not installed (the fix names the extra).
        """

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        """Call the model, streaming inside; *on_delta* is called with each piece as it arrives.

        Raises:
            ModelError: E0204 to E0211, with `retryable` and `retry_after_ms` set from the provider's answer.
            asyncio.CancelledError: the call was aborted.
        """

    async def aclose(self) -> None:
        """Close connections."""


# What the engine offers: executions ----------------------------------------------------------------------


class StartRequest(msgspec.Struct, frozen=True):
    """Start an execution of a compiled plan. `members` are the plans of all agents below it, by hash."""

    plan: Plan
    plan_hash: str
    input: Message
    started_by: str
    session_id: str | None = None
    idempotency_key: str | None = None
    timeout_ms: int | None = None
    context: dict[str, Any] | None = None
    members: dict[str, Plan] = {}


class Started(msgspec.Struct, frozen=True):
    """A started execution; `created` is false when the idempotency key named one that existed."""

    execution_id: str
    created: bool


class PendingWait(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution waits for: `kind` is approval, timer, worker, model, tool or child.

    `execution_id` and `agent` say who waits: the execution itself, or one below it. Of a child they say whose it is and
    which: `child_id`, with `child_status`. `asks` and `answer_schema` are those of an approval that is a question.
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
    asks: ApprovalKind | None = None
    answer_schema: dict[str, Any] | None = None


class ExecutionView(msgspec.Struct, frozen=True):
    """An execution as people and programs see it."""

    execution_id: str
    agent: str
    plan_hash: str
    title: str
    status: Status
    turn: int
    last_seq: int
    created_at_ms: int
    updated_at_ms: int
    started_by: str
    usage: Usage
    waits: tuple[PendingWait, ...] = ()
    output: Any = None
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    session_id: str | None = None
    idempotency_key: str | None = None
    parent_id: str | None = None
    reason: str = ""


class Decision(msgspec.Struct, frozen=True):
    """A person's decision on an approval.

    `effect_hash`, when given, must be the hash that the approval shows: what was looked at is what is decided.
    """

    decision: Literal["approved", "rejected"]
    by: str
    channel: str
    effect_hash: str | None = None
    reason: str = ""
    arguments: dict[str, Any] | None = None
    answer: Any = None


class StreamDelta(msgspec.Struct, frozen=True):
    """A piece of a model's answer in flight; not in the journal. `offset` counts characters of its kind."""

    step: str
    attempt: int
    kind: Literal["text", "reasoning"]
    offset: int
    text: str


StreamItem = Recorded | StreamDelta


class Executions(Protocol):
    """The verbs on executions. Errors are `ExecutionError` and `JournalError`; every answer is after commit (E2)."""

    async def start(self, request: StartRequest) -> Started:
        """Begin an execution; its plan is stored first. E0413 when the idempotency key is of another request."""

    async def get(self, execution_id: str) -> ExecutionView:
        """The execution as it is now; E0401 when there is none."""

    async def masked_fields(self, execution_id: str) -> tuple[str, ...]:
        """Names of the fields that no reader is shown: those of its agent and of all above it."""

    async def find(self, where: ExecutionFilter) -> list[ExecutionView]:
        """Executions, newest first; outputs and waits are left out."""

    async def events(self, execution_id: str, after: int, limit: int) -> list[Recorded]:
        """Stored events after seq *after*, in order."""

    def stream(self, execution_id: str, after: int) -> AsyncIterator[StreamItem]:
        """Every event after *after*, stored ones first, then live ones and deltas; ends after a terminal event.

        No gap and no duplicate by seq. A reader that is too slow for the live queue is served from the journal.
        """

    async def wait(self, execution_id: str, timeout_ms: int) -> ExecutionView:
        """The view when the execution has ended, or as it is after *timeout_ms*."""

    async def cancel(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """End it now; steps in flight are stopped (E9)."""

    async def pause(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """Begin no new step until `resume`."""

    async def resume(self, execution_id: str, by: str) -> ExecutionView:
        """Go on after a pause or out of quarantine; on a running execution it changes nothing."""

    async def say(
        self, execution_id: str, message_id: str, message: Message, by: str, mode: MessageMode
    ) -> ExecutionView:
        """Say something to a running execution; the same id again changes nothing. E0402 when it is over."""

    async def stop(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """Ask for the end after the turn that it is in, with what there is."""

    async def decide(self, approval_id: str, decision: Decision) -> ApprovalRow:
        """Record the one decision; E0407, E0408 (with the decision that won), E0409, E0305."""

    async def approvals(
        self, execution_id: str | None, *, pending: bool, tree: bool = False
    ) -> list[ApprovalRow]:
        """Approvals, the longest waiting first; with *tree* those of all executions below it as well."""

    async def approval(self, approval_id: str) -> ApprovalRow:
        """One approval; E0407 when there is none."""


# What the engine offers: tasks ---------------------------------------------------------------------------


class Task(msgspec.Struct, frozen=True):
    """A step for a worker. `lease_ms` is how long it holds without a heartbeat; `deadline_ms` is wall time."""

    execution_id: str
    step: str
    epoch: int
    agent: str
    tool: str
    call_id: str
    arguments: dict[str, Any]
    idempotency_key: str
    lease_ms: int
    deadline_ms: int | None
    timeout_ms: int | None
    state: dict[str, Any]
    session_id: str | None = None


class TaskResult(msgspec.Struct, frozen=True):
    """The outcome of one attempt: `result` when `error` is None. `state` holds changed keys of the shared state."""

    execution_id: str
    step: str
    epoch: int
    worker: str
    result: Any = None
    state: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    retryable: bool = True
    duration_ms: int = 0


class LeaseRef(msgspec.Struct, frozen=True):
    """One attempt that a worker says it is working on."""

    execution_id: str
    step: str
    epoch: int


class WorkerView(msgspec.Struct, frozen=True):
    """A worker as last heard of."""

    worker: str
    tools: tuple[str, ...]
    last_seen_ms: int
    leases: int


class Tasks(Protocol):
    """The task gateway: what workers call. A tool is addressed as `agent.tool` (`task_queue_name`)."""

    async def poll(self, worker: str, tools: Sequence[str], want: int, wait_ms: int) -> list[Task]:
        """Up to *want* tasks for these queues, leased to this worker; waits up to *wait_ms* for the first."""

    async def complete(self, results: Sequence[TaskResult]) -> list[dict[str, Any] | None]:
        """Record outcomes; for each: None when it is recorded durably, else an error's wire form.

        E0307: the attempt is over and the worker drops its result.
        """

    def heartbeat(self, worker: str, leases: Sequence[LeaseRef]) -> list[bool]:
        """Extend leases; for each: whether this worker still holds it. False: stop and drop the work."""

    def workers(self) -> list[WorkerView]:
        """The workers heard of lately."""


def task_queue_name(agent: str, tool: str) -> str:
    """Where a tool's tasks are offered: tools of two agents with one name never mix."""
    return f"{agent}.{tool}"
