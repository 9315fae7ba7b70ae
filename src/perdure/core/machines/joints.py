"""Joints: the places of an agent's loop where guardrails and callbacks stand, and what passes there.

    in            what the agent is given: input guardrails, before_agent, its memory, the function of the instructions
    t3.b          before the model call of turn 3: before_model
    t3.a          after it: after_model
    t3.c0.i       a tool call before it runs: before_tool, the tool's input guardrails
    t3.c0.r       its result: after_tool, the tool's output guardrails
    t3.out, c3.out  an answer before it is taken (of an agent, of a team): output guardrails, after_agent, its memory

A joint's stages are known from the plan. They are passed one after the other: what is decided from data is decided
at once, what needs a worker, a model or a person opens a step, whose name says which joint and stage it is of
(`t3.out.s1`), so that the state needs no cursor. When all are passed, the joint's subject goes on.

E8: a stage that errs has not been passed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from perdure.core import events as ev
from perdure.core.definition import GuardrailDefinition
from perdure.core.machines import operations
from perdure.core.machines.draft import Draft
from perdure.core.messages import ToolCallPart
from perdure.core.plan import Plan, ToolPlan


class Stage(NamedTuple):
    """A guardrail, or the name of a function (`@before_model`)."""

    guard: GuardrailDefinition | None = None
    function: str = ""


def stages(plan: Plan, subject: str, tool: ToolPlan | None) -> tuple[Stage, ...]:
    """What a subject must pass, in order."""
    kind = kind_of(subject)
    if kind == "in":
        found = [*_guards(plan.guards, "input"), *_hook(plan, "before_agent"), *_hook(plan, "recall")]
        return (*found, *((Stage(function="@instructions"),) if plan.instructions_function else ()))
    if kind == "out":
        return (*_guards(plan.guards, "output"), *_hook(plan, "after_agent"), *_hook(plan, "remember"))
    if kind == "b":
        return _hook(plan, "before_model")
    if kind == "a":
        return _hook(plan, "after_model")
    guards = tool.guards if tool is not None else ()
    if kind == "i":
        return (*_hook(plan, "before_tool"), *_guards(guards, "input"))
    return (*_hook(plan, "after_tool"), *_guards(guards, "output"))


def kind_of(subject: str) -> str:
    """The last part of a subject's name: in, out, b, a, i or r."""
    return subject.rpartition(".")[2]


def _guards(guards: tuple[GuardrailDefinition, ...], position: str) -> tuple[Stage, ...]:
    return tuple(Stage(guard) for guard in guards if guard.position == position)


def _hook(plan: Plan, name: str) -> tuple[Stage, ...]:
    return (Stage(function=f"@{name}"),) if name in plan.hooks else ()


def step_of(subject: str, number: int) -> str:
    """The name of the step that a stage opens."""
    return f"{subject}.s{number}"


def stage_of(step: str) -> tuple[str, int] | None:
    """The subject and the number of the stage that opened this step; None: it is another kind of step."""
    subject, _, last = step.rpartition(".")
    last = last.removesuffix("h")
    if subject and last.startswith("s") and last[1:].isdigit():
        return subject, int(last[1:])
    return None


def call_step(subject: str) -> str:
    """The tool call's step of a subject that is about one."""
    return subject.rpartition(".")[0]


def tool_of(draft: Draft, subject: str) -> ToolPlan | None:
    """The tool that a subject is about."""
    if kind_of(subject) not in ("i", "r"):
        return None
    name = called(draft, call_step(subject))[0]
    return draft.scope.plan.tools.get(name)


def called(draft: Draft, step: str) -> tuple[str, dict[str, Any]]:
    """The tool and the arguments of a call, as the model or a plan made it."""
    call = _call(draft, step)
    return call.tool, call.arguments or {}


def call_id(draft: Draft, step: str) -> str:
    """The model's id of a call; of a plan's, the name of its step."""
    return _call(draft, step).call_id


def _call(draft: Draft, step: str) -> ToolCallPart:
    planned = operations.called(draft, step)
    if planned is not None:
        return planned
    answer = draft.event_of(ev.CallsPrefilled) or answer_of(draft)
    message = answer.message if answer is not None else draft.scope.transcript.asking
    return message.tool_calls[int(step.rpartition(".c")[2])]


def answer_of(draft: Draft) -> ev.ModelCompleted | None:
    """The answer of a turn that this input has brought; a judge's, or a summary, is no answer of the agent."""
    answer = draft.event_of(ev.ModelCompleted)
    return answer if answer is not None and answer.step.endswith(".m") else None


def content(draft: Draft, subject: str) -> Any:
    """What stands at a joint now: as it was, or what the last stage made of it."""
    for event in reversed(draft.events):
        if isinstance(event, ev.Replaced) and event.subject == subject:
            return event.value
    replaced = draft.scope.transcript.replaced
    return replaced[subject] if subject in replaced else _CONTENT[kind_of(subject)](draft, subject)


def _given(draft: Draft, _subject: str) -> str:
    started = draft.event_of(ev.ExecutionStarted)
    return started.input.text if started is not None else draft.scope.transcript.given.text


def _answer(draft: Draft, _subject: str) -> Any:
    proposed = draft.event_of(ev.AnswerProposed) or draft.scope.transcript.proposed
    return None if proposed is None else proposed.output


def _said(draft: Draft, _subject: str) -> str:
    answer = answer_of(draft)
    return answer.message.text if answer is not None else draft.scope.transcript.last_text


def _arguments(draft: Draft, subject: str) -> dict[str, Any]:
    return called(draft, call_step(subject))[1]


def _result(draft: Draft, subject: str) -> Any:
    step = call_step(subject)
    for event in reversed(draft.events):
        if isinstance(event, ev.ToolCompleted) and event.step == step:
            return event.result
        if isinstance(event, ev.ChildCompleted) and event.step == step:
            return event.output
        if isinstance(event, ev.ApprovalDecided) and event.step == step:
            return event.answer
    return draft.scope.transcript.result_of(step)


def _nothing(_draft: Draft, _subject: str) -> str:
    return ""


_CONTENT: dict[str, Callable[[Draft, str], Any]] = {
    "in": _given,
    "out": _answer,
    "a": _said,
    "b": _nothing,
    "i": _arguments,
    "r": _result,
}
