"""A tool with `approval_required=True` does not run before a person agrees. The execution waits in the journal, for as long
as it takes, and costs nothing meanwhile; any process that knows its id may decide.

Prints:
    waits: refund {'cents': 4000}
    refunded 4000
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("refund", cents=4000), text("{result:refund}")])


@tool(approval_required=True)
def refund(cents: int) -> str:
    """Give money back."""
    return f"refunded {cents}"


support = Agent("support", MODEL, "Refund what you are asked to.", [refund])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(support, "The headphones are broken, 40 euros please")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.approval_id:
                print(f"waits: {event.tool_name} {event.args}")
                handle.approve(event.approval_id, by="ada")
        print(handle.join().output)
