"""W7 on Perdure: one execution of many turns; bytes stored and time for each, early and late.

The model's answers are cut off at their length, and the execution's output is all of them joined. One turn more than
asked for is run, so that this last commit is not counted as a step's.
"""

import time
from pathlib import Path
from typing import Any

import uvloop

from bench import measure
from bench.perdure_engine import StepModel, engine_on, execute, plan_of


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W7; see bench/README.md for the parameters and the answer."""
    return uvloop.run(_run(params))


async def _run(params: dict[str, Any]) -> dict[str, Any]:
    folder, steps = Path(params["data_dir"]), params["steps"]
    times: list[float] = []
    sizes: list[int] = []
    began = 0.0

    def on_step(number: int) -> None:
        # At the beginning of step n, the n-1 steps before it are on disk.
        if number > 1:
            times.append(time.perf_counter() - began)
        if (number - 1) % (steps // 10) == 0:
            sizes.append(measure.stored_bytes(folder))

    engine = engine_on(folder, StepModel(steps + 1, params["output_bytes"], on_step))
    await engine.open()
    began = time.perf_counter()
    await execute(engine, plan_of(steps + 1), measure.text_of(params["input_bytes"], "prompt"))
    await engine.close()
    return measure.early_and_late(times, sizes)
