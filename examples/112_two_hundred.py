"""Two hundred executions at once on one runtime, each with a tool call: every one ends well, and none is mixed up with another.

Prints:
    200 completed
    none mixed up: True
"""

import asyncio
import os
import tempfile

from perdure import Agent, AgentRuntime, Status, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("whoami"), text("{result:whoami}")])
COUNT = 200


@tool
async def whoami(context: ToolContext) -> str:
    """Say which execution this is."""
    return context.execution_id


agent = Agent("crowd", MODEL, "Say which execution this is.", [whoami])


async def main() -> None:
    """Start all, then wait for all."""
    with tempfile.TemporaryDirectory() as folder:
        async with AgentRuntime(embedded=True, data_dir=folder) as runtime:
            handles = await asyncio.gather(*(runtime.start_async(agent, f"Number {n}") for n in range(COUNT)))
            results = await asyncio.gather(*(handle.join_async() for handle in handles))
            print(f"{sum(result.status is Status.COMPLETED for result in results)} completed")
            print(f"none mixed up: {all(result.output == result.execution_id for result in results)}")


if __name__ == "__main__":
    asyncio.run(main())
