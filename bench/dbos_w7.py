"""W7 on DBOS: one workflow of many steps; bytes stored and time for each, early and late."""

import time
from pathlib import Path
from typing import Any

from dbos import DBOS

from bench import dbos_engine, measure

# After each step: seconds since the first began; at each tenth also bytes stored.
TIMES: list[float] = []
BYTES: list[int] = []


@DBOS.step()
def step(text: str, output_bytes: int) -> str:
    """The step of all sides."""
    return measure.step(text, output_bytes)


@DBOS.workflow()
def long_transcript(prompt: str, steps: int, output_bytes: int, folder: str) -> int:
    """Many steps, each on the text of the one before."""
    text = prompt
    began = time.perf_counter()
    for number in range(1, steps + 1):
        text = step(text, output_bytes)
        TIMES.append(time.perf_counter() - began)
        if number % (steps // 10) == 0:
            BYTES.append(measure.stored_bytes(Path(folder)))
    return len(text)


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W7; see bench/README.md for the parameters and the answer."""
    prompt = measure.text_of(params["input_bytes"], "prompt")
    with dbos_engine.launched(params) as folder:
        before = measure.stored_bytes(folder)
        dbos_engine.run_many(long_transcript, 1, prompt, params["steps"], params["output_bytes"], str(folder))
        return measure.early_and_late(TIMES, [before, *BYTES])
