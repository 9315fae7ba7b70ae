"""What a reader sees of an execution: a pure reduction of its events and deltas to a tree.

`View.apply` is handed the records of the event stream one after the other and keeps the tree of turns: each turn
is one model step and the tool steps that it asked for. There is no clock here: what is still going on is shown
with the time that the renderer brings. Two renderers read the view, `render` (the live tree) and `plain` (one
line per event). What a team does stands before the turns, in a turn 0: an agent that works is a step, whatever it does
itself is the business of its own execution.

A record of a kind that this release does not know changes nothing but `seq` and `unknown`, and a record at or
below `seq` is ignored: a stream that begins again from an earlier place does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from perdure.cli.nodes import Approval, Failure, Node, Streamed, Turn
from perdure.cli.notes import NOTES, stop_words
from perdure.core import events as ev
from perdure.core.messages import ReasoningPart
from perdure.core.model import Usage
from perdure.wire.types import DeltaRecord, EventRecord

_WAITS = frozenset({"child", "message", "session"})


@dataclass
class View:
    """An execution as far as its records have been seen.

    Attributes:
        seq: of the last event applied.
        ending: completed, failed or cancelled; None while it goes on.
        halted: paused or quarantined; None otherwise.
        output: the answer, once `ending` is completed.
        partial: the last text of an agent that failed.
        strategy: of a team that drives its agents itself.
        unknown: how many events were of a kind that this release does not know.
    """

    execution_id: str
    seq: int = 0
    agent: str = ""
    prompt: str = ""
    started_by: str = ""
    started_ms: int | None = None
    ended_ms: int | None = None
    ending: Literal["completed", "failed", "cancelled"] | None = None
    halted: Literal["paused", "quarantined"] | None = None
    halted_by: str = ""
    reason: str = ""
    finish_reason: str = ""
    output: Any = None
    partial: str = ""
    strategy: str = ""
    error: ev.ErrorInfo | None = None
    usage: Usage = field(default_factory=Usage)
    turns: list[Turn] = field(default_factory=list)
    unknown: int = 0
    _nodes: dict[str, Node] = field(default_factory=dict)

    def apply(self, record: EventRecord | DeltaRecord) -> bool:
        """Take one record; the answer is whether anything changed."""
        if isinstance(record, DeltaRecord):
            return self._delta(record)
        if record.seq <= self.seq:
            return False
        self.seq = record.seq
        event = event_of(record)
        if event is None:
            self.unknown += 1
            return True
        _REDUCERS[type(event)](self, record.at_ms, event)
        return True

    def node(self, step: str) -> Node | None:
        """The step of this id."""
        return self._nodes.get(step)

    @property
    def nodes(self) -> list[Node]:
        """All steps, in order."""
        return [node for turn in self.turns for node in turn.nodes if node.kind != "note"]

    @property
    def approvals(self) -> list[Node]:
        """The tool steps that wait for a person."""
        return [n for n in self._nodes.values() if n.open_approval and self.ending is None]

    @property
    def steps(self) -> int:
        """How many steps have their result."""
        return sum(n.settled for n in self._nodes.values())

    @property
    def children(self) -> list[Node]:
        """The steps that are executions of agents below it."""
        return [n for n in self._nodes.values() if n.kind == "agent"]

    @property
    def status(self) -> str:
        """The state in one word, the same words as the server's."""
        if self.ending or self.halted:
            return self.ending or self.halted or ""
        going = [n for n in self._nodes.values() if not n.settled]
        states = {"child" if n.kind == "agent" and n.state == "running" else n.state for n in going}
        if states == {"approval"}:
            return "waiting:approval"
        if states & _WAITS and states <= _WAITS | {"approval", "retry"}:
            return "waiting:" + next(s for s in ("approval", "child", "message", "session") if s in states)
        if states and states <= {"approval", "retry"}:
            return "waiting:timer"
        if states and states <= {"approval", "retry", "queued"} and all(n.kind != "model" for n in going):
            return "waiting:worker"
        return "running"

    def _delta(self, delta: DeltaRecord) -> bool:
        node = self._nodes.get(delta.step)
        if node is None or node.settled:
            return False
        (node.text if delta.part == "text" else node.reasoning).add(delta)
        return True

    def _turn(self, number: int | None = None) -> Turn:
        if number is None:
            number = self.turns[-1].number if self.turns else 1
        if not self.turns or self.turns[-1].number < number:
            self.turns.append(Turn(number))
        return self.turns[-1]

    def model_step(self, step: str, at_ms: int, turn: int | None = None) -> Node:
        """The model step of this id; a turn begins with it when it is new."""
        node = self._nodes.get(step)
        if node is None:
            node = self._nodes[step] = Node(step, "model", "model", "queued", at_ms)
            self._turn(turn if turn is not None else len(self.turns) + 1).model = node
        return node

    def tool_step(self, step: str, at_ms: int, name: str = "") -> Node:
        """The tool step of this id, made under the last turn when it is new."""
        node = self._nodes.get(step)
        if node is None:
            node = self._nodes[step] = Node(step, "tool", name or step, "queued", at_ms)
            self._place(step).tools.append(node)
        return node

    def _place(self, step: str) -> Turn:
        """Where a step belongs that is no model call: those of a team have other names than those of turns."""
        if not self.strategy or step.startswith("t"):
            return self._turn()
        if not self.turns or self.turns[0].number:
            self.turns.insert(0, Turn(0))
        return self.turns[0]

    def note(self, at_ms: int, words: str, step: str = "") -> None:
        """Keep a decision that was recorded."""
        node = Node(step, "note", words, "done", at_ms, began_ms=None, ended_ms=at_ms)
        self._place(step).tools.append(node)


