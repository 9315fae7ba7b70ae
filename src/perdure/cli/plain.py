"""The view for programs, logs and pipes: one line for each event, no colours, nothing that moves.

    14:02:11    5  tool       lookup_order started (attempt 1) on w1

Time of day in the reader's zone, `seq`, the subject, what happened. Deltas give no line: the whole text comes
with the event that records it.
"""

from collections.abc import Callable
from typing import Any

from perdure.cli import text
from perdure.cli.notes import NOTES
from perdure.cli.times import clock_time
from perdure.cli.view import View, event_of
from perdure.core import events as ev
from perdure.wire.types import EventRecord

LIMIT = 400


def event_line(view: View, record: EventRecord, who: str = "") -> str:
    """The line of an event that *view* has just been given; *who* is named where several executions are followed."""
    event = event_of(record)
    if event is None:
        subject = text.line(str(record.event.get("kind", "unknown")))
        words = text.compact({k: v for k, v in record.event.items() if k != "kind"}, LIMIT)
    else:
        subject, words = _WORDS[type(event)](view, event)
    named = f"{text.line(who, 60)}: " if who else ""
    return f"{clock_time(record.at_ms)} {record.seq:>4}  {subject:<10} {named}{words}".rstrip()


def error_words(error: ev.ErrorInfo) -> str:
    """An error on one line, with its code."""
    words = f"[{error.code}] {error.what}" + (f": {error.why}" if error.why else "")
    return text.line(words, LIMIT)


def _name(view: View, step: str) -> str:
    node = view.node(step)
    return text.line(node.name if node else step, 80)


def _retry(at_ms: int | None) -> str:
    return "given up" if at_ms is None else f"tried again at {clock_time(at_ms)}"


def _by(by: str, reason: str) -> str:
    return f"by {text.line(by, 80)}" + (f": {text.line(reason, LIMIT)}" if reason else "")


def _started(view: View, e: ev.ExecutionStarted) -> tuple[str, str]:
    return (
        "execution",
        f"{view.execution_id} started: {text.line(e.agent)} {text.line(e.input.text, LIMIT)!s}",
    )


def _paused(_view: View, e: ev.ExecutionPaused) -> tuple[str, str]:
    return "execution", f"paused {_by(e.by, e.reason)}"


def _resumed(_view: View, e: ev.ExecutionResumed) -> tuple[str, str]:
    return "execution", f"resumed {_by(e.by, '')}"


def _completed(_view: View, e: ev.ExecutionCompleted) -> tuple[str, str]:
    answer = text.line(e.output, LIMIT) if isinstance(e.output, str) else text.compact(e.output, LIMIT)
    ended = "" if e.finish_reason == "stop" else f" ({text.line(e.finish_reason)})"
    to = f"; handed over to {text.line(e.handover.agent, 80)}" if e.handover else ""
    return "execution", f"completed{ended}: {answer}{to}"


def _failed(_view: View, e: ev.ExecutionFailed) -> tuple[str, str]:
    return "execution", f"failed ({text.line(e.finish_reason)}): {error_words(e.error)}"


def _cancelled(_view: View, e: ev.ExecutionCancelled) -> tuple[str, str]:
    return "execution", f"cancelled {_by(e.by, e.reason)}"


def _quarantined(_view: View, e: ev.ExecutionQuarantined) -> tuple[str, str]:
    return "execution", f"quarantined: {error_words(e.error)}"


def _model_requested(_view: View, e: ev.ModelRequested) -> tuple[str, str]:
    again = f" (attempt {e.attempt})" if e.attempt > 1 else ""
    return "model", f"turn {e.turn} asked{again}"


def _model_completed(_view: View, e: ev.ModelCompleted) -> tuple[str, str]:
    said = [f'says "{text.line(e.message.text, LIMIT)}"'] if e.message.text else []
    calls = ", ".join(text.line(c.tool, 80) for c in e.message.tool_calls)
    said += [f"calls {calls}"] if calls else []
    tokens = f"{text.count(e.usage.total_tokens)} tokens"
    return "model", f"{text.line(e.model, 80)} {'; '.join(said)} ({tokens}, {text.duration(e.duration_ms)})"


def _model_failed(_view: View, e: ev.ModelFailed) -> tuple[str, str]:
    return "model", f"attempt {e.attempt} failed, {_retry(e.retry_at_ms)}: {error_words(e.error)}"


def _model_lost(_view: View, e: ev.ModelLost) -> tuple[str, str]:
    then = "asked again" if e.retry_at_ms is None else _retry(e.retry_at_ms)
    return "model", f"attempt {e.attempt} was lost, {then}: {text.line(e.reason, LIMIT)}"


def _output_rejected(_view: View, e: ev.OutputRejected) -> tuple[str, str]:
    return "model", f"the answer does not fit the output type: {text.line('; '.join(e.errors), LIMIT)}"


def _answer_refused(_view: View, e: ev.AnswerRefused) -> tuple[str, str]:
    what = f"the answer is not taken ({text.line(e.by, 80)}): " if e.feedback else "the call is not taken"
    return "model", what + (text.line(e.feedback, LIMIT) if e.feedback else f" ({text.line(e.by, 80)})")


def _tool_requested(_view: View, e: ev.ToolRequested) -> tuple[str, str]:
    return "tool", f"{text.line(e.tool, 80)} asked for: {text.compact(e.arguments, LIMIT)}"


