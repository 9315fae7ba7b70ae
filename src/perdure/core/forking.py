"""Where an execution can be taken up, and with which events: pure, from the events of its journal alone.

An execution is append-only and its end is final (E5), so that whoever retries, forks or repeats one makes a new
execution. It begins with a copy of the old one's events up to a point, and goes on by itself from there.

Rule 1: a point lies between two inputs. The events that an input brought are what its first event (LEADS) and all up to the
next such event say; a point in the midst of them stands behind them, since they were decided as one.

Rule 2: an end is never copied. Before an end that somebody or something made, the steps that were open are open again; an
answer or a result that led to the end is kept, and given to the machine once more.

Rule 3: nothing recorded in the copy is done again (E4), and its calls keep their idempotency keys (E6). What is open at the
point is the new execution's own: its approvals are asked anew under new ids, because a yes is bound to one execution (E8);
its children are new executions; an attempt that a worker held is unknown (E7).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError
from perdure.core.machines.turn_state import TurnState, evolve
from perdure.core.messages import Message, TextPart, ToolCallPart
from perdure.core.model import ModelReply, Usage
from perdure.core.plan import Plan

# What happens from outside, and so comes first among the events of an input.
LEADS: tuple[type[ev.Event], ...] = (
    ev.ExecutionStarted,
    ev.ExecutionPaused,
    ev.ExecutionResumed,
    ev.ExecutionQuarantined,
    ev.ExecutionCancelled,
    ev.ModelCompleted,
    ev.ModelFailed,
    ev.ModelLost,
    ev.ToolStarted,
    ev.ToolCompleted,
    ev.ToolFailed,
    ev.ToolLost,
    ev.TimerFired,
    ev.ChildCompleted,
    ev.ChildFailed,
    ev.ApprovalDecided,
    ev.MessageReceived,
    ev.StopRequested,
    ev.SessionJoined,
    ev.BudgetReached,
)
_OPENS = (
    ev.ModelRequested,
    ev.JudgeRequested,
    ev.CondenseRequested,
    ev.ArgumentsRequested,
    ev.FunctionRequested,
    ev.ToolRequested,
    ev.ApprovalRequested,
    ev.ChildRequested,
    ev.MessageAwaited,
)
_ASKS = (ev.ModelRequested, ev.JudgeRequested, ev.CondenseRequested, ev.ArgumentsRequested)
_TRIES = (ev.ModelFailed, ev.ModelLost, ev.ToolStarted, ev.ToolFailed, ev.ToolLost, ev.TimerFired)
_WORDS = (ev.ModelCompleted, ev.ToolCompleted, ev.ChildCompleted)


class Edit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands in the place of what was recorded at a step.

    Attributes:
        input: what the execution was asked; only at its beginning.
        answer: the text of the model's answer; `calls` the tool calls that it asks for (`tool`, `arguments`).
        result: of a tool call or of a child execution.
    """

    input: str | None = None
    answer: str | None = None
    calls: tuple[dict[str, Any], ...] = ()
    result: Any = msgspec.UNSET

    @property
    def names(self) -> tuple[str, ...]:
        """What is edited."""
        found = [n for n in ("input", "answer") if getattr(self, n) is not None]
        found += ["calls"] if self.calls else []
        return (*found, *(["result"] if self.result is not msgspec.UNSET else []))


class Cut(msgspec.Struct, frozen=True):
    """The events to begin with, and the input to give next.

    Attributes:
        seq: the last of the old events that counts.
        then: a recorded answer or result that is given again, as it was or edited.
        anew: the children's steps that are begun anew and not from where they stood.
    """

    records: tuple[ev.Recorded, ...]
    seq: int
    then: inp.Input | None = None
    anew: frozenset[str] = frozenset()

    @property
    def at_ms(self) -> int:
        """When the last of the events was recorded."""
        return self.records[-1].at_ms if self.records else 0

    @property
    def state(self) -> TurnState:
        """What the events come to."""
        state = TurnState()
        for record in self.records:
            evolve(state, record.event)
        return state


# Points -------------------------------------------------------------------------------------------------


def at_seq(records: Sequence[ev.Recorded], seq: int) -> Cut:
    """Everything up to *seq* stays as it was.

    Raises:
        ExecutionError: E0432 there is no such event.
    """
    if not 1 <= seq <= len(records):
        raise no_point(f"seq {seq}", f"The journal has the events 1 to {len(records)}.")
    last = _end(records, seq)
    if not isinstance(records[last - 1].event, ev.TERMINAL):
        return Cut(tuple(records[:last]), last)
    lead = _lead(records, last)
    event = records[lead - 1].event
    then = given_again(records[: lead - 1], event) if isinstance(event, _WORDS) else None
    return Cut(tuple(records[: lead - 1]), lead if then is not None else lead - 1, then)


def before_step(records: Sequence[ev.Recorded], step: str) -> Cut:
    """The step is done again: the model is asked again, the call is made again.

    Raises:
        ExecutionError: E0432 no such step was begun.
    """
    opened = next((r.seq for r in records if isinstance(r.event, _OPENS) and r.event.step == step), None)
    if opened is None:
        raise no_point(f"step {step}", _steps(records))
    last = _end(records, opened)
    if isinstance(records[last - 1].event, ev.TERMINAL):
        last = _lead(records, last) - 1
    return Cut(tuple(records[:last]), last, anew=frozenset((step,)))


