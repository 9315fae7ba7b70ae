"""R6 for teams: trees of executions on virtual time, with every fault there is, judged by I1 to I11 and E9. See `team_world`.

A failing seed is in the failure's message, with the command that runs it alone.
"""

from collections import Counter
from typing import get_args

import pytest

from perdure.core import events as ev
from tests.simulation.run import Outcome
from tests.simulation.team_world import simulate_teams

BLOCK = 20
BLOCKS = 10
LONG_BLOCKS = 100
# What these teams do not have: plans whose arguments a model writes; nor do they wait for messages.
ELSEWHERE = {ev.ArgumentsRequested, ev.MessageAwaited}

_outcomes: dict[int, Outcome] = {}


def run_block(first: int) -> list[Outcome]:
    """The outcomes of one block of seeds; each seed is run once in a session."""
    for seed in range(first, first + BLOCK):
        if seed not in _outcomes:
            _outcomes[seed] = simulate_teams(seed)
    return [_outcomes[seed] for seed in range(first, first + BLOCK)]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_whatever_happens_to_a_team_nobody_is_lost_doubled_or_left_behind(block: int):
    """Crashes, outages, failing agents and people who meddle at every level of a tree break no invariant."""
    run_block(block * BLOCK)


def test_the_seeds_meet_everything_that_teams_should_survive():
    """The runs above are not tame: every kind of event of a team, many crashes and outages, large trees."""
    outcomes = [outcome for block in range(BLOCKS) for outcome in run_block(block * BLOCK)]
    seen = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    assert {ev.kind_of(kind) for kind in set(get_args(ev.AnyEvent)) - ELSEWHERE} <= set(seen)
    assert sum(outcome.crashes for outcome in outcomes) >= 100
    assert sum(outcome.outages for outcome in outcomes) >= 100
    assert max(outcome.executions for outcome in outcomes) >= 25


def test_a_seed_of_teams_is_the_same_run_twice():
    """Run again, it writes the same journals, to the byte."""
    assert simulate_teams(1).digest == run_block(0)[1].digest


@pytest.mark.long
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
def test_many_more_seeds_of_teams(block: int):
    """The same for thousands of seeds."""
    for seed in range(100_000 + BLOCK * block, 100_000 + BLOCK * (block + 1)):
        simulate_teams(seed)
