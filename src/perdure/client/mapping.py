"""From the wire's records to what users hold: events, status, result. Pure.

One event of the journal may mean several `AgentEvent`s (an answer with its reasoning), or none (a model call
begins). `EventMapper` remembers what a step is about, because only its first event says which tool it calls, and
which agent an execution is of.
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
_MICRO = 1_000_000  # of `core.prices`, without its table


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
    """Turns the records of executions, those of each in order, into `AgentEvent`s."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def take(self, record: StreamRecord) -> list[AgentEvent]:
        """The events that *record* means."""
        if isinstance(record, DeltaRecord):
            seen = self._of(record.execution_id)
            return [] if record.step in seen.asides else [_piece(record, seen.agent)]
        return self.tell(record, event_of(record))

    def tell(self, record: EventRecord, event: ev.AnyEvent | None) -> list[AgentEvent]:
        """The same for a record whose event has been read."""
        kind = str(record.event.get("kind", ""))
        seen = self._of(record.execution_id)
        if isinstance(event, ev.ExecutionStarted):
            seen.agent = event.agent
        placed: Fields = {
            "execution_id": record.execution_id,
            "agent": seen.agent,
            "seq": record.seq,
            "at_ms": record.at_ms,
            "kind": kind,
        }
        if event is None:
            return [AgentEvent(kind, **placed)]
        step = getattr(event, "step", None)
        attempt = getattr(event, "attempt", None) or getattr(event, "epoch", None)
        seen.learn(event)
        placed |= {"step": step, "attempt": attempt} | seen.calls.get(step or "", {})
        return [AgentEvent(**(placed | fields)) for fields in seen.told(event)]

    def _of(self, execution_id: str) -> "_Seen":
        return self._seen.setdefault(execution_id, _Seen())


class _Seen:
    """What earlier events of one execution say about later ones.

    Attributes:
        calls: what a step's call is about, by step: tool_name, args, call_id.
        asides: steps in which a model judges, condenses or writes arguments: its words are nobody's message.
    """

    def __init__(self) -> None:
        self.agent = ""
        self.calls: dict[str, Fields] = {}
        self.asides: set[str] = set()
        self._functions: set[str] = set()
        self._children: dict[str, ev.ChildRequested] = {}
        self._chosen: ev.AgentChosen | None = None
        self._arguments: dict[str, Any] = {}  # of the calls that the model asked for last, by call_id

    def learn(self, event: ev.AnyEvent) -> None:
        """Take in what later events refer to."""
        if isinstance(event, ev.ToolRequested | ev.ToolRefused | ev.MessageAwaited):
            arguments = getattr(event, "arguments", None)
            self._call(event.step, event.tool, arguments, event.call_id)
        elif isinstance(event, ev.ApprovalRequested):
            self._call(event.step, event.tool, event.arguments, event.call_id)
            self.calls[event.step] |= {"asks": event.asks, "answer_schema": event.answer_schema}
        elif isinstance(event, ev.FunctionRequested):
            self._functions.add(event.step)
            self.calls[event.step] = {"tool_name": event.function}
        elif isinstance(event, ev.ModelCompleted):
            self._arguments = {call.call_id: call.arguments for call in event.message.tool_calls}
        elif isinstance(event, ev.JudgeRequested):
            self.asides.add(event.step)
            self.calls[event.step] = {"guardrail_name": event.guard}
        elif isinstance(event, ev.CondenseRequested | ev.ArgumentsRequested):
            self.asides.add(event.step)
        elif isinstance(event, ev.AgentChosen):
            self._chosen = event
        elif isinstance(event, ev.ChildRequested):
            self._children[event.step] = event
            self.calls[event.step] = {"child_id": event.child_id, "target": event.agent}
            if event.role == "tool":
                self._call(event.step, event.tool, self._arguments.get(event.call_id or ""), event.call_id)

    def _call(self, step: str, tool: str, arguments: Any, call_id: str | None) -> None:
        known = self.calls.setdefault(step, {})
        known |= {"tool_name": tool, "args": arguments, "call_id": call_id}

    def told(self, event: ev.AnyEvent) -> list[Fields]:
        """The fields of each `AgentEvent` that the event means."""
        step = getattr(event, "step", "")
        if isinstance(event, ev.ChildRequested | ev.ChildCompleted | ev.ChildFailed):
            return self._of_child(event, self._children.get(step))
        if step in self._functions and isinstance(event, ev.ToolCompleted):
            return []  # what was decided by it is another event of the same commit
        if step in self.asides and isinstance(event, ev.ModelCompleted):
            return []
        found = _EVENTS[type(event)](event) if type(event) in _EVENTS else []
        if step in self._functions:
            failed = [f | {"type": EventType.ERROR} for f in found if f["type"] == EventType.TOOL_RESULT]
            return failed or found
        if isinstance(event, ev.ApprovalDecided) and event.decision == "approved" and self._is_question(step):
            found.append({"type": EventType.TOOL_RESULT, "result": event.answer})
        return found

    def _is_question(self, step: str) -> bool:
        return self.calls.get(step, {}).get("asks") == "question"

    def _of_child(
        self, event: ev.ChildRequested | ev.ChildCompleted | ev.ChildFailed, asked: ev.ChildRequested | None
    ) -> list[Fields]:
        """A child that is called like a tool is told of like a tool; another one tells its story itself."""
        is_tool = asked is not None and asked.role == "tool"
        if isinstance(event, ev.ChildRequested):
            if is_tool:
                return [{"type": EventType.TOOL_CALL}]
            chosen, self._chosen = self._chosen, None
            if event.role in ("router", "planner"):  # it decides who goes on, and does not go on itself
                return []
            if chosen is None or chosen.agent != event.agent:
                return [{"type": EventType.HANDOFF}]
            return [{"type": EventType.HANDOFF, "by": chosen.by, "content": chosen.reason}]
        if isinstance(event, ev.ChildCompleted):
            return [{"type": EventType.TOOL_RESULT, "result": event.output}] if is_tool else []
        error = error_of_info(event.error)
        kind = EventType.TOOL_RESULT if is_tool else EventType.ERROR
        return [{"type": kind, "content": error.what, "error": error}]


