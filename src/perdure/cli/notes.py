"""Decisions that were recorded, in words: what the tree shows as a remark between the steps, and a line in the log.

Pure. Every word that comes from outside is made safe by whoever prints it.
"""

from collections.abc import Callable
from typing import Any

from perdure.core import events as ev


def chosen_words(e: ev.AgentChosen) -> str:
    """Who goes on."""
    if e.by == "synthesis":
        words = f"{e.agent} sums up"
    elif not e.agent:
        words = "nobody is to go on"
    else:
        words = f"{e.agent} goes on, chosen by {e.by}"
    return _with(words, e.reason)


def gate_words(e: ev.GateDecided) -> str:
    """What a gate said."""
    return _with(f"the gate of {e.agent} is {'open' if e.open else 'closed'}", e.reason)


def stop_words(e: ev.StopDecided) -> str:
    """What a stop condition said."""
    return f"after turn {e.turn} it " + ("ends here" if e.stop else "goes on")


def guard_words(e: ev.GuardDecided) -> str:
    """What a guardrail said, and what is done about it."""
    if e.passed:
        return f"the guardrail {e.guard} passes {_subject(e.subject)}"
    return _with(f"the guardrail {e.guard} does not pass {_subject(e.subject)} ({e.action})", e.message)


def hook_words(e: ev.HookEnded) -> str:
    """That a callback has run, and what it changed."""
    return f"{e.hook} has run" + (f" and changed {', '.join(e.fields)}" if e.fields else "")


def handoff_words(e: ev.HandoffDecided) -> str:
    """Whether an agent may take over."""
    return f"{e.agent} " + ("takes over" if e.met else "does not take over")


def budget_words(e: ev.BudgetReached) -> str:
    """Which limit stands in the way, and what is done about it."""
    to = f" to {e.model}" if e.model else ""
    return _with(f"the budget's limit of {e.limit} is reached ({e.action}{to})", e.why)


def _subject(name: str) -> str:
    """What a joint's subject is, in words."""
    kind = name.rpartition(".")[2]
    known = {
        "in": "the input",
        "out": "the answer",
        "i": "a call",
        "r": "a result",
        "a": "the model's answer",
    }
    return known.get(kind, name)


def _with(words: str, more: str) -> str:
    return f"{words}: {more}" if more else words


# kind -> who speaks, and the words
NOTES: dict[type[Any], tuple[str, Callable[[Any], str]]] = {
    ev.AgentChosen: ("team", chosen_words),
    ev.GateDecided: ("team", gate_words),
    ev.StopDecided: ("team", lambda e: f"the stop condition: {stop_words(e)}"),
    ev.HandoffDecided: ("team", handoff_words),
    ev.GuardDecided: ("guardrail", guard_words),
    ev.HookEnded: ("callback", hook_words),
    ev.Replaced: ("replaced", lambda e: f"{_subject(e.subject)} is replaced by {e.by}"),
    ev.AnswerProposed: ("model", lambda _: "the answer is looked at before it is taken"),
    ev.PlanAccepted: ("plan", lambda e: f"the plan of the {e.by} is accepted"),
    ev.PlanRejected: ("plan", lambda e: _with("the plan is not accepted", "; ".join(e.errors))),
    ev.PlanFailed: ("plan", lambda e: _with("the plan goes no further", "; ".join(e.errors))),
    ev.BudgetReached: ("budget", budget_words),
    ev.BudgetGranted: ("budget", lambda e: f"{e.by} allows as much of {e.limit} again"),
    ev.MessageReceived: ("message", lambda e: _with(f"{e.by} says ({e.mode})", e.message.text)),
    ev.CallsPrefilled: ("execution", lambda e: f"{len(e.message.tool_calls)} calls before the first turn"),
    ev.StopRequested: ("execution", lambda e: _with(f"{e.by} asks that it stops after this turn", e.reason)),
}
