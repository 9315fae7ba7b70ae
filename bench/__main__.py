"""`python -m bench W1 [W2 ...]` or `python -m bench all`: measure, print tables, write docs/benchmarks/*.json.

`python -m bench report` measures nothing and writes docs/benchmarks.md from these files.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, report, rounds, table
from bench.workloads import SIDES, WORKLOADS, Workload


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("workloads", nargs="+", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)} or all")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each variant (default 3)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="only these sides")
    parser.add_argument("--variants", nargs="+", help="only variants whose name begins so, e.g. alone 50")
    parser.add_argument(
        "--scratch", type=Path, default=rounds.ROOT / ".cache" / "bench", help="where data is written"
    )
    parser.add_argument(
        "--out", type=Path, default=rounds.ROOT / "docs" / "benchmarks", help="folder of the JSON"
    )
    return parser.parse_args(argv)


def run_workload(workload: Workload, options: argparse.Namespace) -> str:
    """Measure one workload, write its JSON and return its table."""
    sides = rounds.sides_of(workload, options.sides)
    if not sides:
        return f"{workload.id}: no side has a runner for it\n"
    variants = {}
    started = datetime.now(UTC)
    began = time.perf_counter()
    for variant in workload.variants:
        if options.variants and not variant.startswith(tuple(options.variants)):
            continue
        results = rounds.run_variant(workload, variant, sides, options.rounds, options.scratch, _say)
        variants[variant] = rounds.summarise(workload, results) | {"runs": results}
    record = {
        "workload": workload.id,
        "title": workload.title,
        "params": workload.params,
        "at": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine.facts(options.scratch),
        "variants": variants,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{workload.id}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return table.of_workload(workload, variants)


def main(argv: list[str]) -> int:
    """Run what was asked for."""
    if argv[:1] == ["report"]:
        return report.main(argv[1:])
    options = arguments(argv)
    options.scratch.mkdir(parents=True, exist_ok=True)
    names = list(WORKLOADS) if "all" in options.workloads else [name.upper() for name in options.workloads]
    if unknown := [name for name in names if name not in WORKLOADS]:
        sys.stderr.write(f"No workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)} and all.\n")
        return 2
    facts = machine.facts(options.scratch)
    print(", ".join(f"{key} {value}" for key, value in facts.items()), f"load {machine.load()}", end="\n\n")
    for name in names:
        try:
            print(run_workload(WORKLOADS[name], options), flush=True)
        except rounds.RunnerFailedError as failure:
            sys.stderr.write(f"{name}: a runner failed:\n{failure}\n")
            return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
