"""The turn machine's part about answers: when one is not taken, and when the loop ends before there is one."""

from typing import Any

from perdure.core import conditions
from perdure.core import events as ev
from perdure.core.machines import functions
from perdure.core.machines.draft import Draft

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
    text = draft.scope.transcript.last_text
    if plan.termination is not None:
        why = conditions.met(plan.termination, conditions.Said(text, state.turn, state.usage))
        if why:
            draft.end(ev.ExecutionCompleted(text, "termination", why))
            return True
    if plan.stop_when and state.stop_asked < state.turn:
        arguments = {"result": text, "messages": _listed(draft), "iteration": state.turn}
        functions.request(draft, f"t{state.turn}.stop", "@stop_when", arguments)
        return True
    return False


def _listed(draft: Draft) -> list[dict[str, str]]:
    return [{"role": m.role, "text": m.text} for m in draft.scope.transcript.messages]


def stop_decided(draft: Draft, result: Any) -> None:
    """What the function `@stop_when` said after a turn."""
    stop = functions.answer(result, "stop", bool)
    if stop is None:
        functions.fail(
            draft, "@stop_when", draft.scope.plan.agent, f"It gave {result!r:.200}, not a yes or no."
        )
        return
    draft.record(ev.StopDecided(draft.state.turn, stop))
    if stop:
        text = draft.scope.transcript.last_text
        draft.end(ev.ExecutionCompleted(text, "termination", "stop_when said so"))


def passes_on(draft: Draft, asked: ev.ChildRequested) -> None:
    """End with the answer of the agent that was handed over to, where the agent does not speak after it."""
    ended = draft.event_of(ev.ChildCompleted)
    alone = not draft.state.steps and len(draft.scope.transcript.messages[-1].tool_calls) == 1
    if ended is not None and asked.role == "handoff" and not draft.scope.plan.synthesize and alone:
        draft.end(ev.ExecutionCompleted(ended.output, "handoff"))
