"""A router that is an agent: its model picks who answers, and can pick nobody else than a member. It says as well whether that
answer is the last that is needed.

Prints: Restart it.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

billing = Agent(
    "billing", REAL or MockModel([text("On the 1st.")]), "Bills.", description="bills and charges"
)
technical = Agent(
    "technical", REAL or MockModel([text("Restart it.")]), "Repairs.", description="things that do not work"
)
router = Agent(
    "router",
    REAL or MockModel([{"json": {"agent": "technical", "final": True}}]),
    "Pick who can answer best.",
)
desk = Agent("desk", agents=[billing, technical], strategy=Strategy.ROUTER, router=router)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(desk, "My screen is black").output)
