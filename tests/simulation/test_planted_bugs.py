"""R4: the suites find every planted bug; see `planted`."""

import tempfile
from pathlib import Path

import pytest

from tests.simulation.planted import BUGS, CONTROL, Bug, contract, plant, simulation
from tests.simulation.planted_teams import TEAM_BUGS

NAMES = [bug.name for bug in BUGS]


@pytest.mark.parametrize("bug", [*BUGS, *TEAM_BUGS], ids=[*NAMES, *(bug.name for bug in TEAM_BUGS)])
def test_a_bug_can_still_be_planted(bug: Bug, tmp_path: Path):
    """Its lines are in the source as it is now, and what they become is Python."""
    plant(bug, tmp_path)
    for change in bug.changes:
        compile(
            (tmp_path / "perdure" / change.file).read_text(encoding="utf-8"),
            change.file,
            "exec",
        )


def test_bugs_have_names_of_their_own():
    """The table has a row for each."""
    assert len(set(NAMES)) == len(NAMES) >= 20


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_is_found_where_no_bug_is_planted():
    """What finds the bugs is not the copying."""
    with tempfile.TemporaryDirectory() as folder:
        plant(CONTROL, Path(folder))
        assert (contract(Path(folder)), simulation(Path(folder))) == ("", "")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS, ids=NAMES)
def test_a_planted_bug_is_found(bug: Bug):
    """By the contract suite or by the simulation."""
    with tempfile.TemporaryDirectory() as folder:
        plant(bug, Path(folder))
        assert contract(Path(folder)) or simulation(Path(folder)), f"nobody notices that {bug.name}"
