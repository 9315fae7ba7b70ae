"""`timeout_seconds` limits one attempt at a tool. When it is over, the model is told, and can do something else; a long
tool sees `context.is_cancelled` and can stop its work.

Prints:
    slow: E0302
    the tool noticed: True
    output: The archive is too slow today.
"""

import os
import tempfile
import threading

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("slow"), text("The archive is too slow today.")])
noticed = threading.Event()


@tool(timeout_seconds=0.3, retry_count=0)
def slow(context: ToolContext) -> str:
    """Search the archive."""
    if context.cancelled.wait(5):
        noticed.set()
    return "too late"


archivist = Agent("archivist", MODEL, "Search the archive; if that fails, say so.", [slow])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(archivist, "Is there anything on Ada?")
        print(f"slow: {result.tool_calls[0]['error']['code']}")
        print(f"the tool noticed: {noticed.wait(2)}")
        print(f"output: {result.output}")
