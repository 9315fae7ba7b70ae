"""`python -m tests.simulation --seeds 20000`: many seeds over all processors; `--seed N`: one, with its story."""

import argparse
import concurrent.futures
import functools
import multiprocessing
import sys
import time
from collections import Counter

from tests.simulation.run import Outcome, SimulationError, simulate
from tests.simulation.team_world import simulate_teams


def _try(seed: int, *, teams: bool) -> Outcome | str:
    try:
        return (simulate_teams if teams else simulate)(seed)
    except SimulationError as error:
        return str(error)


def main() -> int:
    """Run seeds; status 1 when one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one seed, and show what failed")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--teams", action="store_true", help="worlds of teams")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()
    if given.seed is not None:
        print((simulate_teams if given.teams else simulate)(given.seed))
        return 0
    return _many(range(given.first, given.first + given.seeds), given.jobs, teams=given.teams)


def _many(seeds: range, jobs: int, *, teams: bool) -> int:
    began = time.monotonic()
    sums: Counter[str] = Counter()
    kinds: set[str] = set()
    failures: list[str] = []
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for done, outcome in enumerate(
            pool.map(functools.partial(_try, teams=teams), seeds, chunksize=10), start=1
        ):
            if isinstance(outcome, str):
                failures.append(outcome)
                print(outcome, flush=True)
            else:
                names = ("executions", "events", "crashes", "outages")
                sums.update({name: getattr(outcome, name) for name in names})
                kinds |= outcome.kinds
            if done % 500 == 0:
                print(f"{done} seeds, {len(failures)} failed, {time.monotonic() - began:.0f} s", flush=True)
    counted = ", ".join(f"{count} {name}" for name, count in sums.items())
    print(
        f"seeds {seeds.start} to {seeds.stop - 1}: {len(failures)} failed; {counted}; {len(kinds)} kinds of event"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
