"""W2 on DBOS: workflows of 10 turns, each a model step and a tool step. The tool runs in the same process."""

import time
from typing import Any

from dbos import DBOS

from bench import dbos_engine, measure

TOOL_MS: list[float] = []


@DBOS.step()
def call_model(text: str, output_bytes: int) -> str:
    """The model step: the step of all sides."""
    return measure.step(text, output_bytes)


@DBOS.step()
def call_tool(text: str, output_bytes: int) -> str:
    """The tool step: the same work."""
    return measure.step(text, output_bytes)


@DBOS.workflow()
def loop(prompt: str, turns: int, output_bytes: int) -> int:
    """Model, tool, model, tool ..."""
    text = prompt
    for _ in range(turns):
        text = call_model(text, output_bytes)
        began = time.perf_counter()
        text = call_tool(text, output_bytes)
        TOOL_MS.append((time.perf_counter() - began) * 1000)
    return len(text)


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W2; see bench/README.md for the parameters and the answer."""
    prompt = measure.text_of(params["input_bytes"], "prompt")
    args = (prompt, params["turns"], params["output_bytes"])
    with dbos_engine.launched(params):
        dbos_engine.run_many(loop, 2, *args)
        TOOL_MS.clear()
        began = time.perf_counter()
        for _ in range(params["repeat"]):
            dbos_engine.run_many(loop, params["executions"], *args)
        seconds = time.perf_counter() - began
        turns = params["repeat"] * params["executions"] * params["turns"]
        return {"turns_per_s": turns / seconds, "seconds": seconds, **measure.quantiles(TOOL_MS, "tool_ms")}
