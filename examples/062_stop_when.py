"""`stop_when` is a function of yours that is asked after each turn whether to end, with the conversation so far. It runs on a
worker, and its answers are recorded.

Prints:
    asked about turns: [1, 2]
    termination: enough
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([{**call("look"), "text": "enough"}], repeat_last=True)
asked: list[int] = []


@tool
def look() -> str:
    """Look somewhere else."""
    return "dust"


def seen_enough(now: dict[str, Any]) -> bool:
    """Whether to end."""
    asked.append(now["iteration"])
    roles = [message["role"] for message in now["messages"]]
    return roles.count("tool") >= 2


finder = Agent("finder", MODEL, "Look on.", [look], stop_when=seen_enough)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(finder, "Where is my key?")
        print(f"asked about turns: {asked}")
        print(f"{result.finish_reason}: {result.output}")
