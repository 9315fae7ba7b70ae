"""Instructions from a function: one without parameters is called each time the agent is started or deployed, here with a
counter. The execution keeps the text that it began with.

Prints:
    You are clerk number 1.
    You are clerk number 2.
"""

import itertools
import os
import tempfile

from perdure import Agent, AgentRuntime

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
numbers = itertools.count(1)


def instructions() -> str:
    """What the agent is told."""
    return f"You are clerk number {next(numbers)}."


clerk = Agent("clerk", MODEL, instructions)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for _ in range(2):
            print(runtime.plan(clerk)["plan"]["instructions"])
