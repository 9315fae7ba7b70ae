"""Each event has a place in the journal, `event.seq`. A stream can be taken up again after any place, by whoever knows the
execution's id, and gives the rest without a gap and without an event twice.

Prints:
    first look ends with: tool_call
    second look has the rest: True
    nothing twice, nothing missing: True
"""

import os
import tempfile

from perdure import Agent, AgentEvent, AgentHandle, AgentRuntime, EventType, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def dig(metres: int) -> str:
    """Dig a hole."""
    return f"{metres} m deep"


digger = Agent("digger", MODEL, "Dig one metre.", [dig])


def recorded(events: list[AgentEvent]) -> list[int]:
    """Places in the journal; the pieces of an answer in flight are in none."""
    return [event.seq for event in events if event.seq]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(digger, "Dig a hole")
        seen = []
        for event in handle.stream():
            seen.append(event)
            if event.type == EventType.TOOL_CALL:
                break
        print(f"first look ends with: {seen[-1].type}")

        again = AgentHandle(handle.execution_id, runtime)
        rest = list(again.stream(after=seen[-1].seq))
        print(f"second look has the rest: {rest[-1].type == EventType.DONE}")
        everything = recorded(list(again.stream()))
        print(f"nothing twice, nothing missing: {recorded(seen) + recorded(rest) == everything}")
