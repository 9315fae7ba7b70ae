"""A dataclass as a parameter: the model fills in an object, and the function gets an instance of the class.

Lists, optional fields, defaults and classes inside of classes work the same way.

Prints: 3 x pen, 1 x ink to Ada in Lisbon: 13.50 EUR
"""

import os
import tempfile
from dataclasses import dataclass

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

ITEMS = [{"name": "pen", "count": 3, "price": 2.5}, {"name": "ink", "price": 6.0}]
MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("place_order", to={"name": "Ada", "city": "Lisbon"}, items=ITEMS), text("{result:place_order}")]
)


@dataclass
class Address:
    """Where to."""

    name: str
    city: str


@dataclass
class Item:
    """What, and how often."""

    name: str
    price: float
    count: int = 1


@tool
def place_order(to: Address, items: list[Item]) -> str:
    """Order things."""
    listed = ", ".join(f"{item.count} x {item.name}" for item in items)
    total = sum(item.count * item.price for item in items)
    return f"{listed} to {to.name} in {to.city}: {total:.2f} EUR"


shop = Agent("shop", MODEL, "You take orders, and repeat what the tool says.", [place_order])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(shop, "Three pens at 2.50 and ink for 6 to Ada in Lisbon, please.").output)
