"""W1 on DBOS: workflows of 20 steps in sequence."""

import time
from typing import Any

from dbos import DBOS

from bench import dbos_engine, measure

# How long each step took, in ms. Kept beside the workflows, because what a workflow returns is stored too.
STEP_MS: list[float] = []


@DBOS.step()
def step(text: str, output_bytes: int) -> str:
    """The step of all sides."""
    return measure.step(text, output_bytes)


@DBOS.workflow()
def turns(prompt: str, steps: int, output_bytes: int) -> int:
    """Each step's text is the next one's input."""
    text = prompt
    for _ in range(steps):
        began = time.perf_counter()
        text = step(text, output_bytes)
        STEP_MS.append((time.perf_counter() - began) * 1000)
    return len(text)


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W1; see bench/README.md for the parameters and the answer."""
    prompt = measure.text_of(params["input_bytes"], "prompt")
    args = (prompt, params["steps"], params["output_bytes"])
    with dbos_engine.launched(params) as folder:
        dbos_engine.run_many(turns, 2, *args)  # warm up: pools, prepared statements
        STEP_MS.clear()
        before = measure.bytes_on_disk(folder)
        began = time.perf_counter()
        for _ in range(params["repeat"]):
            dbos_engine.run_many(turns, params["executions"], *args)
        seconds = time.perf_counter() - began
        total = params["repeat"] * params["executions"] * params["steps"]
        return {
            "steps_per_s": total / seconds,
            "seconds": seconds,
            "steps": total,
            "bytes_per_step": (measure.bytes_on_disk(folder) - before) / total,
            **measure.quantiles(STEP_MS),
        }
