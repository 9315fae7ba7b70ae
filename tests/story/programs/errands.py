"""A client with errands to run: starts each once, however often this program is killed, and prints what came of it.

Arguments: how many errands, how many at a time. It prints a line of JSON for each start and each end.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from perdure import AgentRuntime
from tests.story.programs.cast import errand


def tell(**facts: object) -> None:
    """Print a line at once, whole or not at all."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def already_ended(report: Path) -> set[int]:
    """The errands that an earlier life of this program has reported."""
    found = set()
    for line in report.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if "output" in (facts := json.loads(line)):
                found.add(facts["parcel"])
    return found


async def main(count: int, at_a_time: int, report: Path) -> None:
    """Run what is left to run."""
    places = asyncio.Semaphore(at_a_time)
    async with AgentRuntime() as runtime:

        async def run(parcel: int) -> None:
            async with places:
                agent = errand(parcel, external=True)
                handle = await runtime.start_async(
                    agent, f"Errand {parcel}", idempotency_key=f"errand-{parcel}"
                )
                tell(parcel=parcel, execution=handle.execution_id)
                result = await handle.join_async()
                tell(
                    parcel=parcel,
                    execution=handle.execution_id,
                    status=result.status,
                    output=result.output,
                    error=str(result.error or ""),
                )

        await asyncio.gather(*(run(parcel) for parcel in range(count) if parcel not in already_ended(report)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
