"""Guardrails at a joint: what each kind is asked, and what is done about one that fails.

regex                decided here
function, external   a worker runs `@guard.NAME`
llm                  a model judges; its answer is held to a schema

retry   the model is told why and tries again, `max_retries` times, then it is as raise; at an agent's input there
is nobody to try again, nor behind a stop
raise   the execution fails
fix     the guardrail's own text takes the place; one that has none to offer is as raise
human   a person decides: approve lets it pass, and may put something else in its place
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import patterns
from perdure.core.definition import GuardrailDefinition
from perdure.core.effects import CallModel
from perdure.core.guards import JUDGE_SCHEMA, GuardVerdict
from perdure.core.history import text_of
from perdure.core.machines import functions, joints, questions
from perdure.core.machines.draft import Draft
from perdure.core.validation import parse_answer, problems

# What a person may put in the place of a subject, by its kind; of all others any JSON.
_CONTENT: dict[str, dict[str, Any]] = {"in": {"type": "string"}, "i": {"type": "object"}}


def _pass_schema(subject: str) -> dict[str, Any]:
    """What a person may answer: nothing, or a content that can take the place of the subject."""
    content = _CONTENT.get(joints.kind_of(subject), {})
    replaces = {"type": "object", "properties": {"content": content}, "additionalProperties": False}
    return {"anyOf": [{"type": "null"}, replaces]}


def judge(draft: Draft, subject: str, number: int, guard: GuardrailDefinition) -> GuardVerdict | None:
    """What a guardrail says of the subject; None: it has been asked."""
    value = joints.content(draft, subject)
    if guard.kind == "regex":
        return patterns.judge(guard, text_of(value))
    step = joints.step_of(subject, number)
    tool = joints.tool_of(draft, subject)
    name = tool.spec.name if tool is not None else ""
    if guard.kind == "llm":
        call = (CallModel(step, 1),) if draft.state.phase == "active" else ()
        draft.record(ev.JudgeRequested(step, guard.name, value, name), *call)
    else:
        arguments = {"content": value, "position": guard.position, "tool": name or None}
        functions.request(draft, step, f"@guard.{guard.name}", arguments)
    return None


def verdict_of_function(result: Any) -> GuardVerdict:
    """What a function said; anything but a clear yes is a no (E8)."""
    passed = functions.answer(result, "passed", bool)
    if passed is None:
        return GuardVerdict(False, f"It gave {result!r:.200}, not a yes or no.")
    return GuardVerdict(passed, str(result.get("message") or ""), result.get("fixed"))


def verdict_of_model(text: str) -> GuardVerdict:
    """What a judging model said; anything but a clear yes is a no (E8)."""
    value, wrong = parse_answer(text)
    errors = (wrong,) if wrong else problems(JUDGE_SCHEMA, value)
    if errors:
        return GuardVerdict(False, f"The judge's answer cannot be read: {'; '.join(errors)}")
    return GuardVerdict(bool(value["passed"]), str(value["reason"]))


def decide(draft: Draft, subject: str, number: int, guard: GuardrailDefinition, said: GuardVerdict) -> bool:
    """Record what a guardrail said and do what it asks for; True: the subject goes on."""
    if said.passed:
        draft.record(ev.GuardDecided(subject, guard.name, passed=True))
        return True
    message = said.message or guard.message or f"the guardrail {guard.name} did not pass it"
    if said.fixed is None and guard.kind == "regex" and guard.message:
        said = GuardVerdict(said.passed, said.message, guard.message)
    action = _action(draft, subject, guard, said)
    draft.record(ev.GuardDecided(subject, guard.name, passed=False, action=action, message=message))
    if action == "fix":
        draft.record(ev.Replaced(subject, said.fixed, f"guardrail {guard.name}"))
        return True
    if action == "human":
        question = {"guardrail": guard.name, "message": message, "content": joints.content(draft, subject)}
        step = f"{joints.step_of(subject, number)}h"
        questions.ask(draft, step, "guardrail", f"@guard.{guard.name}", question, _pass_schema(subject))
    elif action == "raise":
        stop(draft, guard, message)
    else:
        _send_back(draft, subject, guard, message)
    return False


def _action(draft: Draft, subject: str, guard: GuardrailDefinition, said: GuardVerdict) -> str:
    if guard.on_fail == "fix":
        return "fix" if _fits(draft, subject, said.fixed) else "raise"
    if guard.on_fail == "retry":
        tried = draft.state.refusals.get(f"guardrail {guard.name}", 0)
        kind = joints.kind_of(subject)
        nobody = kind == "in" or (
            kind == "out" and (draft.state.stopping or not draft.scope.plan.model.provider)
        )
        return "raise" if nobody or tried >= guard.max_retries else "retry"
    return guard.on_fail


def _fits(draft: Draft, subject: str, fixed: Any) -> bool:
    """Whether what a guardrail offers can take the place of what it judged."""
    kind = joints.kind_of(subject)
    if kind == "i":
        tool = joints.tool_of(draft, subject)
        return isinstance(fixed, dict) and tool is not None and not problems(tool.spec.input_schema, fixed)
    return isinstance(fixed, str) if kind == "in" else fixed is not None


def stop(draft: Draft, guard: GuardrailDefinition, message: str) -> None:
    """End the execution: the guardrail does not let it pass."""
    error = ev.ErrorInfo(
        "E0422",
        f"The guardrail {guard.name} stopped the execution",
        where=f"agent {draft.scope.plan.agent}",
        why=message,
        fix="Look at the event guard_decided: it says what was judged and why.",
    )
    draft.end(ev.ExecutionFailed(error, finish_reason="guardrail"))


def _send_back(draft: Draft, subject: str, guard: GuardrailDefinition, message: str) -> None:
    """Tell the model why, so that it tries again."""
    by = f"guardrail {guard.name}"
    kind = joints.kind_of(subject)
    if kind == "out":
        feedback = f"Your answer was not accepted: {message}\nAnswer again, and mend that."
        draft.record(ev.AnswerRefused(subject, by, feedback))
        if subject.startswith("c"):  # a team's: its own model writes the next one
            draft.record(ev.AgentChosen(draft.scope.plan.agent, "synthesis", by))
        return
    step = joints.call_step(subject)
    told = {"error": f"The guardrail {guard.name} blocked this call.", "code": "E0314", "why": message}
    if kind == "i":
        tool, _ = joints.called(draft, step)
        call_id = joints.call_id(draft, step)
        error = ev.ErrorInfo(
            "E0314", told["error"], why=message, fix="Call it again with that mended, or go on."
        )
        draft.record(ev.ToolRefused(step, call_id, tool, error))
        draft.record(ev.AnswerRefused(subject, by, ""))
    else:
        draft.record(ev.Replaced(subject, told, by))
        draft.record(ev.AnswerRefused(subject, by, ""))


def person_decided(
    draft: Draft, subject: str, guard: GuardrailDefinition, decided: ev.ApprovalDecided
) -> bool:
    """What a person said about a subject that a guardrail did not pass; True: it goes on."""
    if decided.decision == "approved":
        answer = decided.answer
        if isinstance(answer, dict) and "content" in answer:
            draft.record(ev.Replaced(subject, answer["content"], decided.by))
        return True
    message = decided.reason or f"{decided.by} did not let it pass"
    if joints.kind_of(subject) in ("in", "out"):
        stop(draft, guard, message)
    else:
        _send_back(draft, subject, guard, message)
    return False
