"""Two executions compared: their steps side by side, from the events of their journals alone."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from perdure.core import events as ev
from perdure.core.model import Usage

StepKind = Literal["model", "tool", "function", "agent", "approval"]


class StepSummary(msgspec.Struct, frozen=True):
    """One step: what was asked and what came of it.

    `name` is the tool, the function or the agent; `tries` how many attempts it took; `error` the code of a failure.
    """

    step: str
    kind: StepKind
    name: str = ""
    given: Any = None
    outcome: Any = None
    error: str = ""
    tries: int = 1
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def said(self) -> tuple[str, str, Any, Any, str]:
        """What is compared; how long it took and how often it was tried is not."""
        return (self.kind, self.name, self.given, self.outcome, self.error)


class Row(msgspec.Struct, frozen=True):
    """A step of either execution, or of both; `same` says whether it was the same and came to the same."""

    step: str
    same: bool
    left: StepSummary | None = None
    right: StepSummary | None = None


class Comparison(msgspec.Struct, frozen=True):
    """All steps, in the order of the left one's; `first` is the step where they part, None when they never do.

    `not_recorded` names the steps of the right one that its recording did not have (E0431), when it is a replay.
    """

    rows: tuple[Row, ...]
    first: str | None
    same_output: bool
    left_usage: Usage
    right_usage: Usage
    not_recorded: tuple[str, ...] = ()


def compare(left: Sequence[ev.Recorded], right: Sequence[ev.Recorded]) -> Comparison:
    """Align the steps by their names."""
    one, other = steps_of(left), steps_of(right)
    rows = []
    for step in _in_order(list(one), list(other)):
        a, b = one.get(step), other.get(step)
        rows.append(Row(step, a is not None and b is not None and a.said == b.said, a, b))
    return Comparison(
        rows=tuple(rows),
        first=next((row.step for row in rows if not row.same), None),
        same_output=_output(left) == _output(right),
        left_usage=_usage(left),
        right_usage=_usage(right),
        not_recorded=tuple(s.step for s in other.values() if s.error == "E0431"),
    )


def _in_order(left: list[str], right: list[str]) -> list[str]:
    """The left order; what only the right one has stands behind the step that it followed there."""
    merged = list(left)
    known = set(left)
    place = 0
    for step in right:
        if step in known:
            place = merged.index(step) + 1
        else:
            merged.insert(place, step)
            place += 1
    return merged


def steps_of(records: Sequence[ev.Recorded]) -> dict[str, StepSummary]:
    """The steps of an execution in the order in which they were begun."""
    found: dict[str, StepSummary] = {}
    for record in records:
        _take(found, record.event)
    return found


def _take(found: dict[str, StepSummary], event: ev.AnyEvent) -> None:
    match event:
        case ev.ModelRequested() | ev.CondenseRequested() | ev.ArgumentsRequested():
            _open(found, StepSummary(event.step, "model", tries=event.attempt))
        case ev.JudgeRequested():
            _open(found, StepSummary(event.step, "model", event.guard, event.content, tries=event.attempt))
        case ev.ToolRequested():
            _open(found, StepSummary(event.step, "tool", event.tool, event.arguments))
        case ev.FunctionRequested():
            _open(found, StepSummary(event.step, "function", event.function, event.arguments))
        case ev.ChildRequested():
            _open(found, StepSummary(event.step, "agent", event.agent, event.input.text))
        case ev.ApprovalRequested():
            found.setdefault(event.step, StepSummary(event.step, "approval", event.tool, event.arguments))
        case ev.ToolRefused():
            refused = StepSummary(event.step, "tool", event.tool)
            found[event.step] = msgspec.structs.replace(
                refused, error=event.error.code, outcome=event.error.what
            )
        case ev.ToolStarted():
            _change(found, event.step, tries=event.epoch)
        case _:
            _settle(found, event)


def _settle(found: dict[str, StepSummary], event: ev.AnyEvent) -> None:
    match event:
        case ev.ModelCompleted():
            calls = [{"tool": c.tool, "arguments": c.arguments} for c in event.message.tool_calls]
            said = {"text": event.message.text, "calls": calls} if calls else event.message.text
            tokens = {
                "input_tokens": event.usage.input_tokens,
                "output_tokens": event.usage.output_tokens,
            }
            _change(found, event.step, outcome=said, error="", **tokens)
        case ev.ToolCompleted():
            _change(found, event.step, outcome=event.result, error="")
        case ev.ChildCompleted():
            _change(found, event.step, outcome=event.output, error="")
        case ev.ModelFailed() | ev.ToolFailed() | ev.ChildFailed():
            _change(found, event.step, outcome=event.error.what, error=event.error.code)
        case ev.ModelLost() | ev.ToolLost():
            _change(found, event.step, outcome=event.reason, error="E0308")
        case ev.ApprovalDecided():
            _change(found, event.step, outcome=event.decision if event.answer is None else event.answer)


def _open(found: dict[str, StepSummary], summary: StepSummary) -> None:
    found[summary.step] = summary


def _change(found: dict[str, StepSummary], step: str, **fields: Any) -> None:
    if step in found:
        found[step] = msgspec.structs.replace(found[step], **fields)


def _output(records: Sequence[ev.Recorded]) -> tuple[str, Any]:
    last = records[-1].event if records else None
    if isinstance(last, ev.ExecutionCompleted):
        return "completed", last.output
    if isinstance(last, ev.ExecutionFailed):
        return "failed", last.error.code
    return ("cancelled" if isinstance(last, ev.ExecutionCancelled) else "running"), None


def _usage(records: Sequence[ev.Recorded]) -> Usage:
    used = Usage()
    for record in records:
        if isinstance(record.event, ev.ModelCompleted | ev.ChildCompleted | ev.ChildFailed):
            used = used.plus(record.event.usage)
    return used
