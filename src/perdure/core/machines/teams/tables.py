"""The phases of the team machines, and which event leads from one to the next.

A strategy's table holds the events that move its team; all others leave the team as it is. A pair that is absent for an
event that the strategy knows at all is a fault of the engine and raises.

    ready      nothing is open: the machine decides what comes next
    choosing   a router, a person or a function decides who goes on
    chosen     it is known who goes on
    running    child executions are open
    ended      a stage's child has ended: its gate comes next
    gating     a function decides whether the next stage begins
    asking     a stop condition that is a function is asked
    asked      it has said no
    planning   the planner writes a plan
    executing  the plan is carried out
    failed     the plan failed: what comes after a failure runs
    falling_back  the fallback goes on
    synthesis  the team's own model sums up: from here on the team is an agent like any other. It comes after any phase.
"""

from typing import Any, Literal

import msgspec

from perdure.core import events as ev
from perdure.core.plan_run import place_of

TeamPhase = Literal[
    "",
    "ready",
    "choosing",
    "chosen",
    "running",
    "ended",
    "gating",
    "asking",
    "asked",
    "planning",
    "executing",
    "failed",
    "falling_back",
    "synthesis",
]
Table = dict[tuple[TeamPhase, type[ev.Event]], TeamPhase]


class Team(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a team stands.

    Attributes:
        turns: child executions of members that were begun.
        active: who goes on, or went on last.
        last: that one's answer is the team's.
    """

    strategy: str = ""
    phase: TeamPhase = ""
    turns: int = 0
    active: str = ""
    last: bool = False


_BEFORE_FAILURE: tuple[TeamPhase, ...] = ("ready", "planning", "executing")
_CHILD_ENDS: tuple[type[ev.Event], ...] = (ev.ChildCompleted, ev.ChildFailed)


def _ends(before: TeamPhase, after: TeamPhase) -> Table:
    return {(before, kind): after for kind in _CHILD_ENDS}


SEQUENTIAL: Table = {
    ("ready", ev.ChildRequested): "running",
    **_ends("running", "ended"),
    ("ended", ev.FunctionRequested): "gating",
    ("gating", ev.GateDecided): "ready",
    ("ended", ev.GateDecided): "ready",
    ("ended", ev.ChildRequested): "running",
}
PARALLEL: Table = {
    ("ready", ev.ChildRequested): "running",
    ("running", ev.ChildRequested): "running",
    **_ends("running", "running"),
}
# Turns of a conversation: somebody is chosen, says something, and the loop may end by a condition.
_TURNS: Table = {
    ("chosen", ev.ChildRequested): "running",
    **_ends("running", "ready"),
    ("ready", ev.FunctionRequested): "asking",
    ("asking", ev.StopDecided): "asked",
}
ROUND_ROBIN: Table = {
    ("ready", ev.AgentChosen): "chosen",
    ("asked", ev.AgentChosen): "chosen",
    **_TURNS,
}
MANUAL: Table = {
    ("ready", ev.ApprovalRequested): "choosing",
    ("asked", ev.ApprovalRequested): "choosing",
    ("choosing", ev.ApprovalDecided): "choosing",
    ("choosing", ev.AgentChosen): "chosen",
    **_TURNS,
}
SWARM: Table = {
    **ROUND_ROBIN,
    ("asked", ev.FunctionRequested): "choosing",  # a condition, after the stop condition
    ("choosing", ev.HandoffDecided): "asked",
    ("asking", ev.HandoffDecided): "asked",  # there is no stop condition
}
ROUTER: Table = {
    ("ready", ev.ChildRequested): "choosing",
    ("ready", ev.FunctionRequested): "choosing",
    **_ends("choosing", "choosing"),
    ("choosing", ev.AgentChosen): "chosen",
    ("chosen", ev.ChildRequested): "running",
    **_ends("running", "ready"),
}
PLAN_EXECUTE: Table = {
    ("ready", ev.ChildRequested): "planning",
    **_ends("planning", "planning"),
    ("planning", ev.PlanRejected): "ready",
    ("planning", ev.PlanAccepted): "executing",
    ("ready", ev.PlanAccepted): "executing",  # a fixed plan
    **{(phase, ev.PlanFailed): "failed" for phase in _BEFORE_FAILURE},
    ("failed", ev.ChildRequested): "falling_back",
    **_ends("falling_back", "falling_back"),
}

TABLES: dict[str, Table] = {
    "sequential": SEQUENTIAL,
    "parallel": PARALLEL,
    "round_robin": ROUND_ROBIN,
    "random": ROUND_ROBIN,
    "manual": MANUAL,
    "swarm": SWARM,
    "router": ROUTER,
    "plan_execute": PLAN_EXECUTE,
}
_KNOWN: dict[str, frozenset[type[ev.Event]]] = {
    strategy: frozenset(kind for _, kind in table) for strategy, table in TABLES.items()
}


def _is_about_something_else(event: ev.Event) -> bool:
    """Whether an event of a kind that tables know is not the machine's: a guardrail, a callback, a tool call."""
    if isinstance(event, ev.ChildRequested):
        return event.call_id is not None
    if isinstance(event, ev.ChildCompleted | ev.ChildFailed):
        return place_of(event.step) is not None  # of a plan
    if isinstance(event, ev.FunctionRequested):
        return event.function.startswith(("@guard.", "@before_", "@after_", "@instructions"))
    if isinstance(event, ev.ApprovalRequested):
        return event.asks != "pick"
    if isinstance(event, ev.ApprovalDecided):
        return not event.step.startswith("p")
    return False


def follow(team: Team, event: ev.Event) -> Team | None:
    """The team after *event*; None when the pair is not in its table."""
    kind = type(event)
    if _is_about_something_else(event):
        return team
    if isinstance(event, ev.AgentChosen) and event.by == "synthesis":
        return msgspec.structs.replace(team, phase="synthesis")
    if team.phase == "synthesis" or kind not in _KNOWN.get(team.strategy, frozenset()):
        return team
    phase = TABLES[team.strategy].get((team.phase, kind))
    if phase is None:
        return None
    changes: dict[str, Any] = {}
    if isinstance(event, ev.AgentChosen):
        changes = {"active": event.agent, "last": event.last}
    elif isinstance(event, ev.ChildRequested) and event.role == "member":
        changes["turns"] = team.turns + 1
    return msgspec.structs.replace(team, phase=phase, **changes)