def edited(records: Sequence[ev.Recorded], at: int | str, edit: Edit) -> Cut:
    """What was recorded at a step, or at a position, is replaced.

    Raises:
        ExecutionError: E0432 there is no such answer or result there.
    """
    wanted = "an answer" if edit.answer is not None or edit.calls else "a result"
    found = next((r for r in reversed(records) if _is_at(r, at) and _is_outcome(r.event, wanted)), None)
    if found is None:
        raise no_point(str(at), f"There is no recorded {wanted.split()[1]} to edit. {_steps(records)}")
    before = records[: found.seq - 1]
    return Cut(tuple(before), found.seq, _edited_input(before, found.event, edit))


def retried(records: Sequence[ev.Recorded]) -> Cut:
    """From the step on that the execution failed at; its attempts begin to count anew.

    Raises:
        ExecutionError: E0433 it has not failed, nor was it cancelled.
    """
    if not records or not isinstance(records[-1].event, ev.ExecutionFailed | ev.ExecutionCancelled):
        raise ExecutionError(
            "E0433",
            "Only what has failed or was cancelled can be retried",
            fix="Use fork to go on from a step of it, or rerun to begin again.",
        )
    lead = _lead(records, len(records))
    before, event = records[: lead - 1], records[lead - 1].event
    if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost | ev.ToolFailed | ev.ToolLost):
        return Cut(tuple(_untried(before, event.step)), lead - 1)
    if isinstance(event, ev.ToolCompleted):
        if any(isinstance(r.event, ev.FunctionRequested) and r.event.step == event.step for r in before):
            return Cut(tuple(_untried(before, event.step)), lead - 1)
        return Cut(tuple(before), lead, given_again(before, event))
    anew = frozenset((event.step,)) if isinstance(event, ev.ChildCompleted) else frozenset[str]()
    return Cut(tuple(before), lead - 1, anew=anew)


def no_point(where: str, why: str) -> ExecutionError:
    """E0432."""
    return ExecutionError(
        "E0432",
        "The execution cannot be taken up at this point",
        where=where,
        why=why,
        fix="See `perdure show ID -o json` for its events: give a seq, or the name of a step.",
    )


def _leads(event: ev.Event) -> bool:
    return isinstance(event, LEADS) or (
        isinstance(event, ev.ExecutionFailed) and event.finish_reason == "timeout"
    )


def _lead(records: Sequence[ev.Recorded], seq: int) -> int:
    """The first event of those that were decided together with this one."""
    return next(s for s in range(seq, 0, -1) if _leads(records[s - 1].event))


def _end(records: Sequence[ev.Recorded], seq: int) -> int:
    """The last event of those that were decided together with this one."""
    after = (s for s in range(seq + 1, len(records) + 1) if _leads(records[s - 1].event))
    return next(after, len(records) + 1) - 1


def _untried(records: Sequence[ev.Recorded], step: str) -> list[ev.Recorded]:
    """The events without the attempts at a step that came to nothing: it stands as it did when it was begun."""
    kept: list[ev.Recorded] = []
    requested = False
    for record in records:
        event = record.event
        if getattr(event, "step", None) != step:
            kept.append(record)
            continue
        again = isinstance(event, _ASKS) and event.attempt > 1
        asked = requested and isinstance(event, ev.ApprovalRequested | ev.ApprovalDecided)
        if not (again or asked or isinstance(event, _TRIES)):
            kept.append(record)
        requested = requested or isinstance(event, ev.ToolRequested | ev.FunctionRequested)
    return kept


def _steps(records: Sequence[ev.Recorded]) -> str:
    names = dict.fromkeys(r.event.step for r in records if isinstance(r.event, _OPENS))
    return f"Its steps are {', '.join(names) or 'none'}."


# Outcomes, given again ------------------------------------------------------------------------------------


def _is_at(record: ev.Recorded, at: int | str) -> bool:
    return record.seq == at if isinstance(at, int) else getattr(record.event, "step", None) == at


def _is_outcome(event: ev.Event, wanted: str) -> bool:
    if wanted == "an answer":
        return isinstance(event, ev.ModelCompleted)
    if isinstance(event, ev.ToolFailed):
        return event.retry_at_ms is None
    if isinstance(event, ev.ToolLost):
        return event.policy == "fail"
    return isinstance(event, ev.ToolCompleted | ev.ChildCompleted | ev.ChildFailed)


def given_again(records: Sequence[ev.Recorded], event: ev.AnyEvent) -> inp.Input | None:
    """The input that brought an answer or a result."""
    if isinstance(event, ev.ModelCompleted):
        reply = ModelReply(event.message, event.usage, event.finish_reason, event.model, event.response_id)
        return inp.ModelSucceeded(event.step, event.attempt, reply, event.duration_ms)
    if isinstance(event, ev.ToolCompleted):
        return inp.TaskSucceeded(event.step, event.epoch, event.result, event.state, event.duration_ms)
    if isinstance(event, ev.ChildCompleted):
        return inp.ChildEnded(
            event.step,
            _child(records, event.step),
            "completed",
            event.usage,
            event.output,
            event.finish_reason,
            event.handover,
        )
    return None


