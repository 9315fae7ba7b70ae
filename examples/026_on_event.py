"""`run(on_event=...)` calls a function with each event, and still waits for the result: progress for a person, or lines for
a log.

Prints:
    ... add
    ... add done
    add: 2
"""

import os
import tempfile

from perdure import Agent, AgentEvent, AgentRuntime, EventType, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def progress(event: AgentEvent) -> None:
    """Say what goes on."""
    if event.type == EventType.TOOL_CALL:
        print(f"... {event.tool_name}")
    elif event.type == EventType.TOOL_RESULT:
        print(f"... {event.tool_name} done")


clerk = Agent("clerk", MODEL, "You do sums with your tool.", [add])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(clerk, "What is 1 and 1?", on_event=progress).output)
