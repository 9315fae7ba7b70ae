"""A swarm: whoever speaks hands the conversation over with a tool that it is given for each of the others. Who is not followed
has the last word.

Prints:
    reception -> kitchen -> reception
    Your soup comes in ten minutes.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, Strategy
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")
RECEPTION = [call("transfer_to_kitchen", note="wants soup"), text("Your soup comes in ten minutes.")]

reception = Agent(
    "reception", REAL or MockModel(RECEPTION), "Talk to guests. The kitchen knows what is ready."
)
kitchen = Agent("kitchen", REAL or MockModel([call("transfer_to_reception", note="ten minutes")]), "Cook.")
hotel = Agent("hotel", agents=[reception, kitchen], strategy=Strategy.SWARM)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(hotel, "Soup, please")
        print(" -> ".join(e.target or "" for e in events if e.type == EventType.HANDOFF))
        print(events.result.output)
