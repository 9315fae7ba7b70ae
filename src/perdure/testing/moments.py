"""A run as a list of moments that two runs can be compared by: what was asked, said, called, decided and answered.

Ids, times, attempts, workers and retries are left out, and a call stands with its outcome where it was asked for, so that
a run that took another way through the same story, or was interrupted, is the same.
"""

from collections.abc import Callable, Iterator
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


def _moment(event: ev.AnyEvent, outcomes: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    tell = _TELL.get(type(event))
    if tell is None:
        return None
    what, fields, further = tell
    details = {field: getattr(event, field) for field in fields} | further(event)
    if isinstance(event, ev.ToolRequested | ev.FunctionRequested):
        details |= outcomes.get(event.step, {})
    return what, details


def _said(event: ev.ModelCompleted) -> dict[str, Any]:
    calls = [{"tool": c.tool, "arguments": c.arguments} for c in event.message.tool_calls]
    return {"text": event.message.text, "calls": calls}


def _nothing(_event: ev.AnyEvent) -> dict[str, Any]:
    return {}


def _input(event: Any) -> dict[str, Any]:
    return {"input": event.input.text}


def _error(event: Any) -> dict[str, Any]:
    return {"error": event.error.code}


# What is told of an event: its name, fields of the event as they are, and what is made of others.
_TELL: dict[type[ev.Event], tuple[str, tuple[str, ...], Callable[[Any], dict[str, Any]]]] = {
    ev.ExecutionStarted: ("started", ("agent", "context"), _input),
    ev.ModelCompleted: ("said", ("step",), _said),
    ev.ToolRequested: ("called", ("step", "tool", "arguments"), _nothing),
    ev.FunctionRequested: ("asked", ("step", "function"), _nothing),
    ev.ToolRefused: ("refused", ("step", "tool"), _error),
    ev.ApprovalRequested: ("waited", ("step", "tool", "arguments"), _nothing),
    ev.ApprovalDecided: ("decided", ("step", "decision", "arguments"), _nothing),
    ev.MessageReceived: ("heard", (), lambda e: {"text": e.message.text}),
    ev.GuardDecided: ("judged", ("subject", "guard", "passed"), _nothing),
    ev.OutputRejected: ("rejected", ("step",), lambda e: {"errors": list(e.errors)}),
    ev.ChildRequested: ("began", ("step", "agent"), _input),
    ev.AgentChosen: ("chose", ("agent", "by"), _nothing),
    ev.GateDecided: ("gate", ("agent", "open"), _nothing),
    ev.ExecutionCompleted: ("completed", ("finish_reason",), lambda e: {"output": to_json(e.output)}),
    ev.ExecutionFailed: ("failed", ("finish_reason",), _error),
    ev.ExecutionCancelled: ("cancelled", (), _nothing),
}
