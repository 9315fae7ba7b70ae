"""The same in asynchronous code: every function and method has a form that ends in `_async`, and a stream is read with
`async for`. Two agents stream at the same time.

Prints:
    one: a b c
    two: x y z
"""

import asyncio
import os
import tempfile

from perdure import Agent, AgentRuntime, EventType
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
one = Agent("one", REAL or MockModel([text("a b c", chunks=3, delay_ms=400)]), "Say a b c.")
two = Agent("two", REAL or MockModel([text("x y z", chunks=3, delay_ms=400)]), "Say x y z.")


async def listen(runtime: AgentRuntime, agent: Agent) -> str:
    """What the agent says, put together from its pieces."""
    return "".join(
        [e.content async for e in await runtime.stream_async(agent, "Go") if e.type == EventType.TOKEN]
    )


async def main() -> None:
    """Listen to both."""
    with tempfile.TemporaryDirectory() as folder:
        async with AgentRuntime(embedded=True, data_dir=folder) as runtime:
            said = await asyncio.gather(listen(runtime, one), listen(runtime, two))
            for agent, text_ in zip((one, two), said, strict=True):
                print(f"{agent.name}: {text_}")


if __name__ == "__main__":
    asyncio.run(main())
