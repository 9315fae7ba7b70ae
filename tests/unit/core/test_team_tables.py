"""The tables of the team machines: every row is walked by a scenario, and what has no row raises."""

import itertools
from typing import Any, get_args

import pytest

from perdure.core import events as ev
from perdure.core.errors import ExecutionError
from perdure.core.machines.teams.strategies import MACHINES
from perdure.core.machines.teams.tables import TABLES, Team, TeamPhase, follow
from perdure.core.machines.turn_state import Step, TurnState, evolve
from tests.unit.core.play import Play
from tests.unit.core.scenarios import all_plays
from tests.unit.core.test_turn_tables import SAMPLES, S

PHASES = [phase for phase in get_args(TeamPhase) if phase not in ("", "synthesis")]
# Samples that are the machines' own: a pick, and no leave for a tool or a guardrail.
OWN = {
    **SAMPLES,
    ev.ApprovalRequested: ev.ApprovalRequested(S, "", "pick_agent", {}, "a1", "h", asks="pick"),
    ev.ApprovalDecided: ev.ApprovalDecided("p1", "a1", "approved", "me", "cli", "h"),
}


def walked(plays: list[Play]) -> dict[str, set[Any]]:
    """The rows of each strategy's table that the journals of *plays* walk."""
    found: dict[str, set[Any]] = {strategy: set() for strategy in TABLES}
    for play in plays:
        state = TurnState()
        for record in play.records:
            before = state.team.phase
            evolve(state, record.event)
            key = (before, type(record.event))
            table = TABLES.get(state.team.strategy, {})
            if before not in ("", "synthesis") and any(type(record.event) is kind for _, kind in table):
                found[state.team.strategy].add((key, state.team.phase))
    return found


def test_every_strategy_has_a_table_and_a_machine():
    """No strategy has one without the other."""
    assert set(TABLES) == set(MACHINES)


@pytest.mark.parametrize("strategy", TABLES)
def test_every_row_of_a_table_is_walked_by_a_scenario(strategy: str):
    """Each transition of each strategy's table happens in a scenario."""
    rows = walked(all_plays())[strategy]
    assert set(TABLES[strategy].items()) - rows == set()


@pytest.mark.parametrize("strategy", TABLES)
def test_no_other_row_is_walked(strategy: str):
    """What a scenario does to a team is in its table, or is the way to the team's own model, or no business of it."""
    others = walked(all_plays())[strategy] - set(TABLES[strategy].items())
    for (before, kind), after in others:
        assert after == before or (kind, after) == (ev.AgentChosen, "synthesis")


@pytest.mark.parametrize(
    ("strategy", "phase", "kind"),
    [
        (strategy, phase, kind)
        for strategy, table in TABLES.items()
        for phase, kind in itertools.product(PHASES, dict.fromkeys(kind for _, kind in table))
        if (phase, kind) not in table
    ],
)
def test_a_pair_that_is_not_in_a_table_raises(strategy: str, phase: TeamPhase, kind: type[ev.Event]):
    """An event that the strategy knows and its phase does not raises E0414 and leaves the state alone."""
    steps = {S: Step("child")} if kind in (ev.ChildCompleted, ev.ChildFailed) else {}
    state = TurnState(phase="active", steps=dict(steps), team=Team(strategy, phase))
    with pytest.raises(ExecutionError, match="E0414") as caught:
        evolve(state, OWN[kind])
    assert f"the team's phase is {phase}" in caught.value.where
    assert state == TurnState(phase="active", steps=steps, team=Team(strategy, phase))


@pytest.mark.parametrize("strategy", TABLES)
@pytest.mark.parametrize("phase", PHASES)
def test_the_teams_own_model_may_follow_any_phase(strategy: str, phase: TeamPhase):
    """Summing up ends the machine's part: from there on no event moves the team."""
    summing = follow(Team(strategy, phase, 2, "ann"), ev.AgentChosen("team", "synthesis"))
    assert summing == Team(strategy, "synthesis", 2, "ann")
    for event in OWN.values():
        assert follow(summing, event) == summing


@pytest.mark.parametrize("strategy", TABLES)
def test_events_that_are_about_something_else_leave_the_team_alone(strategy: str):
    """A guardrail's function, a callback and leave for a tool are not the machine's."""
    for phase in PHASES:
        team = Team(strategy, phase)
        for event in (
            ev.FunctionRequested("c1.out.s0", "@guard.polite", "team", {}, "ik"),
            ev.FunctionRequested("in.s0", "@before_agent", "team", {}, "ik"),
            ev.FunctionRequested("in.s1", "@instructions", "team", {}, "ik"),
            ev.ApprovalRequested("c1.out.s0h", "", "@guard.polite", {}, "a1", "h", asks="guardrail"),
            ev.ApprovalDecided("c1.out.s0h", "a1", "approved", "me", "cli", "h"),
        ):
            assert follow(team, event) == team
