"""A run as a list of moments that two runs can be compared by: what was asked, said, called, decided and answered.

Ids, times, attempts, workers and retries are left out, and a call stands with its outcome where it was asked for, so that
a run that took another way through the same story, or was interrupted, is the same.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from perdure.core import events as ev
from perdure.testing.tree import Node, to_json


class Moment(NamedTuple):
    """One thing that happened: in which execution (`path`), what kind of thing, and its details."""

    path: str
    what: str
    details: dict[str, Any]

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.what} " + ", ".join(f"{k}={v!r:.200}" for k, v in self.details.items())


def moments_of(tree: Node) -> list[Moment]:
    """The moments of a run. A child's stand where it was asked for, so that it does not matter which of two was faster."""
    return list(_of_node(tree))


def _of_node(node: Node) -> Iterator[Moment]:
    outcomes = outcomes_of(node)
    for event in node.events:
        found = _moment(event, outcomes)
        if found is not None:
            yield Moment(node.path, *found)
        if isinstance(event, ev.ChildRequested) and event.step in node.children:
            yield from _of_node(node.children[event.step])


def outcomes_of(node: Node) -> dict[str, dict[str, Any]]:
    """How each call of the execution ended, by its step: `result`, or `error` with its code."""
    found: dict[str, dict[str, Any]] = {}
    for event in node.events:
        if isinstance(event, ev.ToolCompleted):
            found[event.step] = {"result": event.result}
        elif isinstance(event, ev.ToolFailed) and event.retry_at_ms is None:
            found[event.step] = {"error": event.error.code, "says": event.error.what}
        elif isinstance(event, ev.ToolLost) and event.policy == "fail":
            found[event.step] = {"error": "E0308"}
    return found


def _moment(
    event: ev.AnyEvent, outcomes: dict[str, dict[str, Any]]
) -> tuple[str, dict[str, Any]] | None:
    match event:
        case ev.ExecutionStarted():
            return "started", {"agent": event.agent, "input": event.input.text, "context": event.context}
        case ev.ModelCompleted():
            calls = [{"tool": c.tool, "arguments": c.arguments} for c in event.message.tool_calls]
            return "said", {"step": event.step, "text": event.message.text, "calls": calls}
        case ev.ToolRequested():
            called = {"step": event.step, "tool": event.tool, "arguments": event.arguments}
            return "called", called | outcomes.get(event.step, {})
        case ev.FunctionRequested():
            return "asked", {"step": event.step, "function": event.function} | outcomes.get(event.step, {})
        case ev.ToolRefused():
            return "refused", {"step": event.step, "tool": event.tool, "error": event.error.code}
        case ev.ApprovalRequested():
            return "waited", {"step": event.step, "tool": event.tool, "arguments": event.arguments}
        case ev.ApprovalDecided():
            return "decided", {"step": event.step, "decision": event.decision, "arguments": event.arguments}
        case ev.GuardDecided():
            return "judged", {"subject": event.subject, "guard": event.guard, "passed": event.passed}
        case ev.OutputRejected():
            return "rejected", {"step": event.step, "errors": list(event.errors)}
        case ev.ChildRequested():
            return "began", {"step": event.step, "agent": event.agent, "input": event.input.text}
        case ev.AgentChosen():
            return "chose", {"agent": event.agent, "by": event.by}
        case _:
            return _end(event)


def _end(event: ev.AnyEvent) -> tuple[str, dict[str, Any]] | None:
    match event:
        case ev.GateDecided():
            return "gate", {"agent": event.agent, "open": event.open}
        case ev.ExecutionCompleted():
            return "completed", {"output": to_json(event.output), "finish_reason": event.finish_reason}
        case ev.ExecutionFailed():
            return "failed", {"error": event.error.code, "finish_reason": event.finish_reason}
        case ev.ExecutionCancelled():
            return "cancelled", {}
        case _:
            return None
