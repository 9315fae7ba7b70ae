"""What comes back: the result of an execution, its state while it runs, and its events, as Python values."""

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TextIO

from perdure.core.errors import PerdureError


class Status(StrEnum):
    """What an execution is doing; the same words in the journal, the API, the command line and the page."""

    RUNNING = "running"
    WAITING_APPROVAL = "waiting:approval"
    WAITING_TIMER = "waiting:timer"
    WAITING_WORKER = "waiting:worker"
    WAITING_CHILD = "waiting:child"
    WAITING_MESSAGE = "waiting:message"
    WAITING_SESSION = "waiting:session"
    PAUSED = "paused"
    QUARANTINED = "quarantined"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_complete(self) -> bool:
        """Whether the execution has ended."""
        return self in {Status.COMPLETED, Status.FAILED, Status.CANCELLED}

    @property
    def is_waiting(self) -> bool:
        """Whether the execution waits for something."""
        return self.value.startswith("waiting:")


class FinishReason(StrEnum):
    """Why an execution ended.

    `termination`: a condition of the agent's; `gate`: a closed gate of a pipeline; `done`: a person or a router said so;
    `handoff`: the agent that was handed off to has answered; `handover`: another agent goes on.
    """

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    MAX_TURNS = "max_turns"
    OUTPUT_INVALID = "output_invalid"
    GUARDRAIL = "guardrail"
    REJECTED = "rejected"
    STOPPED = "stopped"
    REQUIRED_TOOLS = "required_tools"
    TERMINATION = "termination"
    BUDGET = "budget"
    GATE = "gate"
    DONE = "done"
    HANDOFF = "handoff"
    HANDOVER = "handover"


_HALTED = frozenset({"paused", "quarantined"})


class EventType(StrEnum):
    """The kinds of `AgentEvent`.

    `token` is a piece of an answer in flight; `message` a whole one; `state` a change of what the execution is
    doing (paused, resumed, set aside); `handoff` says that another agent goes on, `target`.
    """

    THINKING = "thinking"
    TOKEN = "token"  # noqa: S105 - a piece of text, not a secret
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    WAITING = "waiting"
    APPROVAL = "approval"
    HANDOFF = "handoff"
    MESSAGE = "message"
    ERROR = "error"
    RETRY = "retry"
    STATE = "state"
    GUARDRAIL_PASS = "guardrail_pass"  # noqa: S105 - a verdict, not a secret
    GUARDRAIL_FAIL = "guardrail_fail"
    DONE = "done"


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of all model calls of an execution, and what they cost.

    `reasoning_tokens` are part of `completion_tokens`. `cost_usd` is in US dollars (1.5 is one dollar and a half), exact to
    a millionth; None: it is not known, because a model was called that has no known price.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True)
class AgentEvent:
    """One thing that happened in an execution.

    Attributes:
        type: what happened; a text that is not in `EventType` comes from a newer server.
        execution_id: in which execution.
        agent: whose execution that is.
        seq: its place in the journal; 0 for a `token`, which is not in the journal.
        at_ms: wall time in milliseconds since the epoch; 0 for a `token`.
        content: text: of a message, a thought, a token, a reason.
        tool_name, args, result: of a tool call.
        output: the answer, in `done`.
        error: of `error`, `retry`, `tool_result` and `done`, when something failed.
        step, attempt, call_id: which call, and which try at it.
        approval_id: what to decide, in `waiting`; what was decided, in `approval`.
        approved: the decision, in `approval`.
        by: who decided, paused, resumed or cancelled.
        target: the agent that goes on, in `handoff`; its execution's id is `child_id`, once there is one.
        child_id: the execution of a child.
        guardrail_name: whose verdict it is; why it did not let something pass is the `content`.
        asks, answer_schema: what is asked in `waiting`: leave for a call, a question, a pick or a guardrail's doubt;
            and what an answer must fit.
        answer: what a person answered, in `approval`.
        partial: in a stream's `token` of an agent with an output type, the answer as far as it can be read: dicts, lists
            and scalars, not validated. None until there is something, and after 256 Ki characters; of a long text it
            may be some pieces old, but for the end. It needs a handle that has the agent, not an id alone, and a model
            whose answer streams (not `tool_mode: json_schema`).
        kind: the event's name in the journal.
    """

    type: EventType | str
    execution_id: str = ""
    seq: int = 0
    at_ms: int = 0
    content: str = ""
    tool_name: str | None = None
    args: dict[str, Any] | None = None
    result: Any = None
    output: Any = None
    error: PerdureError | None = None
    step: str | None = None
    attempt: int | None = None
    call_id: str | None = None
    approval_id: str | None = None
    approved: bool | None = None
    by: str | None = None
    target: str | None = None
    guardrail_name: str | None = None
    kind: str = ""
    agent: str = ""
    child_id: str | None = None
    asks: str | None = None
    answer_schema: dict[str, Any] | None = None
    answer: Any = None
    partial: Any = None