def _child(records: Sequence[ev.Recorded], step: str) -> str:
    asked = (r.event for r in reversed(records) if isinstance(r.event, ev.ChildRequested))
    return next((event.child_id for event in asked if event.step == step), "")


def _edited_input(records: Sequence[ev.Recorded], event: ev.AnyEvent, edit: Edit) -> inp.Input | None:
    if isinstance(event, ev.ModelCompleted):
        text = event.message.text if edit.answer is None else edit.answer
        calls = tuple(_call(n, c) for n, c in enumerate(edit.calls))
        message = Message("assistant", ((TextPart(text),) if text or not calls else ()) + calls)
        reply = ModelReply(message, Usage(), "tool_calls" if calls else "stop")
        return inp.ModelSucceeded(event.step, event.attempt, reply)
    if isinstance(event, ev.ToolCompleted):
        return inp.TaskSucceeded(event.step, event.epoch, edit.result, event.state)
    if isinstance(event, ev.ToolFailed | ev.ToolLost):
        return inp.TaskSucceeded(event.step, event.epoch, edit.result)
    if isinstance(event, ev.ChildCompleted | ev.ChildFailed):
        return inp.ChildEnded(
            event.step, _child(records, event.step), "completed", event.usage, output=edit.result
        )
    return None


def _call(number: int, call: dict[str, Any]) -> ToolCallPart:
    tool, arguments = call.get("tool"), call.get("arguments", {})
    if not isinstance(tool, str) or not isinstance(arguments, dict) or set(call) - {"tool", "arguments"}:
        raise no_point("calls", "A call has the name of a `tool` and an object of `arguments`.")
    return ToolCallPart(f"edited-{number}", tool, arguments)


# Taking over ----------------------------------------------------------------------------------------------


def open_children(cut: Cut) -> dict[str, str]:
    """The child executions that are open at the point, by step, but for the one whose end is given next."""
    ends = cut.then.step if isinstance(cut.then, inp.ChildEnded) else None
    return {i: s.child_id or "" for i, s in cut.state.steps.items() if s.status == "child" and i != ends}


def adopted(
    cut: Cut,
    begin: inp.Begin,
    execution_id: str,
    plan: Plan,
    now_ms: int,
    children: dict[str, ev.Origin | None],
) -> tuple[ev.AnyEvent, ...]:
    """The events of *cut* as those of another execution, which *begin* says more of.

    *children* has where each open child goes on from; None: it begins anew.
    """
    state = cut.state
    found: list[ev.AnyEvent] = []
    last = {r.event.step: n for n, r in enumerate(cut.records) if isinstance(r.event, _OPENS)}
    for number, record in enumerate(cut.records):
        event = record.event
        step = state.steps.get(getattr(event, "step", ""))
        if isinstance(event, ev.ExecutionStarted):
            found.append(_started(event, begin, len(cut.records)))
        elif isinstance(event, ev.ApprovalRequested) and step is not None and last[event.step] == number:
            found.append(_asked_anew(event, execution_id, plan) if step.status == "approval" else event)
        elif isinstance(event, ev.ChildRequested) and event.step in children and step is not None:
            child = ids.child_id(now_ms, execution_id, event.step)
            found.append(msgspec.structs.replace(event, child_id=child, origin=children[event.step]))
        else:
            found.append(event)
    return tuple(found)


def _started(event: ev.ExecutionStarted, begin: inp.Begin, copied: int) -> ev.ExecutionStarted:
    origin = begin.origin
    return msgspec.structs.replace(
        event,
        plan_hash=begin.plan_hash,
        started_by=begin.started_by,
        deadline_ms=begin.deadline_ms,
        session_id=begin.session_id,
        idempotency_key=begin.idempotency_key,
        parent=begin.parent,
        history=begin.history,
        budgets=begin.budgets,
        origin=None if origin is None else msgspec.structs.replace(origin, copied=copied),
    )


def _asked_anew(event: ev.ApprovalRequested, execution_id: str, plan: Plan) -> ev.ApprovalRequested:
    schema = event.answer_schema or {}
    if event.asks == "call":
        schema = plan.tools[event.tool].spec.input_schema
    return msgspec.structs.replace(
        event,
        approval_id=ids.approval_id(execution_id, event.approval_id),
        effect_hash=ids.effect_hash(execution_id, event.step, event.tool, schema, event.arguments),
    )


def with_instructions(cut: Cut) -> Cut:
    """The cut without what a function gave for instructions: others stand in the plan now."""
    if any(s.tool == "@instructions" for s in cut.state.steps.values()):
        return Cut((), 0)
    kept = [r for r in cut.records if not _gives_instructions(r.event)]
    return msgspec.structs.replace(cut, records=tuple(kept))


def _gives_instructions(event: ev.AnyEvent) -> bool:
    return isinstance(event, ev.Replaced) and event.subject == "instructions"
