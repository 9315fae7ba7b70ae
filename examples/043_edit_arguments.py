"""A person may agree to something else than what the model asked for: `approve(arguments=...)` runs the tool with other
arguments. They are checked against the tool's schema first.

Prints:
    not a number: E0305
    refunded 2500
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, ToolError, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("refund", cents=9000), text("{result:refund}")])


@tool(approval_required=True)
def refund(cents: int) -> str:
    """Give money back."""
    return f"refunded {cents}"


support = Agent("support", MODEL, "Refund what you are asked to.", [refund])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(support, "90 euros back, please")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.approval_id:
                try:
                    handle.approve(arguments={"cents": "a lot"})
                except ToolError as error:
                    print(f"not a number: {error.code}")
                handle.approve(arguments={"cents": 2500}, by="ada", reason="half of it")
        print(handle.join().output)
