"""`synthesize=True` with a model of the team's own: it sums up what the members said into one answer.

Prints: Yes, with a tax of 23 percent.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

law = Agent("law", REAL or MockModel([text("Allowed.")]), "You know the law.")
tax = Agent("tax", REAL or MockModel([text("23 percent.")]), "You know the taxes.")
board = Agent(
    "board",
    REAL or MockModel([text("Yes, with a tax of 23 percent.")]),
    "Answer in one sentence.",
    agents=[law, tax],
    strategy=Strategy.PARALLEL,
    synthesize=True,
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(board, "May we sell coffee in Portugal?").output)
