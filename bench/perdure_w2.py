"""W2 on Perdure: agents of 10 turns, each a model step and a tool step, the tool in this process as a real worker
of a server in another, over loopback HTTP.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import measure
from perdure import Agent, AgentHandle, AgentRuntime, EventType, tool

AGENT = "bench_loop"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server process on a free port; gives its address."""
    command = [sys.executable, "-m", "perdure", "server", "start", "--foreground", "--port", "0"]
    process = subprocess.Popen(
        command, env={**os.environ, "PERDURE_HOME": str(folder)}, stderr=subprocess.DEVNULL
    )
    try:
        found = folder / "server.json"
        while not found.exists():
            if process.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        yield measure.read_json(found)["url"]
    finally:
        process.terminate()
        process.wait(20)


def agent_of(turns: int, text: str) -> Agent:
    """An agent whose scripted model calls the tool in each of its turns."""

    @tool
    async def work(text: str) -> str:
        """Do the step of all sides."""
        return measure.step(text, len(text))

    call = {"tool_calls": [{"tool": "work", "arguments": {"text": text}}]}
    script = [*([call] * turns), {"text": "done"}]
    return Agent(AGENT, "mock/script", tools=[work], max_turns=turns + 1, model_settings={"script": script})


def round_trips(handle: AgentHandle) -> list[float]:
    """Milliseconds from each answer of the model on disk to the tool's result on disk, from the journal's times."""
    asked: dict[str | None, int] = {}
    found: list[float] = []
    for event in handle.events():
        if event.type is EventType.TOOL_CALL:
            asked[event.step] = event.at_ms or 0
        elif event.type is EventType.TOOL_RESULT:
            found.append((event.at_ms or 0) - asked[event.step])
    return found


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W2; see bench/README.md for the parameters and the answer."""
    folder = Path(params["data_dir"])
    agent = agent_of(params["turns"], measure.text_of(params["output_bytes"], "tool"))
    prompt = measure.text_of(params["input_bytes"], "prompt")
    with server(folder) as url, AgentRuntime(url, home=folder) as runtime:
        runtime.deploy(agent)
        runtime.run(agent, prompt)
        trips: list[float] = []
        began = time.perf_counter()
        for _ in range(params["repeat"]):
            handles = [runtime.start(agent, prompt) for _ in range(params["executions"])]
            for handle in handles:
                if not handle.join(timeout=300).is_success:
                    raise RuntimeError(f"{handle.execution_id} failed")
        seconds = time.perf_counter() - began
        for handle in handles[:20]:
            trips += round_trips(handle)
    turns = params["repeat"] * params["executions"] * params["turns"]
    return {"turns_per_s": turns / seconds, "seconds": seconds, **measure.quantiles(trips, "tool_ms")}