def _piece(delta: DeltaRecord, agent: str) -> AgentEvent:
    return AgentEvent(
        EventType.TOKEN if delta.part == "text" else EventType.THINKING,
        delta.execution_id,
        content=delta.text,
        step=delta.step,
        attempt=delta.attempt,
        kind="delta",
        agent=agent,
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
        "answer": event.answer,
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


def _judged(event: ev.GuardDecided) -> list[Fields]:
    kind = EventType.GUARDRAIL_PASS if event.passed else EventType.GUARDRAIL_FAIL
    told = {"type": kind, "guardrail_name": event.guard, "content": event.message, "step": event.subject}
    return [told]


def _sent_back(event: ev.AnswerRefused) -> list[Fields]:
    """Without feedback it is a call, whose own result says why."""
    if not event.feedback:
        return []
    return [{"type": EventType.RETRY, "content": event.feedback, "by": event.by}]


def _chosen(event: ev.AgentChosen) -> list[Fields]:
    """Who goes on is told with the child that begins; the team's own model is nobody's child."""
    if event.by != "synthesis":
        return []
    return [
        {"type": EventType.HANDOFF, "target": event.agent, "by": event.by, "content": event.reason},
    ]


def _gated(event: ev.GateDecided) -> list[Fields]:
    words = f"the gate of {event.agent} is {'open' if event.open else 'closed'}"
    return [{"type": EventType.STATE, "content": f"{words}: {event.reason}" if event.reason else words}]


# Of these no `AgentEvent` is made: they begin what another event ends, or are details of what others tell.
LEFT_OUT: frozenset[type[ev.Event]] = frozenset(
    {
        ev.ModelRequested,
        ev.ToolStarted,
        ev.TimerFired,
        ev.FunctionRequested,
        ev.JudgeRequested,
        ev.CondenseRequested,
        ev.ArgumentsRequested,
        ev.MessagesTaken,
        ev.SessionJoined,
        ev.CallsPrefilled,
        ev.HandoffDecided,
        ev.HookEnded,
        ev.Replaced,
        ev.AnswerProposed,
    }
)
# What `_Seen` tells by itself, because it depends on what kind of child it is.
OF_CHILDREN: frozenset[type[ev.Event]] = frozenset({ev.ChildRequested, ev.ChildCompleted, ev.ChildFailed})

_EVENTS: dict[type[ev.Event], Callable[[Any], list[Fields]]] = {
    ev.ExecutionStarted: lambda _: [{"type": EventType.STATE, "content": "started"}],
    ev.ExecutionPaused: lambda e: [{"type": EventType.STATE, "content": e.reason or "paused", "by": e.by}],
    ev.ExecutionResumed: lambda e: [{"type": EventType.STATE, "content": "resumed", "by": e.by}],
    ev.ExecutionQuarantined: _quarantined,
    ev.ExecutionCompleted: lambda e: [{"type": EventType.DONE, "output": e.output, "content": e.reason}],
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
    ev.GuardDecided: _judged,
    ev.AnswerRefused: _sent_back,
    ev.AgentChosen: _chosen,
    ev.GateDecided: _gated,
    ev.BudgetReached: lambda e: [{"type": EventType.STATE, "content": e.why}],
    ev.BudgetGranted: lambda e: [
        {"type": EventType.STATE, "content": f"more of {e.limit} is allowed", "by": e.by}
    ],
    ev.MessageReceived: lambda e: [{"type": EventType.STATE, "content": e.message.text, "by": e.by}],
    ev.MessageAwaited: lambda _: [{"type": EventType.WAITING}],
    ev.ModelInterrupted: lambda _: [{"type": EventType.RETRY, "content": "the model call was given up"}],
    ev.StopRequested: lambda e: [
        {"type": EventType.STATE, "content": e.reason or "asked to stop", "by": e.by}
    ],
    ev.SessionAwaited: lambda e: [
        {"type": EventType.STATE, "content": f"waits for the execution before it, {e.execution_id}"}
    ],
    ev.PlanAccepted: lambda e: [{"type": EventType.STATE, "content": f"the plan of the {e.by} is accepted"}],
    ev.PlanRejected: lambda e: [{"type": EventType.RETRY, "content": "\n".join(e.errors)}],
    ev.PlanFailed: lambda e: [
        {"type": EventType.STATE, "content": "\n".join(("the plan goes no further", *e.errors))}
    ],
    ev.StopDecided: lambda e: [{"type": EventType.STATE, "content": "the stop condition is met"}] * e.stop,
}


def usage_of(usage: Usage) -> TokenUsage:
    """Tokens and money in the words that users know; a sum of which a part is not known is not known."""
    cost_usd = None if usage.unpriced_calls else usage.cost_micro / _MICRO
    return TokenUsage(
        usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.reasoning_tokens, cost_usd
    )


def is_told(kind: type[ev.Event]) -> bool:
    """Whether an event of this kind may be told to a user as an `AgentEvent`."""
    return kind in _EVENTS or kind in OF_CHILDREN


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
