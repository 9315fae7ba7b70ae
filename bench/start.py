"""W5 of any side: import time, time from a cold script to its first result, memory when idle."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

# What a script of a side runs when its first result is there: the moment, then the memory a second later.
REPORT = """
import sys, time
sys.path.insert(0, {root!r})
from bench import measure
print("RESULT", time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
time.sleep(1)
print("IDLE", measure.resident_mb(), flush=True)
"""
ROOT = Path(__file__).resolve().parents[1]


def measure_start(door: str, script: str, folder: Path, repeat: int) -> dict[str, float]:
    """Medians over *repeat* runs, each on a folder of its own.

    Args:
        door: the statement that imports what a first program needs.
        script: Python text with `{folder}` and `{report}` to be filled in, other braces doubled.
        folder: an empty folder.
        repeat: number of runs; one more goes before them, to compile the byte code.
    """
    bare, imports, results, idle = [], [], [], []
    for number in range(repeat + 1):
        own = folder / str(number)
        own.mkdir()
        text = script.format(folder=own, report=REPORT.format(root=str(ROOT)))
        bare.append(_seconds("pass")[0])
        imports.append(_seconds(door)[0])
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        _, printed = _seconds(text)
        values = dict(line.split() for line in printed.splitlines() if line.startswith(("RESULT", "IDLE")))
        results.append(float(values["RESULT"]) - began)
        idle.append(float(values["IDLE"]))
    return {
        "import_ms": (statistics.median(imports[1:]) - statistics.median(bare[1:])) * 1000,
        "bare_interpreter_ms": statistics.median(bare[1:]) * 1000,
        "first_result_ms": statistics.median(results[1:]) * 1000,
        "idle_mb": statistics.median(idle[1:]),
    }


def _seconds(text: str) -> tuple[float, str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return time.perf_counter() - began, done.stdout
