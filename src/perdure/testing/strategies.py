"""Whether a team did what its strategy says, read from the events of its run.

The engine holds to its strategies by itself; a validator is for what an agent's author expects of it, for runs of other
versions and for recordings.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

from perdure.agents.agent import Agent
from perdure.agents.results import AgentResult
from perdure.agents.strategy import Strategy
from perdure.core import events as ev
from perdure.testing.expectations import story
from perdure.testing.tree import Node, RunResult

Check: TypeAlias = Callable[[Agent, list[str], Node], str | None]


class StrategyViolation(AssertionError):  # noqa: N818 - a verdict, in the words of the field
    """A team did something that its strategy does not do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


def validate_strategy(agent: Agent, result: AgentResult) -> None:
    """Check the run of a team, and of all teams below it, against their strategies and `allowed_transitions`.

    Args:
        agent: the team.
        result: of `mock_run` or `gather`.

    Raises:
        StrategyViolation: the first thing that does not fit, with what happened.
        AssertionError: the result knows its own execution only.
    """
    if not isinstance(result, RunResult) or result.tree is None:
        raise AssertionError(
            "this result knows only its own execution: use that of mock_run, or gather(result)"
        )
    teams = {one.name: one for one in agent.tree() if one.agents}
    for node in result.tree.walk():
        team = teams.get(node.agent)
        wrong = None if team is None else _wrong(team, node)
        if team is not None and wrong is not None:
            raise StrategyViolation(f"{team.name} ({team.strategy}): {wrong}\n{story(result)}")


def _wrong(team: Agent, node: Node) -> str | None:
    """What does not fit; None: all does."""
    names, spoke = _names(team), _spoke(node)
    # In a swarm the team itself may be the first to speak, when it has a model of its own.
    strangers = [name for name in spoke if name not in names and name != team.name]
    if strangers:
        return f"{strangers[0]} is no member; there are {names}"
    found = _CHECKS.get(team.strategy, _anything)(team, spoke, node)
    return found or _transitions(team, spoke)


def _names(team: Agent) -> list[str]:
    return [member.name for member in team.agents]


def _spoke(node: Node) -> list[str]:
    """The members in the order in which they began."""
    return [
        e.agent for e in node.events if isinstance(e, ev.ChildRequested) and e.role in {"member", "handoff"}
    ]


def _sequential(team: Agent, spoke: list[str], node: Node) -> str | None:
    names = _names(team)
    if spoke != names[: len(spoke)]:
        return f"the stages ran as {spoke}, not as {names}"
    closed = any(isinstance(e, ev.GateDecided) and not e.open for e in node.events)
    if node.answer.status == "completed" and len(spoke) < len(names) and not closed:
        return f"it ended after {spoke}, with no gate closed"
    return _overlap(node)


def _parallel(team: Agent, spoke: list[str], node: Node) -> str | None:
    names = _names(team)
    if sorted(spoke) != sorted(names):
        return f"{spoke} ran, not each of {names} once"
    ended = False
    for event in node.events:
        ended |= isinstance(event, ev.ChildCompleted | ev.ChildFailed)
        if ended and isinstance(event, ev.ChildRequested) and event.role == "member":
            return f"{event.agent} began after another had ended"
    return None


def _round_robin(team: Agent, spoke: list[str], node: Node) -> str | None:
    names, place = _names(team), -1
    allowed = team.allowed_transitions or {}
    for number, name in enumerate(spoke):
        may = names if not number else allowed.get(spoke[number - 1], names)
        in_turn = [names[(place + 1 + i) % len(names)] for i in range(len(names))]
        wanted = next((other for other in in_turn if other in may), None)
        if name != wanted:
            return f"turn {number + 1} was {name}'s, not {wanted}'s"
        place = names.index(name)
    return _overlap(node)


def _chosen(*by: str) -> Check:
    """Whoever spoke had been chosen in one of these ways."""

    def check(_team: Agent, _spoke: list[str], node: Node) -> str | None:
        chosen: str | None = None
        for event in node.events:
            if isinstance(event, ev.AgentChosen) and event.by in by:
                chosen = event.agent
            elif isinstance(event, ev.ChildRequested) and event.role == "member":
                if chosen != event.agent:
                    return f"{event.agent} spoke, and {chosen or 'nobody'} was chosen"
                chosen = None
        return _overlap(node)

    return check


def _swarm(team: Agent, spoke: list[str], node: Node) -> str | None:
    twice = next((a for a, b in pairwise(spoke) if a == b), None)
    if twice is not None:
        return f"{twice} followed itself"
    return _chosen("order", "handover", "condition")(team, spoke, node)


def _anything(_team: Agent, _spoke: list[str], _node: Node) -> str | None:
    return None


def _overlap(node: Node) -> str | None:
    """Whether a member began before the one before it had ended."""
    open_: dict[str, str] = {}
    for event in node.events:
        if isinstance(event, ev.ChildRequested) and event.role == "member":
            if open_:
                return f"{event.agent} began while {next(iter(open_.values()))} was at work"
            open_[event.step] = event.agent
        elif isinstance(event, ev.ChildCompleted | ev.ChildFailed):
            open_.pop(event.step, None)
    return None


def _transitions(team: Agent, spoke: list[str]) -> str | None:
    allowed = team.allowed_transitions or {}
    for before, after in pairwise(spoke):
        if before in allowed and after not in allowed[before]:
            return f"{after} followed {before}, after whom may come {list(allowed[before]) or 'nobody'}"
    return None


_CHECKS: dict[Strategy, Check] = {
    Strategy.SEQUENTIAL: _sequential,
    Strategy.PARALLEL: _parallel,
    Strategy.ROUND_ROBIN: _round_robin,
    Strategy.RANDOM: _chosen("draw"),
    Strategy.ROUTER: _chosen("router"),
    Strategy.MANUAL: _chosen("person"),
    Strategy.SWARM: _swarm,
}
