"""A worker: `serve` deploys an agent and runs its tools in this process. Whoever starts the agent by its name needs none of
its code. `blocking=False` serves in the background; a worker of its own would call `serve(agent)` and stay.

Prints:
    before: waiting:worker
    after: add: 2
"""

import os
import tempfile
import time

from perdure import Agent, AgentRuntime, Status, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


clerk = Agent("clerk", MODEL, "You do sums with your tool.", [add])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        runtime.deploy(clerk)
        handle = runtime.start("clerk", "What is 1 and 1?")  # nobody runs its tools yet
        while handle.get_status().status is not Status.WAITING_WORKER:
            time.sleep(0.02)
        print(f"before: {handle.get_status().status}")
        runtime.serve(clerk, blocking=False)
        print(f"after: {handle.join().output}")
