"""W5 on Perdure: what it costs to import it and to come to a first result, and what it holds when idle."""

import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bench import measure, start

FIRST_RESULT = """
from perdure import Agent, AgentRuntime

runtime = AgentRuntime(embedded=True, data_dir="{folder}/home")
result = runtime.run(Agent("hello", "mock/echo"), "hello")
assert result.output == "hello", result
{report}
runtime.shutdown()
"""


def server_ready_ms(folder: Path) -> float:
    """From the start of a server process to its first healthy answer."""
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "perdure", "server", "start", "--foreground", "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**environment, "PERDURE_HOME": str(folder)}, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            if (folder / "server.json").exists():
                url = measure.read_json(folder / "server.json")["url"]
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=5):
                        return (time.perf_counter() - began) * 1000
                except urllib.error.URLError:
                    pass
            time.sleep(0.005)
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        process.wait(20)


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W5; see bench/README.md for the parameters and the answer."""
    folder = Path(params["data_dir"])
    answer = start.measure_start(
        "from perdure import Agent, AgentRuntime, run, tool", FIRST_RESULT, folder, params["repeat"]
    )
    ready = [server_ready_ms(folder / f"server{n}") for n in range(params["repeat"] + 1)]
    return {**answer, "server_ready_ms": statistics.median(ready[1:])}
