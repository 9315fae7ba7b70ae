"""Decisions and messages of an execution in words: the same in the tree and in the lines for programs.

These events are no steps: they say what was decided between steps, or what somebody said.
"""

from collections.abc import Callable
from typing import Any

from perdure.core import events as ev


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _chosen(e: ev.AgentChosen) -> str:
    if e.by == "synthesis":
        words = f"{e.agent} sums up"
    elif not e.agent:
        words = "nobody is to go on"
    else:
        words = f"{e.agent} goes on, chosen by {e.by}"
    return words + _because(e.reason)


def _gate(e: ev.GateDecided) -> str:
    return f"the gate of {e.agent} is {'open' if e.open else 'closed'}" + _because(e.reason)


def _stop(e: ev.StopDecided) -> str:
    return f"the stop condition after turn {e.turn}: " + ("it ends here" if e.stop else "it goes on")


def _handoff(e: ev.HandoffDecided) -> str:
    return f"the condition for {e.agent} is {'met' if e.met else 'not met'}"


def _guard(e: ev.GuardDecided) -> str:
    said = "passed" if e.passed else f"did not pass, so {e.action}"
    return f"guardrail {e.guard} on {e.subject} {said}" + _because(e.message)


def _hook(e: ev.HookEnded) -> str:
    return f"{e.hook} has run" + (f" and changed {', '.join(e.fields)}" if e.fields else "")


def _replaced(e: ev.Replaced) -> str:
    return f"{e.subject} was replaced by {e.by}"


def _proposed(e: ev.AnswerProposed) -> str:
    return f"an answer is judged as {e.subject}"


def _said(e: ev.MessageReceived) -> str:
    how = " (at once)" if e.mode == "interrupt" else ""
    return f"{e.by} says{how}: {e.message.text}"


def _stop_requested(e: ev.StopRequested) -> str:
    return f"to end after this turn, by {e.by}" + _because(e.reason)


def _granted(e: ev.BudgetGranted) -> str:
    return f"{e.by} allows as much again of {e.limit}"


# kind -> the subject that lines for programs name, and the words.
SAYINGS: dict[type[Any], tuple[str, Callable[[Any], str]]] = {
    ev.AgentChosen: ("team", _chosen),
    ev.GateDecided: ("team", _gate),
    ev.HandoffDecided: ("team", _handoff),
    ev.StopDecided: ("execution", _stop),
    ev.GuardDecided: ("guardrail", _guard),
    ev.HookEnded: ("callback", _hook),
    ev.Replaced: ("callback", _replaced),
    ev.AnswerProposed: ("guardrail", _proposed),
    ev.MessageReceived: ("message", _said),
    ev.StopRequested: ("execution", _stop_requested),
    ev.BudgetGranted: ("budget", _granted),
}
