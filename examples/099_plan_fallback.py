"""When a plan fails, what is still open is stopped and `on_failure` runs. Then the fallback goes on, if there is one: an agent
that is told the request, the plan, and what went wrong.

Prints:
    without: failed, E0426
    with: completed, Order in the north.
    undone: 2
"""

import os
import tempfile

from perdure import Action, AgentRuntime, Op, Plan, Step, plan_execute, tool
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([text("Order in the north.")])
undone: list[str] = []


@tool(retry_count=0)
def order(shop: str) -> str:
    """Order in a shop."""
    raise ValueError(f"sold out in the {shop}")


@tool
def undo(shop: str) -> str:
    """Cancel what was begun."""
    undone.append(shop)
    return "undone"


plan = Plan([Step("order", [Op(order, {"shop": "south"})])], on_failure=[Action(undo, {"shop": "south"})])
alone = plan_execute("alone", tools=[order, undo], plan=plan)
rescued = plan_execute(
    "rescued",
    tools=[order, undo],
    plan=plan,
    model=MODEL,
    fallback_instructions="The plan failed. Find another way.",
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(alone, "Order one")
        print(f"without: {result.status}, {result.error and result.error.code}")
        result = runtime.run(rescued, "Order one")
        print(f"with: {result.status}, {result.output}")
        print(f"undone: {len(undone)}")