def event_of(record: EventRecord) -> ev.AnyEvent | None:
    """The record's event; None for a kind, or a form of it, that this release does not know."""
    try:
        return msgspec.convert(record.event, ev.AnyEvent)  # type: ignore[no-any-return]
    except (msgspec.ValidationError, UnicodeError):
        return None


# One reducer for each kind ------------------------------------------------------------------------------


def _started(view: View, at_ms: int, e: ev.ExecutionStarted) -> None:
    view.agent, view.prompt, view.started_by, view.started_ms = e.agent, e.input.text, e.started_by, at_ms
    view.strategy = e.strategy


def _paused(view: View, _at_ms: int, e: ev.ExecutionPaused) -> None:
    view.halted, view.halted_by, view.reason = "paused", e.by, e.reason


def _resumed(view: View, _at_ms: int, _e: ev.ExecutionResumed) -> None:
    view.halted, view.halted_by, view.reason, view.error = None, "", "", None


def _quarantined(view: View, _at_ms: int, e: ev.ExecutionQuarantined) -> None:
    view.halted, view.error = "quarantined", e.error


def _end(view: View, at_ms: int, ending: Literal["completed", "failed", "cancelled"]) -> None:
    view.ending, view.halted, view.ended_ms = ending, None, at_ms


def _completed(view: View, at_ms: int, e: ev.ExecutionCompleted) -> None:
    _end(view, at_ms, "completed")
    view.output, view.finish_reason, view.reason = e.output, e.finish_reason, e.reason


def _failed(view: View, at_ms: int, e: ev.ExecutionFailed) -> None:
    _end(view, at_ms, "failed")
    view.error, view.finish_reason, view.partial = e.error, e.finish_reason, e.partial


def _cancelled(view: View, at_ms: int, e: ev.ExecutionCancelled) -> None:
    _end(view, at_ms, "cancelled")
    view.halted_by, view.reason = e.by, e.reason


def _model_requested(view: View, at_ms: int, e: ev.ModelRequested) -> None:
    node = view.model_step(e.step, at_ms, e.turn)
    node.attempts, node.retry_at_ms = e.attempt, None
    node.began_ms = node.began_ms or at_ms
    node.text, node.reasoning = Streamed(e.attempt), Streamed(e.attempt)
    node.enter("running", at_ms)


def _model_completed(view: View, at_ms: int, e: ev.ModelCompleted) -> None:
    node = view.model_step(e.step, at_ms)
    node.usage, node.finish_reason = e.usage, e.finish_reason
    if node.kind == "model":
        node.name = e.model or node.name
    node.text = Streamed(e.attempt, 0, e.message.text)
    thought = "".join(p.text for p in e.message.parts if isinstance(p, ReasoningPart))
    node.reasoning = Streamed(e.attempt, 0, thought)
    node.enter("done", at_ms)
    view.usage = view.usage.plus(e.usage)


def _model_failed(view: View, at_ms: int, e: ev.ModelFailed) -> None:
    _attempt_failed(view.model_step(e.step, at_ms), at_ms, e.attempt, e.error, e.retry_at_ms)


def _model_lost(view: View, at_ms: int, e: ev.ModelLost) -> None:
    node = view.model_step(e.step, at_ms)
    node.lost += 1
    node.text, node.reasoning = Streamed(e.attempt), Streamed(e.attempt)
    _taken_again(node, at_ms, e.retry_at_ms)


def _output_rejected(view: View, at_ms: int, e: ev.OutputRejected) -> None:
    view.model_step(e.step, at_ms).output_errors = e.errors


def _answer_refused(view: View, at_ms: int, e: ev.AnswerRefused) -> None:
    node = view.node(e.step)
    if node is not None and node.kind == "model":
        node.output_errors = (*node.output_errors, e.feedback)
    elif e.feedback:
        view.note(at_ms, f"the answer is not taken ({e.by}): {e.feedback}", e.step)


