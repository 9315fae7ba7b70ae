"""Several agents on one runtime, each with its own tools. Two tools of the same name do not get in each other's way: a tool
belongs to its agent.

Prints:
    plus: calculate: 9
    times: calculate: 14
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("calculate", a=2, b=7), text("calculate: {result:calculate}")]
)


@tool(name="calculate")
def add(a: int, b: int) -> int:
    """Calculate with two numbers."""
    return a + b


@tool(name="calculate")
def multiply(a: int, b: int) -> int:
    """Calculate with two numbers."""
    return a * b


plus = Agent("plus", MODEL, "Calculate.", [add])
times = Agent("times", MODEL, "Calculate.", [multiply])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handles = [runtime.start(agent, "2 and 7") for agent in (plus, times)]
        for agent, handle in zip((plus, times), handles, strict=True):
            print(f"{agent.name}: {handle.join().output}")
