"""The parts of a view: a turn, its steps, and what is known of each. Plain data; `view` fills it in."""

from dataclasses import dataclass, field
from typing import Any, Literal

from perdure.core import events as ev
from perdure.core.model import Usage
from perdure.wire.types import DeltaRecord

NodeState = Literal[
    "queued", "running", "approval", "message", "session", "retry", "done", "failed", "refused", "rejected"
]
SETTLED: frozenset[str] = frozenset({"done", "failed", "refused", "rejected"})


@dataclass
class Streamed:
    """A text in flight: the pieces of one attempt, joined at their offsets.

    A reader who came late lacks the beginning; `base` is the offset of the first character that is here.
    """

    attempt: int = 0
    base: int = 0
    text: str = ""

    def add(self, delta: DeltaRecord) -> None:
        """Join a piece; a higher attempt begins anew, and a piece of an earlier one is dropped."""
        if delta.attempt < self.attempt:
            return
        if delta.attempt > self.attempt:
            self.attempt, self.base, self.text = delta.attempt, delta.offset, ""
        at = delta.offset - self.base
        if 0 <= at <= len(self.text):
            # A piece that was sent twice must not shorten what is here already.
            self.text = self.text[:at] + delta.text + self.text[at + len(delta.text) :]
        else:
            self.base, self.text = delta.offset, delta.text


@dataclass
class Failure:
    """An attempt that did not succeed."""

    attempt: int
    at_ms: int
    error: ev.ErrorInfo


@dataclass
class Approval:
    """What a person is or was asked about a call."""

    approval_id: str
    effect_hash: str
    arguments: dict[str, Any]
    requested_ms: int
    unknown_epoch: int | None = None
    asks: ev.ApprovalKind = "call"
    answer_schema: dict[str, Any] | None = None
    agent: str = ""
    execution_id: str = ""
    decision: str | None = None
    by: str = ""
    channel: str = ""
    reason: str = ""
    edited: bool = False
    answer: Any = None
    decided_ms: int | None = None


@dataclass
class Node:
    """One step: the model call of a turn, a tool call, another agent's execution, or a function that decides.

    Attributes:
        kind: `aside` is a model call that is no part of the conversation; `note` is no step but a decision that was recorded, told in `name`.
        child_id: the execution of an agent.
        since_ms: when the step entered its state.
        attempts: how often it was begun.
        lost: attempts whose server or worker fell silent.
        approvals: the questions to a person, in order; the last one may be open.
    """

    step: str
    kind: Literal["model", "tool", "agent", "function", "aside", "note"]
    name: str
    state: NodeState
    since_ms: int
    began_ms: int | None = None
    ended_ms: int | None = None
    attempts: int = 0
    lost: int = 0
    failures: list[Failure] = field(default_factory=list)
    arguments: dict[str, Any] | None = None
    result: Any = None
    error: ev.ErrorInfo | None = None
    retry_at_ms: int | None = None
    worker: str = ""
    key: str = ""
    child_id: str = ""
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    text: Streamed = field(default_factory=Streamed)
    reasoning: Streamed = field(default_factory=Streamed)
    output_errors: tuple[str, ...] = ()
    approvals: list[Approval] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether the step has its result."""
        return self.state in SETTLED

    @property
    def open_approval(self) -> Approval | None:
        """The question that waits for an answer, if there is one."""
        last = self.approvals[-1] if self.approvals else None
        return last if last and last.decision is None else None

    def enter(self, state: NodeState, at_ms: int) -> None:
        """Change the state."""
        self.state, self.since_ms = state, at_ms
        if state in SETTLED:
            self.ended_ms = at_ms


@dataclass
class Turn:
    """One pass of the loop: the model step, then its tool steps in the order in which they appeared.

    Turn 0 is what a team does: its agents' executions and the decisions between them.
    """

    number: int
    model: Node | None = None
    tools: list[Node] = field(default_factory=list)

    @property
    def nodes(self) -> list[Node]:
        """All steps of the turn."""
        return ([self.model] if self.model else []) + self.tools
