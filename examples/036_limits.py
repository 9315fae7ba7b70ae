"""Limits of one execution: `max_turns` model calls, and `timeout_seconds` for all of it. One that is reached ends the
execution as failed; the result says which, and what to do.

Prints:
    max_turns: failed, max_turns, E0403
    timeout_seconds: failed, timeout, E0404
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, FinishReason, Status, tool
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")


@tool
def think() -> str:
    """Think once more."""
    return "not there yet"


forever = Agent(
    "forever",
    REAL or MockModel([call("think")], repeat_last=True),
    "Think, and never answer.",
    [think],
    max_turns=3,
)
slow = Agent("slow", REAL or MockModel([text("...", delay_ms=60_000)]), "Write a novel.", timeout_seconds=0.3)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(forever, "What is the meaning of it all?")
        assert result.status is Status.FAILED
        assert result.finish_reason == FinishReason.MAX_TURNS
        print(f"max_turns: {result.status}, {result.finish_reason}, {result.error and result.error.code}")
        result = runtime.run(slow, "A novel, please")
        print(
            f"timeout_seconds: {result.status}, {result.finish_reason}, {result.error and result.error.code}"
        )
