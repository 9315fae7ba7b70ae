"""R2: the server dies at every named point of the commit path, at every kind of event, and nothing is lost.

The kinds that an agent alone records (`workload`) meet all eight points of the commit path. The kinds of teams, checks,
plans, messages, sessions, budgets and long conversations (`team_workload`) meet three of them, to save time: before the
commit, after it, and before its effects; at the others `tests/contract/engine` restarts the engine, which it does at every
commit of a team, a session, a budget and a conversation. Between the record of a child's end and that of its parent there is
a point of its own, met by each way to end. The record of where an execution comes from is a field of its first event, so
that a fork is crashed at the second execution_started.

After each death the server is restarted on the same data directory while worker and client go on; then the checker
holds I1 to I9 against the journal and the ledger.
"""

import asyncio
from pathlib import Path
from typing import get_args

import pytest
from fleet import CRASHED, Fleet
from invariants import check
from team_workload import CHILD_ENDS, TEAM_KINDS, forked
from workload import KINDS, Scenario, mid_call, tools

from perdure.core import events as ev

POINTS = (
    "before_submit",
    "before_commit",
    "mid_commit",
    "after_commit",
    "after_commit_before_ack",
    "after_record_before_publish",
    "before_effects",
    "before_answer",
)
TEAM_POINTS = ("before_commit", "after_commit", "before_effects")
COMMIT_POINTS = [
    pytest.param(scenario, point, kind, id=f"{point}-{scenario.__name__}-{kind}")
    for table, points in ((KINDS, POINTS), (TEAM_KINDS, TEAM_POINTS))
    for scenario, kinds in table.items()
    for kind in kinds
    for point in points
]
# What has no crash points here, and where it is covered instead.
ELSEWHERE = {
    "execution_quarantined": "it needs a fault of the engine itself: tests/simulation injects one",
    "calls_prefilled": "recorded with the beginning: tests/unit/core forks and replays its scenario at every event",
}


async def crash_once(scenario: Scenario, fault: str, home: Path) -> tuple[list[int], set[str]]:
    """Run a scenario with one armed fault; give the exit codes of the servers and the kinds recorded."""
    async with Fleet(home) as fleet:
        if scenario is mid_call:
            # The kind is recorded only by the restart after a kill: that restart is the one to crash.
            fleet.next_fault = [fault]
            await fleet.launch()
        else:
            await fleet.launch(fault)
        async with asyncio.timeout(40):
            await scenario(fleet)
        await fleet.end()
        return fleet.crashes, await check(fleet.home, fleet.ledger(), fleet.acked)


@pytest.mark.parametrize(("scenario", "point", "kind"), COMMIT_POINTS)
def test_nothing_is_lost_at_any_point_of_a_commit(
    scenario: Scenario, point: str, kind: str, tmp_path: Path
) -> None:
    """The server dies there exactly once, the execution ends as if it had not, and I1 to I9 hold."""
    crashes, kinds = asyncio.run(crash_once(scenario, f"{point}:{kind}", tmp_path))
    killed = [-9] if scenario is mid_call else []
    assert crashes == [*killed, CRASHED]
    assert kind in kinds


@pytest.mark.parametrize(
    ("scenario", "kind"), [pytest.param(scenario, kind, id=kind) for scenario, kind in CHILD_ENDS.items()]
)
def test_a_parent_hears_of_a_child_that_ended_before_the_crash(
    scenario: Scenario, kind: str, tmp_path: Path
) -> None:
    """The server dies between the two records: the next one tells the parent, once."""
    crashes, kinds = asyncio.run(crash_once(scenario, f"after_child_before_parent:{kind}", tmp_path))
    assert crashes == [CRASHED]
    assert kind in kinds


@pytest.mark.parametrize("point", TEAM_POINTS)
def test_a_fork_is_made_once(point: str, tmp_path: Path) -> None:
    """The server dies at the commit of the copy: there is one fork, and nothing that it holds is done again."""
    crashes, _ = asyncio.run(crash_once(forked, f"{point}:execution_started:2", tmp_path))
    assert crashes == [CRASHED]


@pytest.mark.parametrize("effect", ["model", "tool"])
@pytest.mark.parametrize("nth", [1, 2])
def test_an_effect_whose_record_was_not_made_is_made_good(effect: str, nth: int, tmp_path: Path) -> None:
    """The server dies between an effect and its record: only that step runs again."""
    fault = f"after_effect_before_record:{effect}:{nth}"
    crashes, _ = asyncio.run(crash_once(tools, fault, tmp_path))
    assert crashes == [CRASHED]


def test_every_kind_of_event_has_its_crash_points() -> None:
    """A kind that is added to the journal without a scenario fails here."""
    covered = {kind for table in (KINDS, TEAM_KINDS) for kinds in table.values() for kind in kinds}
    every = {ev.kind_of(kind) for kind in get_args(ev.AnyEvent)}
    assert every - covered == set(ELSEWHERE)
