"""Two hundred executions at once over one worker."""

import asyncio
import time

from perdure import AgentResult
from tests.story.programs.cast import clerk
from tests.story.stage import SOON_S, Stage, until

MANY = 200
TURNS = 3


async def run_all(stage: Stage) -> list[AgentResult]:
    """Start them all at the same moment, by name, and wait for all."""
    async with stage.runtime() as runtime:
        return await asyncio.gather(
            *(runtime.run_async(clerk.name, f"Sum {n}", timeout=90) for n in range(MANY))
        )


def test_two_hundred_executions_at_once(stage: Stage):
    """All complete with the right answer in one worker process; the rate is printed."""
    stage.start_server()
    worker = stage.worker("clerk")
    until(lambda: "serving" in worker.said(), "the worker", SOON_S)
    began = time.monotonic()
    results = asyncio.run(run_all(stage))
    wall_s = time.monotonic() - began
    print(f"{MANY} executions of {TURNS} turns: {wall_s:.1f} s, {MANY * TURNS / wall_s:.0f} turns/s")
    assert {r.output for r in results} == {"It is 7."}
    assert len({r.execution_id for r in results}) == MANY
    assert all(len(r.tool_calls) == TURNS - 1 for r in results)