def _tool_requested(view: View, at_ms: int, e: ev.ToolRequested) -> None:
    node = view.tool_step(e.step, at_ms, e.tool)
    node.arguments, node.key, node.began_ms = e.arguments, e.key, node.began_ms or at_ms
    node.enter("queued", at_ms)


def _tool_refused(view: View, at_ms: int, e: ev.ToolRefused) -> None:
    node = view.tool_step(e.step, at_ms, e.tool)
    node.error = e.error
    node.enter("refused", at_ms)


def _tool_started(view: View, at_ms: int, e: ev.ToolStarted) -> None:
    node = view.tool_step(e.step, at_ms)
    node.attempts, node.worker, node.retry_at_ms = e.epoch, e.worker, None
    node.enter("running", at_ms)


def _tool_completed(view: View, at_ms: int, e: ev.ToolCompleted) -> None:
    node = view.tool_step(e.step, at_ms)
    node.result = e.result
    node.enter("done", at_ms)


def _tool_failed(view: View, at_ms: int, e: ev.ToolFailed) -> None:
    _attempt_failed(view.tool_step(e.step, at_ms), at_ms, e.epoch, e.error, e.retry_at_ms)


def _tool_lost(view: View, at_ms: int, e: ev.ToolLost) -> None:
    node = view.tool_step(e.step, at_ms)
    node.lost += 1
    if e.policy == "fail":
        node.error = ev.ErrorInfo("E0308", "It is not known whether the attempt took effect", why=e.reason)
        node.enter("failed", at_ms)
    else:
        _taken_again(node, at_ms, e.retry_at_ms)


def _taken_again(node: Node, at_ms: int, retry_at_ms: int | None) -> None:
    node.retry_at_ms = retry_at_ms
    node.enter("queued" if retry_at_ms is None else "retry", at_ms)


def _timer_fired(view: View, at_ms: int, e: ev.TimerFired) -> None:
    node = view.tool_step(e.step, at_ms)
    node.retry_at_ms = None
    node.enter("queued", at_ms)


def _attempt_failed(
    node: Node, at_ms: int, attempt: int, error: ev.ErrorInfo, retry_at_ms: int | None
) -> None:
    node.failures.append(Failure(attempt, at_ms, error))
    node.retry_at_ms = retry_at_ms
    if retry_at_ms is None:
        node.error = error
    node.enter("failed" if retry_at_ms is None else "retry", at_ms)


def _approval_requested(view: View, at_ms: int, e: ev.ApprovalRequested) -> None:
    node = view.tool_step(e.step, at_ms, e.tool)
    node.arguments, node.began_ms = e.arguments, node.began_ms or at_ms
    node.approvals.append(_question(view, e, at_ms))
    node.enter("approval", at_ms)


def _question(view: View, e: ev.ApprovalRequested, at_ms: int) -> Approval:
    return Approval(
        e.approval_id,
        e.effect_hash,
        e.arguments,
        at_ms,
        e.unknown_epoch,
        e.asks,
        e.answer_schema,
        view.agent,
        view.execution_id,
    )


def _approval_decided(view: View, at_ms: int, e: ev.ApprovalDecided) -> None:
    node = view.tool_step(e.step, at_ms)
    approval = next(
        (a for a in node.approvals if a.approval_id == e.approval_id and a.decision is None), None
    )
    if approval is None:
        return
    approval.decision, approval.by, approval.channel = e.decision, e.by, e.channel
    approval.reason, approval.decided_ms = e.reason, at_ms
    approval.edited = e.arguments is not None
    node.arguments = e.arguments if e.arguments is not None else node.arguments
    if e.decision == "approved" and approval.asks != "call":  # what was said is the result
        approval.answer = node.result = e.answer
        node.enter("done", at_ms)
        return
    node.enter("queued" if e.decision == "approved" else "rejected", at_ms)


def _function_requested(view: View, at_ms: int, e: ev.FunctionRequested) -> None:
    node = view.tool_step(e.step, at_ms, e.function)
    node.kind, node.arguments, node.key = "function", e.arguments, e.key
    node.began_ms = node.began_ms or at_ms
    node.enter("queued", at_ms)


def _child_requested(view: View, at_ms: int, e: ev.ChildRequested) -> None:
    node = view.tool_step(e.step, at_ms, e.agent)
    node.kind, node.name, node.child_id = "agent", e.agent, e.child_id
    node.arguments = {"input": e.input.text}
    node.began_ms = node.began_ms or at_ms
    node.enter("running", at_ms)


def _child_completed(view: View, at_ms: int, e: ev.ChildCompleted) -> None:
    node = view.tool_step(e.step, at_ms)
    node.result, node.usage, node.finish_reason = e.output, e.usage, e.finish_reason
    node.enter("done", at_ms)
    view.usage = view.usage.plus(e.usage)


