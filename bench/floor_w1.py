"""W1 at the floor: alone one bare SQLite commit for each step; in company a bare group-commit journal."""

import asyncio
import time
from pathlib import Path
from typing import Any

from bench import floor


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W1's floor; see bench/README.md for the parameters and the answer."""
    folder = Path(params["data_dir"])
    steps = params["steps"]
    if params["executions"] > 1:
        return asyncio.run(floor.bare(folder, params["executions"], steps, params["output_bytes"]))
    times = steps * params["repeat"]
    answer = floor.append(folder, times)
    began = time.perf_counter()
    commits = floor.commit(folder, times, params["output_bytes"])
    seconds = time.perf_counter() - began
    named = {name.replace("commit_ms", "step_ms"): value for name, value in commits.items()}
    return answer | named | {"steps_per_s": times / seconds, "seconds": seconds}
