"""Callbacks are asked at six places of an execution, and may change what goes on: here the input, the arguments of a call, its
result, and the answer. They run on a worker, and what they return is recorded, once.

Prints:
    agent start: pay 5 euros
    tool pay {'cents': 500, 'currency': 'EUR'}
    model said: paid [hidden] cents
    PAID [hidden] CENTS
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, CallbackHandler, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("pay", cents=500), text("{result:pay}")])


@tool
def pay(cents: int, currency: str = "USD") -> str:
    """Pay."""
    return f"paid {cents} cents" if currency == "EUR" else "wrong currency"


class Desk(CallbackHandler):
    """Euros only, and no amounts in answers."""

    def on_agent_start(self, input: str, **_: Any) -> dict[str, Any]:  # noqa: A002 - values come by keyword
        """Takes the input in lower case."""
        print(f"agent start: {input.lower()}")
        return {"input": input.lower()}

    def on_tool_start(self, tool: str, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Sets the currency."""
        print(f"tool {tool} {arguments | {'currency': 'EUR'}}")
        return {"arguments": arguments | {"currency": "EUR"}}

    def on_tool_end(self, result: str, **_: Any) -> dict[str, Any]:
        """Hides the amount."""
        return {"result": result.replace("500", "[hidden]")}

    def on_model_end(self, text: str, tool_calls: list[Any], **_: Any) -> None:
        """Looks on."""
        if not tool_calls:
            print(f"model said: {text}")

    def on_agent_end(self, output: str, **_: Any) -> dict[str, Any]:
        """Shouts."""
        return {"output": output.replace("paid", "PAID").replace("cents", "CENTS")}


cashier = Agent("cashier", MODEL, "Pay what you are asked to.", [pay], callbacks=[Desk()])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(cashier, "Pay 5 Euros").output)