@dataclass(frozen=True)
class Wait:
    """One thing that an execution waits for.

    Attributes:
        kind: approval, timer, worker, model, tool, child, message or session.
        step: which step waits.
        tool, arguments: the call that waits.
        approval_id, effect_hash: what to decide, and the hash of exactly that.
        due_ms: when a timer ends, wall time in milliseconds since the epoch.
        worker: who runs the call.
        attempt: which try at it.
        execution_id, agent: who waits; of a child whose it is, and which.
        child_id, child_status: the child that is waited for, and what it is doing.
        asks, answer_schema: what kind of approval it is (None: a call), and what an answer must fit.
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


@dataclass(frozen=True)
class AgentStatus:
    """An execution as it is now.

    Attributes:
        status: what it is doing.
        waiting_for: what it waits for, calls in flight included; what the executions below it wait for, too.
        output: the answer, once there is one.
        error: why it failed or was set aside.
        reason: why it ended, in one word.
        turn: the turn that it is in, counted from 1.
        usage: tokens and cost so far.
    """

    execution_id: str
    status: Status
    waiting_for: tuple[Wait, ...] = ()
    output: Any = None
    error: PerdureError | None = None
    reason: str | None = None
    turn: int = 0
    usage: TokenUsage = TokenUsage()

    @property
    def is_complete(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status.is_complete

    @property
    def is_waiting(self) -> bool:
        """Whether nothing goes on before a person, a timer or a worker comes, in the executions below it either."""
        if self.status is not Status.WAITING_CHILD:
            return self.status.is_waiting
        below = [wait.child_status for wait in self.waiting_for if wait.kind == "child"]
        return bool(below) and all(
            s is not None and (s in _HALTED or s.startswith("waiting:")) for s in below
        )

    @property
    def is_running(self) -> bool:
        """Whether it is at work at this moment: neither ended, nor waiting, nor paused."""
        if self.status is Status.WAITING_CHILD:
            return not self.is_waiting
        return self.status is Status.RUNNING

    @property
    def pending_tool(self) -> dict[str, Any] | None:
        """The first thing that waits for a person, here or below.

        `name`, `args`, `approval_id`, `effect_hash` and `step`; `asks` (call, question, pick or guardrail) and
        `answer_schema`; `agent` and `execution_id` of who waits.
        """
        for wait in self.waiting_for:
            if wait.kind == "approval":
                return {
                    "name": wait.tool,
                    "args": wait.arguments or {},
                    "approval_id": wait.approval_id,
                    "effect_hash": wait.effect_hash,
                    "step": wait.step,
                    "asks": wait.asks or "call",
                    "answer_schema": wait.answer_schema,
                    "agent": wait.agent,
                    "execution_id": wait.execution_id or self.execution_id,
                }
        return None


@dataclass(frozen=True)
class AgentResult:
    """What came of an execution.

    Attributes:
        output: the answer: a text, or a value of the agent's output type; None without one.
        status: completed, failed or cancelled.
        finish_reason: why it ended.
        reason: more of it: which condition was met, which gate is closed, who said that it is done.
        error: why it failed; str() of it says what to do.
        usage: tokens and cost of all model calls, of the executions below it too.
        messages: the conversation, as dicts; what an agent of the team said has its name as `agent`.
        tool_calls: `name`, `args` and `result` of each call in order, and `error` where one failed.
        events: what happened; after a stream, in the executions below it too.
        metadata: the agent's metadata.
        sub_results: by the name of each agent below it, the output of its last turn.
    """

    output: Any
    execution_id: str
    status: Status = Status.COMPLETED
    finish_reason: FinishReason | str | None = None
    error: PerdureError | None = None
    usage: TokenUsage = TokenUsage()
    messages: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    events: list[AgentEvent] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    sub_results: dict[str, Any] = field(default_factory=dict)

    @property
    def token_usage(self) -> TokenUsage:
        """The same as `usage`."""
        return self.usage

    @property
    def is_success(self) -> bool:
        """Whether there is an answer."""
        return self.status is Status.COMPLETED and not self.is_rejected

    @property
    def is_failed(self) -> bool:
        """Whether it ended without one because something went wrong."""
        return self.status is Status.FAILED

    @property
    def is_rejected(self) -> bool:
        """Whether it ended because a person or a guardrail refused."""
        return self.finish_reason in {FinishReason.REJECTED, FinishReason.GUARDRAIL}

    def print_result(self, file: TextIO | None = None) -> None:
        """Write the answer, or the error, and one line about the execution, to *file* or standard output."""
        out = file or sys.stdout
        body = self.output if self.error is None else self.error
        out.write(f"{body}\n\n" if body is not None else "(no output)\n\n")
        facts = [
            f"{self.status.value}" + (f" ({self.finish_reason})" if self.finish_reason else ""),
            f"{len(self.tool_calls)} tool call{'' if len(self.tool_calls) == 1 else 's'}",
            f"{self.usage.total_tokens} tokens",
            *([f"${self.usage.cost_usd:,.6f}"] if self.usage.cost_usd else []),
            f"execution {self.execution_id}",
        ]
        out.write(" · ".join(facts) + "\n")
