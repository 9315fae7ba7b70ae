"""The agents of a team have tools of their own, and all of them run in this process. The tools of one execution share its
state; each agent of a team is an execution of its own.

Prints:
    counted by stock: 7
    Order 3 more.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")


@tool
def count(item: str, context: ToolContext) -> int:
    """Count what is in stock."""
    print(f"counted by {context.agent_name}: 7")
    return 7


@tool
def missing(have: int, want: int) -> int:
    """How many are missing."""
    return want - have


STOCK = MockModel([call("count", item="pens"), text("There are {result:count} pens.")])
BUY = MockModel([call("missing", have=7, want=10), text("Order {result:missing} more.")])

stock = Agent("stock", REAL or STOCK, "Count what is asked for.", [count])
buyer = Agent("buyer", REAL or BUY, "We want ten of each. Say how many to order.", [missing])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(stock >> buyer, "Pens").output)
