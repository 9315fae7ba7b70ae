"""A gate between two stages: when what a stage made has the text, the pipeline ends there. The second agent is not asked.

Prints:
    gate: NOT FOUND: no such order
    stop: Refunded.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, TextGate
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")


def pipeline(found: str) -> Agent:
    """Look an order up, then refund it."""
    lookup = Agent(
        "lookup", REAL or MockModel([text(found)]), "Look up the order.", gate=TextGate("NOT FOUND")
    )
    refund = Agent("refund", REAL or MockModel([text("Refunded.")]), "Refund the order.")
    return lookup >> refund


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for found in ("NOT FOUND: no such order", "A-1001, 40 EUR"):
            result = runtime.run(pipeline(found), "Refund my order")
            print(f"{result.finish_reason}: {result.output}")
