"""`run_async` in an event loop: ten agents answer at the same time, in the time of one.

Prints: 10 answers, together in under 2 seconds: True
"""

import asyncio
import os
import tempfile
import time

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([text("A haiku.", delay_ms=300)])
poet = Agent("poet", MODEL, "Write a haiku.")


async def main() -> None:
    """Ask ten times."""
    with tempfile.TemporaryDirectory() as folder:
        async with AgentRuntime(embedded=True, data_dir=folder) as runtime:
            await runtime.deploy_async(poet)
            began = time.monotonic()
            results = await asyncio.gather(*(runtime.run_async(poet, f"Number {n}") for n in range(10)))
            took = time.monotonic() - began
            print(f"{sum(r.is_success for r in results)} answers, together in under 2 seconds: {took < 2}")


if __name__ == "__main__":
    asyncio.run(main())
