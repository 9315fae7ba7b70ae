"""A person says no, and why. The tool does not run; the agent is told the reason, and goes on with that. Who decided, and
when, is recorded.

Prints:
    decided: False by ada
    refunded: 0
    I am sorry: over the limit of 50 euros.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("refund", cents=9000), text("I am sorry: over the limit of 50 euros.")]
)
refunded: list[int] = []


@tool(approval_required=True)
def refund(cents: int) -> str:
    """Give money back."""
    refunded.append(cents)
    return "done"


support = Agent("support", MODEL, "Refund what you are asked to.", [refund])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(support, "90 euros back, please")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.approval_id:
                handle.reject("over the limit of 50 euros", by="ada")
            elif event.type == EventType.APPROVAL:
                print(f"decided: {event.approved} by {event.by}")
        print(f"refunded: {sum(refunded)}")
        print(handle.join().output)
