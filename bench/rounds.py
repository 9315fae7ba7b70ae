"""Interleaved rounds: floor, perdure, peer, in turn, several times; and what comes of them.

Sides are never measured one after the other in blocks: a machine that is busy for a minute would then make one
side slow. Ratios are of medians.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.workloads import PERDURE, Workload

ROOT = Path(__file__).resolve().parents[1]
Result = dict[str, Any]


class RunnerFailedError(Exception):
    """A runner ended without an answer; the text is the end of what it printed."""


def sides_of(workload: Workload, wanted: Sequence[str] | None) -> list[str]:
    """The sides that have a runner for this workload, in the order in which they take turns."""
    return [
        side
        for side in workload.sides
        if (not wanted or side in wanted) and (ROOT / "bench" / f"{side}_{workload.id.lower()}.py").exists()
    ]


def measure(workload: Workload, side: str, params: dict[str, Any], scratch: Path) -> Result:
    """One measurement on an empty folder below *scratch*, in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"{workload.id}-{side}-", dir=scratch))
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.one",
                side,
                workload.id,
                json.dumps(params | {"data_dir": str(folder)}),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=workload.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as stuck:
        raise RunnerFailedError(f"no answer within {workload.timeout_s} s") from stuck
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        raise RunnerFailedError((done.stderr or done.stdout)[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def run_variant(
    workload: Workload,
    variant: str,
    sides: Sequence[str],
    rounds: int,
    scratch: Path,
    say: Callable[[str], None],
) -> dict[str, list[Result]]:
    """All rounds of one variant: side -> what each round gave."""
    params = workload.params | workload.variants[variant]
    results: dict[str, list[Result]] = {side: [] for side in sides}
    for number in range(1, rounds + 1):
        for side in sides:
            say(f"{workload.id} {variant}: round {number} of {rounds}, {side}")
            results[side].append(measure(workload, side, params, scratch))
    return results


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def summarise(workload: Workload, results: dict[str, list[Result]]) -> dict[str, Any]:
    """Per side and metric the spread over the rounds, and the ratio of medians of Perdure to each other side.

    A ratio over 1 always means that Perdure is better.
    """
    sides: dict[str, Any] = {}
    for side, answers in results.items():
        figures = {
            metric.name: spread([a[metric.name] for a in answers])
            for metric in workload.metrics
            if all(metric.name in a for a in answers)
        }
        loads = [load for a in answers for load in (a["load_before"], a["load_after"])]
        sides[side] = {"figures": figures, "load": spread(loads), "rounds": len(answers)}
    ratios: dict[str, dict[str, float]] = {}
    if PERDURE in sides:
        ours = sides[PERDURE]["figures"]
        for side in sides:
            theirs = sides[side]["figures"]
            if side != PERDURE:
                ratios[side] = {
                    m.name: _better(ours[m.name]["median"], theirs[m.name]["median"], higher=m.higher)
                    for m in workload.metrics
                    if m.name in ours and m.name in theirs
                }
    return {"sides": sides, "perdure_better_by": ratios}


def _better(ours: float, theirs: float, *, higher: bool) -> float:
    top, bottom = (ours, theirs) if higher else (theirs, ours)
    return round(top / bottom, 2) if bottom else 0.0
