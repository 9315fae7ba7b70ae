"""A tool that charges a card and then loses the line is tried again, and nobody knows whether the card was charged.
`context.idempotency_key` is the same at each try, and after crashes, and different for each other call. The payment service
takes it and pays once.

Prints:
    tries: 2
    payments: 1
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("charge", cents=4000), text("Paid.")])
payments: dict[str, int] = {}  # stands for a payment service that honours keys
tries: list[str] = []


@tool(retry_delay_seconds=0.05)
def charge(cents: int, context: ToolContext) -> str:
    """Charge the customer's card."""
    tries.append(context.idempotency_key)
    payments.setdefault(context.idempotency_key, cents)
    if context.attempt == 1:
        raise ConnectionError("the line went dead after the charge")
    return "charged"


cashier = Agent("cashier", MODEL, "Charge what you are asked to.", [charge])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        runtime.run(cashier, "Charge 40 euros")
        print(f"tries: {len(tries)}")
        print(f"payments: {len(payments)}")
