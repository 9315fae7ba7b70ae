"""A plan of your own: which tools are called with what, and what depends on what. It is checked as a whole before anything
runs; then it runs without a model in between, what is independent at the same time.

Prints:
    {'shop': 'south', 'cents': 250}
    noted: ['south']
"""

import os
import tempfile
from typing import Any

from perdure import Action, AgentRuntime, Op, Plan, Ref, Step, Validation, plan_execute, tool

MODEL = os.environ.get("PERDURE_MODEL", "")  # no model is needed
noted: list[str] = []


@tool
def price(shop: str) -> dict[str, Any]:
    """What a shop asks."""
    return {"shop": shop, "cents": {"north": 300, "south": 250}[shop]}


@tool
def cheapest(offers: list[dict[str, Any]]) -> dict[str, Any]:
    """The cheapest of some offers."""
    return min(offers, key=lambda offer: offer["cents"])


@tool
def note(offer: dict[str, Any]) -> str:
    """Write an offer down."""
    noted.append(offer["shop"])
    return "noted"


plan = Plan(
    steps=[
        Step("north", [Op(price, {"shop": "north"})]),
        Step("south", [Op(price, {"shop": "south"})]),
        Step("best", [Op(cheapest, {"offers": [Ref("north"), Ref("south")]})], depends_on=["north", "south"]),
    ],
    validation=[Validation(cheapest, {"offers": [Ref("best")]}, success_condition="$.cents < 1000")],
    on_success=[Action(note, {"offer": Ref("best")})],
)
buyer = plan_execute("buyer", tools=[price, cheapest, note], plan=plan, model=MODEL)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(buyer, "Find the cheapest shop").output)
        print(f"noted: {noted}")
