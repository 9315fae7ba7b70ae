"""`plan` compiles an agent without running it: what the server would do, which tools need a worker, and whether the model
can be called. Nothing is stored, no model is asked. The plan's hash is the same for the same agent.

Prints:
    agent: clerk, tools for a worker: ['clerk.add']
    same agent, same hash: True
    other instructions, other hash: True
    a model that cannot be called: E0211
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        first = runtime.plan(Agent("clerk", MODEL, "You do sums.", [add]))
        print(f"agent: {first['agent']}, tools for a worker: {first['worker_tools']}")
        again = runtime.plan(Agent("clerk", MODEL, "You do sums.", [add]))
        print(f"same agent, same hash: {again['plan_hash'] == first['plan_hash']}")
        other = runtime.plan(Agent("clerk", MODEL, "You do sums with care.", [add]))
        print(f"other instructions, other hash: {other['plan_hash'] != first['plan_hash']}")
        wrong = runtime.plan(Agent("clerk", "mock/nobody", "You do sums.", [add]))
        print(f"a model that cannot be called: {wrong['model_problem']['code']}")