def _tool_refused(_view: View, e: ev.ToolRefused) -> tuple[str, str]:
    return "tool", f"{text.line(e.tool, 80)} not run: {error_words(e.error)}"


def _tool_started(view: View, e: ev.ToolStarted) -> tuple[str, str]:
    return "tool", f"{_name(view, e.step)} started (attempt {e.epoch}) on {text.line(e.worker, 80)}"


def _tool_completed(view: View, e: ev.ToolCompleted) -> tuple[str, str]:
    took = f" ({text.duration(e.duration_ms)})" if e.duration_ms else ""
    return "tool", f"{_name(view, e.step)} gave {text.compact(e.result, LIMIT)}{took}"


def _tool_failed(view: View, e: ev.ToolFailed) -> tuple[str, str]:
    words = f"attempt {e.epoch} failed, {_retry(e.retry_at_ms)}: {error_words(e.error)}"
    return "tool", f"{_name(view, e.step)} {words}"


def _tool_lost(view: View, e: ev.ToolLost) -> tuple[str, str]:
    again = "offered again" if e.retry_at_ms is None else _retry(e.retry_at_ms)
    then = {"retry": again, "ask": "a person is asked", "fail": "not tried again"}[e.policy]
    return "tool", f"{_name(view, e.step)} attempt {e.epoch} was lost, {then}: {text.line(e.reason, LIMIT)}"


def _timer_fired(view: View, e: ev.TimerFired) -> tuple[str, str]:
    return "tool", f"{_name(view, e.step)} offered again"


def _approval_requested(_view: View, e: ev.ApprovalRequested) -> tuple[str, str]:
    asks = "" if e.asks == "call" else f" ({e.asks})"
    return "approval", f"{e.approval_id} waits{asks}: {text.line(e.tool, 80)} {text.compact(e.arguments)}"


def _approval_decided(_view: View, e: ev.ApprovalDecided) -> tuple[str, str]:
    edited = f" with edited arguments {text.compact(e.arguments)}" if e.arguments is not None else ""
    said = f" with the answer {text.compact(e.answer)}" if e.answer is not None else ""
    words = f"{e.approval_id} {e.decision}{edited}{said} {_by(e.by, e.reason)} ({text.line(e.channel)})"
    return "approval", words


def _function_requested(_view: View, e: ev.FunctionRequested) -> tuple[str, str]:
    return "function", f"{text.line(e.function, 80)} of {text.line(e.agent, 80)} asked"


def _child_requested(_view: View, e: ev.ChildRequested) -> tuple[str, str]:
    role = "" if e.role == "member" else f" as {e.role}"
    return "agent", f"{text.line(e.agent, 80)} started{role}, execution {e.child_id}"


def _child_completed(view: View, e: ev.ChildCompleted) -> tuple[str, str]:
    answer = text.line(e.output, LIMIT) if isinstance(e.output, str) else text.compact(e.output, LIMIT)
    tokens = f"{text.count(e.usage.total_tokens)} tokens"
    return "agent", f"{_name(view, e.step)} completed ({tokens}): {answer}"


def _child_failed(view: View, e: ev.ChildFailed) -> tuple[str, str]:
    return "agent", f"{_name(view, e.step)} {e.status}: {error_words(e.error)}"


def _judge_requested(_view: View, e: ev.JudgeRequested) -> tuple[str, str]:
    return "guardrail", f"{text.line(e.guard, 80)} asks a model{_again(e.attempt)}"


def _condense_requested(_view: View, e: ev.CondenseRequested) -> tuple[str, str]:
    size = f"{e.last - e.first + 1} messages of {text.count(e.tokens)} tokens"
    return "model", f"asked to condense the conversation, {size}{_again(e.attempt)}"


def _arguments_requested(_view: View, e: ev.ArgumentsRequested) -> tuple[str, str]:
    return "model", f"asked for the arguments of {text.line(e.tool, 80)}{_again(e.attempt)}"


def _again(attempt: int) -> str:
    return f" (attempt {attempt})" if attempt > 1 else ""


def _message_awaited(_view: View, e: ev.MessageAwaited) -> tuple[str, str]:
    return "message", f"{text.line(e.tool, 80)} waits for a message"


def _messages_taken(_view: View, e: ev.MessagesTaken) -> tuple[str, str]:
    return "message", f"{text.line(e.tool, 80)} has {e.count} message{'' if e.count == 1 else 's'}"


def _model_interrupted(_view: View, e: ev.ModelInterrupted) -> tuple[str, str]:
    return "model", f"attempt {e.attempt} is given up for a message"


def _session_awaited(_view: View, e: ev.SessionAwaited) -> tuple[str, str]:
    return "session", f"waits for the execution before it, {e.execution_id}"


def _session_joined(_view: View, _e: ev.SessionJoined) -> tuple[str, str]:
    return "session", "the execution before it has ended"


def _noted(_view: View, e: Any) -> tuple[str, str]:
    subject, words = NOTES[type(e)]
    return subject, text.line(words(e), LIMIT)


_WORDS: dict[type[Any], Callable[[View, Any], tuple[str, str]]] = {
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
    ev.MessagesTaken: _messages_taken,
    ev.ModelInterrupted: _model_interrupted,
    ev.SessionAwaited: _session_awaited,
    ev.SessionJoined: _session_joined,
    **dict.fromkeys(NOTES, _noted),
}
