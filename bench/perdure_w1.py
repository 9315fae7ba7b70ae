"""W1 on Perdure: executions of 20 model steps in sequence, each on disk before the next."""

import asyncio
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import measure
from bench.perdure_engine import StepModel, engine_on, execute, plan_of
from perdure.app import tune_gc


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W1; see bench/README.md for the parameters and the answer."""
    return uvloop.run(_run(params))


async def _run(params: dict[str, Any]) -> dict[str, Any]:
    folder = Path(params["data_dir"])
    model = StepModel(params["steps"], params["output_bytes"], lambda _: None)
    engine = engine_on(folder, model)
    await engine.open()
    tune_gc()
    plan = plan_of(params["steps"])
    prompt = measure.text_of(params["input_bytes"], "prompt")
    await asyncio.gather(*(execute(engine, plan, prompt) for _ in range(2)))
    model.step_ms.clear()
    before = measure.bytes_on_disk(folder)
    began = time.perf_counter()
    for _ in range(params["repeat"]):
        await asyncio.gather(*(execute(engine, plan, prompt) for _ in range(params["executions"])))
    seconds = time.perf_counter() - began
    await engine.close()
    total = params["repeat"] * params["executions"] * params["steps"]
    return {
        "steps_per_s": total / seconds,
        "seconds": seconds,
        "steps": total,
        "bytes_per_step": (measure.bytes_on_disk(folder) - before) / total,
        **measure.quantiles(model.step_ms),
    }
