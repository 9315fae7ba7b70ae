"""R6: the whole engine on virtual time, with every fault there is, judged by I1 to I11. See `run`.

A failing seed is in the failure's message, with the command that runs it alone. `make soak` runs many more.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from perdure.core import events as ev
from tests.simulation.run import Outcome, simulate
from tests.simulation.test_turn_machine_random import AGENT_KINDS

BLOCK = 25
BLOCKS = 10
LONG_BLOCKS = 200
ROOT = Path(__file__).resolve().parents[2]

_outcomes: dict[int, Outcome] = {}


def run_block(first: int) -> list[Outcome]:
    """The outcomes of one block of seeds; each seed is run once in a session."""
    for seed in range(first, first + BLOCK):
        if seed not in _outcomes:
            _outcomes[seed] = simulate(seed)
    return [_outcomes[seed] for seed in range(first, first + BLOCK)]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_whatever_happens_nothing_is_lost_doubled_or_stuck(block: int):
    """Crashes, outages, lost messages, bad models, bad workers and meddling people break no invariant."""
    run_block(block * BLOCK)


def test_the_seeds_meet_everything_that_they_should_survive():
    """The runs above are not tame: every kind of event of an agent, many crashes and outages, every refusal."""
    outcomes = [outcome for block in range(4) for outcome in run_block(block * BLOCK)]
    seen = frozenset().union(*(outcome.kinds for outcome in outcomes))
    assert seen == {ev.kind_of(kind) for kind in AGENT_KINDS}
    refused = Counter[str]()
    for outcome in outcomes:
        refused.update(outcome.refusals)
    assert {"E0307", "E0402", "E0408", "E0409", "E0501", "E0508"} <= refused.keys()
    assert sum(outcome.crashes for outcome in outcomes) >= 50
    assert sum(outcome.outages for outcome in outcomes) >= 50


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_is_the_same_run_everywhere(hash_seed: str):
    """Another process with other string hashes writes the same journal, to the byte."""
    code = "from tests.simulation.run import simulate; print(simulate(7).digest)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == simulate(7).digest


@pytest.mark.long
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
def test_many_more_seeds(block: int):
    """The same for thousands of seeds."""
    for seed in range(100_000 + BLOCK * block, 100_000 + BLOCK * (block + 1)):
        simulate(seed)