def _child_failed(view: View, at_ms: int, e: ev.ChildFailed) -> None:
    node = view.tool_step(e.step, at_ms)
    node.error, node.usage = e.error, e.usage
    node.enter("failed", at_ms)
    view.usage = view.usage.plus(e.usage)


def _judge_requested(view: View, at_ms: int, e: ev.JudgeRequested) -> None:
    _aside(view, at_ms, e.step, f"guardrail {e.guard}", e.attempt)


def _condense_requested(view: View, at_ms: int, e: ev.CondenseRequested) -> None:
    _aside(view, at_ms, e.step, "condense the conversation", e.attempt)


def _arguments_requested(view: View, at_ms: int, e: ev.ArgumentsRequested) -> None:
    _aside(view, at_ms, e.step, f"arguments of {e.tool}", e.attempt)


def _aside(view: View, at_ms: int, step: str, name: str, attempt: int) -> None:
    """A model is asked about something, and its words are no part of the conversation."""
    node = view.tool_step(step, at_ms, name)
    node.kind, node.attempts, node.retry_at_ms = "aside", attempt, None
    node.began_ms = node.began_ms or at_ms
    node.enter("running", at_ms)


def _message_awaited(view: View, at_ms: int, e: ev.MessageAwaited) -> None:
    node = view.tool_step(e.step, at_ms, e.tool)
    node.began_ms = node.began_ms or at_ms
    node.enter("message", at_ms)


def _session_awaited(view: View, at_ms: int, e: ev.SessionAwaited) -> None:
    node = view.tool_step(e.step, at_ms, f"the execution before, {e.execution_id}")
    node.kind = "function"
    node.enter("session", at_ms)


def _taken(view: View, at_ms: int, e: ev.MessagesTaken | ev.SessionJoined) -> None:
    view.tool_step(e.step, at_ms).enter("done", at_ms)


def _interrupted(view: View, at_ms: int, e: ev.ModelInterrupted) -> None:
    node = view.model_step(e.step, at_ms)
    node.finish_reason, node.text, node.reasoning = "interrupted", Streamed(), Streamed()
    node.enter("done", at_ms)


def _plan_failed(view: View, at_ms: int, e: ev.PlanFailed) -> None:
    _noted(view, at_ms, e)
    for step in e.stopped:
        if (node := view.node(step)) is not None and not node.settled:
            node.error = ev.ErrorInfo("E0418", "Stopped: the plan goes no further")
            node.enter("refused", at_ms)


def _noted(view: View, at_ms: int, e: Any) -> None:
    view.note(at_ms, NOTES[type(e)][1](e), getattr(e, "step", "") or getattr(e, "subject", ""))


def _stop_decided(view: View, at_ms: int, e: ev.StopDecided) -> None:
    view.note(at_ms, stop_words(e), "" if view.strategy else f"t{e.turn}.stop")


_REDUCERS: dict[type[Any], Callable[[View, int, Any], None]] = {
    ev.ExecutionStarted: _started,
    ev.ExecutionPaused: _paused,
    ev.ExecutionResumed: _resumed,
    ev.ExecutionCompleted: _completed,
    ev.ExecutionFailed: _failed,
    ev.ExecutionCancelled: _cancelled,
    ev.ExecutionQuarantined: _quarantined,
    ev.ModelRequested: _model_requested,
    ev.ModelCompleted: _model_completed,
    ev.ModelFailed: _model_failed,
    ev.ModelLost: _model_lost,
    ev.OutputRejected: _output_rejected,
    ev.ToolRequested: _tool_requested,
    ev.ToolRefused: _tool_refused,
    ev.ToolStarted: _tool_started,
    ev.ToolCompleted: _tool_completed,
    ev.ToolFailed: _tool_failed,
    ev.ToolLost: _tool_lost,
    ev.TimerFired: _timer_fired,
    ev.ApprovalRequested: _approval_requested,
    ev.ApprovalDecided: _approval_decided,
    ev.AnswerRefused: _answer_refused,
    ev.FunctionRequested: _function_requested,
    ev.ChildRequested: _child_requested,
    ev.ChildCompleted: _child_completed,
    ev.ChildFailed: _child_failed,
    ev.JudgeRequested: _judge_requested,
    ev.CondenseRequested: _condense_requested,
    ev.ArgumentsRequested: _arguments_requested,
    ev.MessageAwaited: _message_awaited,
    ev.MessagesTaken: _taken,
    ev.SessionAwaited: _session_awaited,
    ev.SessionJoined: _taken,
    ev.ModelInterrupted: _interrupted,
    **dict.fromkeys(NOTES, _noted),
    ev.PlanFailed: _plan_failed,
    ev.StopDecided: _stop_decided,
}
