"""From the wire's records to what users hold: events, status, result. Pure.

One event of the journal may mean several `AgentEvent`s (an answer with its reasoning), or none (a model call
begins). `EventMapper` remembers what a step is about, because only its first event says which tool it calls.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.agents.results import AgentEvent, AgentStatus, EventType, Status, TokenUsage, Wait
from perdure.client.following import StreamRecord
from perdure.core import events as ev
from perdure.core.errors import ExecutionError, PerdureError, from_wire
from perdure.core.messages import ReasoningPart
from perdure.core.model import Usage
from perdure.core.transcript import unknown_result
from perdure.wire.types import DeltaRecord, EventRecord, ExecutionAnswer, WaitInfo

Fields = dict[str, Any]


def event_of(record: EventRecord) -> ev.AnyEvent | None:
    """The record's event; None for a kind, or a form of it, that only a newer version knows."""
    try:
        # Through JSON: `msgspec.convert` studies the union of all events anew in each call, which takes 20 times as long.
        return ev.decode(msgspec.json.encode(record.event))
    except msgspec.ValidationError:
        return None


def error_of_info(info: ev.ErrorInfo) -> PerdureError:
    """The recorded error, as it was raised."""
    return from_wire(msgspec.to_builtins(info))


class EventMapper:
    """Turns the records of one execution, in order, into `AgentEvent`s."""

    def __init__(self) -> None:
        self._calls: dict[str, Fields] = {}  # step -> what its call is: tool_name, args, call_id

    def take(self, record: StreamRecord) -> list[AgentEvent]:
        """The events that *record* means."""
        if isinstance(record, DeltaRecord):
            return [_piece(record)]
        return self.tell(record, event_of(record))

    def tell(self, record: EventRecord, event: ev.AnyEvent | None) -> list[AgentEvent]:
        """The same for a record whose event has been read."""
        kind = str(record.event.get("kind", ""))
        placed: Fields = {
            "execution_id": record.execution_id,
            "seq": record.seq,
            "at_ms": record.at_ms,
            "kind": kind,
        }
        if event is None:
            return [AgentEvent(kind, **placed)]
        step = getattr(event, "step", None)
        attempt = getattr(event, "attempt", None) or getattr(event, "epoch", None)
        placed |= {"step": step, "attempt": attempt}
        if isinstance(event, ev.ToolRequested | ev.ToolRefused | ev.ApprovalRequested):
            self._calls[event.step] = {
                "tool_name": event.tool,
                "args": getattr(event, "arguments", None),
                "call_id": event.call_id,
            }
        if step in self._calls:
            placed |= self._calls[step]
        write = _EVENTS.get(type(event))
        return [] if write is None else [AgentEvent(**(placed | fields)) for fields in write(event)]


def _piece(delta: DeltaRecord) -> AgentEvent:
    kind = EventType.TOKEN if delta.part == "text" else EventType.THINKING
    return AgentEvent(
        kind, delta.execution_id, content=delta.text, step=delta.step, attempt=delta.attempt, kind="delta"
    )


def _answered(event: ev.ModelCompleted) -> list[Fields]:
    thoughts = "".join(p.text for p in event.message.parts if isinstance(p, ReasoningPart))
    found: list[Fields] = [{"type": EventType.THINKING, "content": thoughts}] if thoughts else []
    if text := event.message.text:
        found.append({"type": EventType.MESSAGE, "content": text})
    return found


def _again(event: ev.ModelFailed | ev.ToolFailed) -> list[Fields]:
    error = error_of_info(event.error)
    if event.retry_at_ms is not None:
        return [{"type": EventType.RETRY, "content": error.what, "error": error}]
    # A tool's failure is its result, which the model sees; a model's failure has nobody else to see it.
    kind = EventType.TOOL_RESULT if isinstance(event, ev.ToolFailed) else EventType.ERROR
    return [{"type": kind, "content": error.what, "error": error}]


def _tool_lost(event: ev.ToolLost) -> list[Fields]:
    told = unknown_result(event.reason)
    error = from_wire({"code": told["code"], "what": told["error"], "why": told["why"]})
    kind = EventType.TOOL_RESULT if event.policy == "fail" else EventType.RETRY
    return [{"type": kind, "content": event.reason, "error": error}]


def _refused(event: ev.ToolRefused) -> list[Fields]:
    error = error_of_info(event.error)
    return [{"type": EventType.TOOL_RESULT, "content": error.what, "error": error}]


def _decided(event: ev.ApprovalDecided) -> list[Fields]:
    fields: Fields = {
        "type": EventType.APPROVAL,
        "approval_id": event.approval_id,
        "approved": event.decision == "approved",
        "by": event.by,
        "content": event.reason,
    }
    return [fields | {"args": event.arguments} if event.arguments is not None else fields]


def _failed(event: ev.ExecutionFailed) -> list[Fields]:
    error = error_of_info(event.error)
    return [
        {"type": EventType.ERROR, "content": error.what, "error": error},
        {"type": EventType.DONE, "content": event.partial, "error": error},
    ]


def _cancelled(event: ev.ExecutionCancelled) -> list[Fields]:
    error = ExecutionError("E0406", f"{event.by} cancelled the execution", why=event.reason)
    return [{"type": EventType.DONE, "content": event.reason, "error": error, "by": event.by}]


def _quarantined(event: ev.ExecutionQuarantined) -> list[Fields]:
    error = error_of_info(event.error)
    return [{"type": EventType.STATE, "content": error.what, "error": error}]


_EVENTS: dict[type[ev.Event], Callable[[Any], list[Fields]]] = {
    ev.ExecutionStarted: lambda _: [{"type": EventType.STATE, "content": "started"}],
    ev.ExecutionPaused: lambda e: [{"type": EventType.STATE, "content": e.reason or "paused", "by": e.by}],
    ev.ExecutionResumed: lambda e: [{"type": EventType.STATE, "content": "resumed", "by": e.by}],
    ev.ExecutionQuarantined: _quarantined,
    ev.ExecutionCompleted: lambda e: [{"type": EventType.DONE, "output": e.output}],
    ev.ExecutionFailed: _failed,
    ev.ExecutionCancelled: _cancelled,
    ev.ModelCompleted: _answered,
    ev.ModelFailed: _again,
    ev.ModelLost: lambda e: [{"type": EventType.RETRY, "content": e.reason}],
    ev.OutputRejected: lambda e: [{"type": EventType.RETRY, "content": "\n".join(e.errors)}],
    ev.ToolRequested: lambda _: [{"type": EventType.TOOL_CALL}],
    ev.ToolRefused: _refused,
    ev.ToolCompleted: lambda e: [{"type": EventType.TOOL_RESULT, "result": e.result}],
    ev.ToolFailed: _again,
    ev.ToolLost: _tool_lost,
    ev.ApprovalRequested: lambda e: [{"type": EventType.WAITING, "approval_id": e.approval_id}],
    ev.ApprovalDecided: _decided,
}


def usage_of(usage: Usage) -> TokenUsage:
    """Tokens in the words that users know."""
    return TokenUsage(usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.reasoning_tokens)


def status_of(answer: ExecutionAnswer) -> AgentStatus:
    """The execution as it is now."""
    return AgentStatus(
        execution_id=answer.execution_id,
        status=Status(answer.status),
        waiting_for=tuple(_wait(w) for w in answer.waits),
        output=answer.output,
        error=None if answer.error is None else from_wire(answer.error),
        reason=answer.finish_reason,
        turn=answer.turn,
        usage=usage_of(answer.usage),
    )


def _wait(info: WaitInfo) -> Wait:
    return Wait(**msgspec.structs.asdict(info))
