"""Two tools in two turns: the second call is given what the first one found.

The mock model follows a script, so that the flow is the same each time; a real model finds the same way by itself.

Prints: Order A-1 was sent to Lisbon and costs 12 EUR to send back.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        call("lookup_order", order_id="A-1"),
        call("postage", city="{result:lookup_order.city}"),
        text("Order A-1 was sent to {result:lookup_order.city} and costs {result:postage} EUR to send back."),
    ]
)


@tool
def lookup_order(order_id: str) -> dict[str, str]:
    """Look up where an order was sent."""
    return {"order_id": order_id, "city": "Lisbon"}


@tool
def postage(city: str) -> int:
    """Say what it costs in EUR to send a parcel from a city."""
    return {"Lisbon": 12}.get(city, 20)


clerk = Agent("clerk", MODEL, "You are the shipping clerk of a shop.", [lookup_order, postage])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(clerk, "What does it cost to send back order A-1?").output)
