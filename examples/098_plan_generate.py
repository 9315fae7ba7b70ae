"""Arguments that are known only when the steps before have run: `Generate` has the model write them then, and checks them
against the tool's schema.

Prints: sent to ada: Your parcel with 3 pens is on its way.
"""

import os
import tempfile

from perdure import AgentRuntime, Generate, Op, Plan, Ref, Step, plan_execute, tool
from perdure.testing import MockModel

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [{"json": {"to": "ada", "body": "Your parcel with 3 pens is on its way."}}]
)


@tool
def order_of(customer: str) -> dict[str, str]:
    """Look up what a customer has ordered."""
    return {"customer": customer, "order": "3 pens"}


@tool
def send(to: str, body: str) -> str:
    """Send a letter."""
    return f"sent to {to}: {body}"


plan = Plan(
    [
        Step("look", [Op(order_of, {"customer": "ada"})]),
        Step(
            "write",
            [Op(send, generate=Generate("Write that the order is on its way.", context=Ref("look")))],
            depends_on=["look"],
        ),
    ]
)
clerk = plan_execute("clerk", tools=[order_of, send], plan=plan, model=MODEL)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(clerk, "Tell Ada about her order").output)
