"""A tool that fails is tried again: twice by default, with a growing wait. Here up to three times, almost at once.

`context.attempt` says which try it is. Retries are recorded, and the model sees the result of the last try only.

Prints:
    attempts: 3
    output: fetch: the page, at attempt 3
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, ToolContext, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool(retry_count=3, retry_delay_seconds=0.05, retry_policy="fixed")
def fetch(context: ToolContext) -> str:
    """Fetch the page."""
    if context.attempt < 3:
        raise ConnectionError("the line is dead")
    return f"the page, at attempt {context.attempt}"


reader = Agent("reader", MODEL, "Fetch the page.", [fetch])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(reader, "Fetch it")
        result = handle.join()
        failures = [event for event in handle.events() if event.type == EventType.RETRY]
        print(f"attempts: {len(failures) + 1}")
        print(f"output: {result.output}")
