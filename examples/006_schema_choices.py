"""Type hints become the schema that the model must keep to. A `Literal` or an `Enum` is a closed list: a value that is
not in it is refused before the function runs, and the model is told, so that it can correct itself.

Prints:
    first call: E0305
    second call: a large oat latte
"""

import os
import tempfile
from enum import Enum
from typing import Literal

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("brew", size="huge", milk="oat"), call("brew", size="large", milk="oat"), text("Here you are.")]
)


class Milk(Enum):
    """What can go into a coffee."""

    COW = "cow"
    OAT = "oat"


@tool
def brew(size: Literal["small", "large"], milk: Milk) -> str:
    """Brew a latte."""
    return f"a {size} {milk.value} latte"


barista = Agent("barista", MODEL, "You make coffee.", [brew])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        first, second = runtime.run(barista, "A huge latte with oat milk!").tool_calls
        print(f"first call: {first['error']['code']}")
        print(f"second call: {second['result']}")
