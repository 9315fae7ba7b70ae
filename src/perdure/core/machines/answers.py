"""The turn machine's part about answers: when one is not taken, and when the loop ends before there is one."""

from typing import Any

from perdure.core import conditions
from perdure.core import events as ev
from perdure.core.history import text_of
from perdure.core.machines import functions, joints, passage
from perdure.core.machines.draft import Draft
from perdure.core.messages import ToolResultPart
from perdure.core.validation import parse_answer, problems

MOST_REMINDERS = 3


def lacks_tools(draft: Draft, step: str) -> bool:
    """Send the model back to the tools that it must call before its answer is taken; True: it was not taken."""
    missing = [t for t in draft.scope.plan.required_tools if not draft.state.calls.get(t)]
    if not missing:
        return False
    names = ", ".join(missing)
    if draft.state.refusals.get("required_tools", 0) >= MOST_REMINDERS:
        error = ev.ErrorInfo(
            "E0419",
            f"The agent answered without calling {names}",
            where=f"agent {draft.scope.plan.agent}",
            why=f"It was told {MOST_REMINDERS} times that it must.",
            fix="Say in the instructions when to call it, or use a stronger model.",
        )
        draft.end(ev.ExecutionFailed(error, finish_reason="required_tools"))
        return True
    feedback = f"Before you answer you must call: {names}. Call it now, then answer."
    draft.record(ev.AnswerRefused(step, "required_tools", feedback))
    return True


def stops(draft: Draft) -> bool:
    """Whether the loop ends here by a condition, or the function that knows is asked first.

    Asked after each turn whose calls are settled. What ends by an answer has ended already.
    """
    plan, state = draft.scope.plan, draft.state
    if not state.turn or not (plan.termination or plan.stop_when):
        return False
    proposed = _proposed(draft)
    if proposed is not None and proposed.subject == f"t{state.turn}.out":
        return False  # it was not accepted: the model answers again
    transcript = draft.transcript()
    text = transcript.last_text
    if plan.termination is not None:
        why = conditions.met(plan.termination, conditions.Said(text, state.turn, state.usage))
        if why:
            complete(draft, text, "termination", why)
            return True
    if plan.stop_when and state.stop_asked < state.turn:
        arguments = {"result": text, "messages": transcript.listed(), "iteration": state.turn}
        functions.request(draft, f"t{state.turn}.stop", "@stop_when", arguments)
        return True
    return False


def stop_decided(draft: Draft, result: Any) -> None:
    """What the function `@stop_when` said after a turn."""
    stop = functions.yes_or_no(draft, "@stop_when", draft.scope.plan.agent, result, "stop")
    if stop is None:
        return
    draft.record(ev.StopDecided(draft.state.turn, stop))
    if stop:
        text = draft.scope.transcript.last_text
        complete(draft, text, "termination", "stop_when said so")


def complete(
    draft: Draft,
    output: Any,
    finish_reason: str = "stop",
    reason: str = "",
    handover: ev.Handover | None = None,
) -> None:
    """End with *output*, once it has passed what judges it."""
    state = draft.state
    if _is_not_the_last(draft, finish_reason):
        return
    handover = handover or _watched(draft)
    is_team = bool(state.team.strategy) and state.team.phase != "synthesis"
    subject = f"c{state.team.turns}.out" if is_team else f"t{state.turn}.out"
    if passage.has_stages(draft, subject):
        draft.record(ev.AnswerProposed(subject, output, finish_reason, reason, handover))
        passage.enter(draft, subject)
    else:
        draft.end(ev.ExecutionCompleted(output, finish_reason, reason, handover))


def _proposed(draft: Draft) -> ev.AnswerProposed | None:
    """The answer that was last put to what judges it."""
    return draft.event_of(ev.AnswerProposed) or draft.scope.transcript.proposed


def _is_not_the_last(draft: Draft, finish_reason: str) -> bool:
    """Whether something was said while this answer was on its way: the next turn, if there may be one, has both."""
    state = draft.state
    return (
        state.unseen > 0
        and not state.stopping
        and finish_reason in ("stop", "length")
        and not state.team.strategy
        and state.turn < draft.scope.plan.max_turns
    )


def stop_here(draft: Draft) -> None:
    """End with what there is, because somebody asked for it."""
    state = draft.state
    if state.team.strategy and state.team.phase != "synthesis":
        said = draft.scope.transcript.entries
        ended = draft.event_of(ev.ChildCompleted)
        output = ended.output if ended is not None else (said[-1].output if said and said[-1].author else "")
    else:
        output = draft.scope.transcript.last_text
    complete(draft, output if output is not None else "", "stopped", "somebody asked for the end")


def take(draft: Draft, subject: str) -> None:
    """The answer has passed: the execution ends with it, if it still fits the output type."""
    proposed = _proposed(draft)
    if proposed is None or _is_not_the_last(draft, proposed.finish_reason):
        return
    output, wanted = joints.content(draft, subject), draft.scope.plan.output
    if wanted is not None and output != proposed.output:
        value, wrong = parse_answer(output) if isinstance(output, str) else (output, None)
        errors = (wrong,) if wrong else problems(wanted.schema, value)
        if errors:
            error = ev.ErrorInfo(
                "E0410",
                f"What was put in the place of the answer does not fit the output type {wanted.name}",
                where=f"agent {draft.scope.plan.agent}",
                why="; ".join(errors),
                fix="Let the guardrail or the callback give a value of that type.",
            )
            draft.end(ev.ExecutionFailed(error, finish_reason="output_invalid"))
            return
        output = value
    draft.end(ev.ExecutionCompleted(output, proposed.finish_reason, proposed.reason, proposed.handover))


def _watched(draft: Draft) -> ev.Handover | None:
    """Whom a result of one of the tools hands over to, by a condition of the team that the agent is of."""
    for watch in draft.scope.plan.watches:
        for message in reversed(draft.scope.transcript.messages):
            for part in message.parts:
                if isinstance(part, ToolResultPart) and part.tool == watch.tool and not part.is_error:
                    text = text_of(part.result)
                    if watch.contains is None or conditions.contains(
                        text, watch.contains, case_sensitive=False
                    ):
                        return ev.Handover(watch.target, f"{watch.tool} gave a result")
    return None


def passes_on(draft: Draft, subject: str) -> None:
    """End with the answer of the agent that was handed over to, where the agent does not speak after it.

    Asked when the result has passed what judges it, and is what they left of it.
    """
    tool = joints.tool_of(draft, subject)
    alone = not draft.state.steps and len(draft.scope.transcript.asking.tool_calls) == 1
    if tool is not None and tool.kind == "transfer" and not draft.scope.plan.synthesize and alone:
        complete(draft, joints.content(draft, subject), "handoff")
