"""An approval deep in a team waits like any other, and is decided through the handle of the whole: whoever started the team
need not know which of its agents asks.

Prints:
    cashier asks: pay {'cents': 4000}
    paid 4000, and written down
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, tool
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")


@tool(approval_required=True)
def pay(cents: int) -> str:
    """Pay."""
    return f"paid {cents}"


cashier = Agent("cashier", REAL or MockModel([call("pay", cents=4000), text("{result:pay}")]), "Pay.", [pay])
clerk = Agent("clerk", REAL or MockModel([text("paid 4000, and written down")]), "Write it down.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(cashier >> clerk, "Pay 40 euros")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.approval_id:
                print(f"{event.agent} asks: {event.tool_name} {event.args}")
                handle.approve(event.approval_id)
        print(handle.join().output)
