"""A team with the strategy `handoff`, the default: the agent's model decides to whom it hands the conversation, hears the
answer, and sums up.

Prints:
    hands over to: billing
    Billing says: You are charged on the 1st.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")
FIRST = [
    call("transfer_to_billing", note="asks when a charge is made"),
    text("Billing says: {result:transfer_to_billing}"),
]

billing = Agent(
    "billing", REAL or MockModel([text("You are charged on the 1st.")]), "Bills. Charges are on the 1st."
)
technical = Agent("technical", REAL or MockModel([text("Restart it.")]), "Things that do not work.")
desk = Agent("desk", REAL or MockModel(FIRST), "Hand over to who knows.", agents=[billing, technical])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(desk, "When am I charged?")
        for event in events:
            if event.type == EventType.HANDOFF:
                print(f"hands over to: {event.target}")
        print(events.result.output)
