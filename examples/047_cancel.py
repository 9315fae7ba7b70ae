"""`cancel` ends an execution, with a reason. A tool that runs at that moment finds `context.is_cancelled`, and can return
early; no further step begins.

Prints:
    cancelled, cancelled
    the tool was told: True
"""

import os
import tempfile
import threading

from perdure import Agent, AgentRuntime, ToolContext, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")
running, told = threading.Event(), threading.Event()


@tool
def search(context: ToolContext) -> str:
    """Search for a long time."""
    running.set()
    if context.cancelled.wait(10):
        told.set()
    return "nothing"


searcher = Agent("searcher", MODEL, "Search.", [search])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(searcher, "Search everything")
        running.wait(5)
        handle.cancel("not needed any more")
        result = handle.join()
        print(f"{result.status}, {result.finish_reason}")
        print(f"the tool was told: {told.wait(5)}")
