"""`synthesize=False`: the answer of the agent that was handed over to is the answer; the first agent does not repeat it, and a
model call is saved.

Prints: You are charged on the 1st.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")

billing = Agent(
    "billing", REAL or MockModel([text("You are charged on the 1st.")]), "Bills. Charges are on the 1st."
)
desk = Agent(
    "desk",
    REAL or MockModel([call("transfer_to_billing")]),
    "Hand over to who knows.",
    agents=[billing],
    synthesize=False,
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(desk, "When am I charged?").output)
