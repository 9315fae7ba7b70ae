"""Passing a joint: its stages one after the other, and then what the subject was on its way to.

`enter` begins, `function_ended`, `judged`, `answered` and `failed` go on when a stage that opened a step has its outcome.
What comes after a joint is the draft's `ways`: this module knows no machine.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.guards import GuardVerdict
from perdure.core.history import text_of
from perdure.core.machines import functions, guards, joints
from perdure.core.machines.draft import Draft

# callback -> the one field that it may change, and of which type; None: any JSON
_MAY_CHANGE: dict[str, tuple[str, type | None]] = {
    "@before_agent": ("input", str),
    "@after_agent": ("output", None),
    "@before_model": ("instructions", str),
    "@after_model": ("text", str),
    "@before_tool": ("arguments", dict),
    "@after_tool": ("result", None),
}


def enter(draft: Draft, subject: str, first: int = 0) -> None:
    """Pass the stages of a joint from the *first* on."""
    listed = joints.stages(draft.scope.plan, subject, joints.tool_of(draft, subject))
    for number, stage in enumerate(listed[first:], start=first):
        if stage.guard is None:
            _call(draft, subject, number, stage.function)
            return
        said = guards.judge(draft, subject, number, stage.guard)
        if said is None or not guards.decide(draft, subject, number, stage.guard, said):
            return
    draft.ways[joints.kind_of(subject)](draft, subject)


def has_stages(draft: Draft, subject: str) -> bool:
    """Whether anything stands at this joint."""
    plan = draft.scope.plan
    if not (plan.hooks or plan.guards or plan.instructions_function) and subject[-1] not in "ir":
        return False  # most agents have nothing there, and this is asked at every turn
    return bool(joints.stages(draft.scope.plan, subject, joints.tool_of(draft, subject)))


def _stage(draft: Draft, subject: str, number: int) -> joints.Stage:
    return joints.stages(draft.scope.plan, subject, joints.tool_of(draft, subject))[number]


def _call(draft: Draft, subject: str, number: int, function: str) -> None:
    functions.request(draft, joints.step_of(subject, number), function, _arguments(draft, subject, function))


def _arguments(draft: Draft, subject: str, function: str) -> dict[str, Any]:
    """What a callback is told."""
    value = joints.content(draft, subject)
    if function in ("@before_agent", "@instructions", "@recall"):
        return {"input": text_of(value)}
    if function in ("@after_agent", "@remember"):
        return {"input": draft.scope.transcript.given.text, "output": value}
    turn = draft.state.turn + (1 if function == "@before_model" else 0)
    if function == "@before_model":
        return {"turn": turn, "messages": draft.transcript().listed()}
    if function == "@after_model":
        answer = joints.answer_of(draft)
        calls = answer.message.tool_calls if answer is not None else ()
        listed = [{"tool": c.tool, "call_id": c.call_id, "arguments": c.arguments} for c in calls]
        return {"turn": turn, "text": value, "tool_calls": listed}
    step = joints.call_step(subject)
    tool, arguments = joints.called(draft, step)
    told = {"tool": tool, "call_id": joints.call_id(draft, step)}
    if function == "@before_tool":
        return {**told, "arguments": value}
    return {**told, "arguments": arguments, "result": value}


def function_ended(draft: Draft, step: str, function: str, result: Any) -> None:
    """A guardrail's or a callback's function has given *result*."""
    place = joints.stage_of(step)
    if place is None:
        return
    subject, number = place
    stage = _stage(draft, subject, number)
    if stage.guard is not None:
        said = guards.verdict_of_function(result)
        if guards.decide(draft, subject, number, stage.guard, said):
            enter(draft, subject, number + 1)
    elif _changed(draft, subject, function, result):
        enter(draft, subject, number + 1)


def _changed(draft: Draft, subject: str, function: str, result: Any) -> bool:
    """Record what a callback changed; False: it gave something that it may not, and the execution has failed (E8)."""
    turn = draft.state.turn + (1 if function == "@before_model" else 0)
    if function == "@instructions":
        text = functions.answer(result, "instructions", str)
        if text is None:
            functions.fail(draft, function, draft.scope.plan.agent, f"It gave {result!r:.200}, not a text.")
            return False
        draft.record(ev.HookEnded(subject, function, ("instructions",), turn))
        draft.record(ev.Replaced("instructions", text, function))
        return True
    if function in ("@recall", "@remember"):
        return _memory_ended(draft, subject, function, result)
    field, kind = _MAY_CHANGE[function]
    changes = _changes(result, field, kind)
    if changes is None:
        why = f"It gave {result!r:.200}; it may change {field!r} and nothing else."
        functions.fail(draft, function, draft.scope.plan.agent, why)
        return False
    draft.record(ev.HookEnded(subject, function, tuple(changes), turn))
    if changes:
        target = "added_instructions" if field == "instructions" else subject
        draft.record(ev.Replaced(target, changes[field], function))
    return True


def _memory_ended(draft: Draft, subject: str, function: str, result: Any) -> bool:
    """What a memory had about the input, or that it has kept the exchange."""
    field, kind = ("text", str) if function == "@recall" else ("ids", list)
    found = functions.answer(result, field, kind)
    if found is None:
        functions.fail(
            draft, function, draft.scope.plan.agent, f"It gave {result!r:.200}, without {field!r}."
        )
        return False
    draft.record(ev.HookEnded(subject, function, (field,) if found else (), draft.state.turn))
    if function == "@recall" and found:
        draft.record(ev.Replaced("recalled", found, function))
    return True


def _changes(result: Any, field: str, kind: type | None) -> dict[str, Any] | None:
    """What a callback changed, empty for nothing; None: it gave something else (E8)."""
    if result is not None and not isinstance(result, dict):
        return None
    changes = (result or {}).get("changes") or {}
    if not isinstance(changes, dict) or not set(changes) <= {field}:
        return None
    fits = not changes or kind is None or isinstance(changes[field], kind)
    return changes if fits else None


def judged(draft: Draft, item: inp.ModelSucceeded) -> None:
    """A judging model has answered."""
    _said(draft, item.step, guards.verdict_of_model(item.reply.message.text))


def _said(draft: Draft, step: str, said: GuardVerdict) -> None:
    place = joints.stage_of(step)
    if place is None:
        return
    subject, number = place
    guard = _stage(draft, subject, number).guard
    if guard is not None and guards.decide(draft, subject, number, guard, said):
        enter(draft, subject, number + 1)


def answered(draft: Draft, decided: ev.ApprovalDecided) -> None:
    """A person has decided about what a guardrail did not pass."""
    place = joints.stage_of(decided.step)
    if place is None:
        return
    subject, number = place
    guard = _stage(draft, subject, number).guard
    if guard is not None and guards.person_decided(draft, subject, guard, decided):
        enter(draft, subject, number + 1)


def failed(draft: Draft, step: str, function: str, why: str) -> None:
    """A stage's function or judge could not be heard at all: the execution fails (E8)."""
    place = joints.stage_of(step)
    guard = None if place is None else _stage(draft, *place).guard
    if place is not None and guard is not None:
        message = f"It could not be asked: {why}"
        draft.record(ev.GuardDecided(place[0], guard.name, passed=False, action="raise", message=message))
        guards.stop(draft, guard, message)
    else:
        functions.fail(draft, function, draft.scope.plan.agent, why)
