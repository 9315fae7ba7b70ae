"""What each parameter means, in two places of your choice: a text in `Annotated`, or a line under `Args:` of the
docstring. Both stand in the schema that the model is shown; a tool's schema can be looked at without running anything.

Prints:
    amount: in cents, not in euros
    account: the number, without spaces
    required: ['account', 'amount']
    paid 500 to 12-34
"""

import os
import tempfile
from typing import Annotated

from perdure import Agent, AgentRuntime, ToolDef, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("pay", account="12-34", amount=500), text("{result:pay}")]
)


@tool
def pay(account: str, amount: Annotated[int, "in cents, not in euros"], note: str | None = None) -> str:
    """Pay somebody.

    Args:
        account: the number, without spaces
        note: for the receiver
    """
    return f"paid {amount} to {account}" + (f" ({note})" if note else "")


cashier = Agent("cashier", MODEL, "You pay, and repeat what the tool says.", [pay])

if __name__ == "__main__":
    definition: ToolDef[..., str] = pay
    for name in ("amount", "account"):
        print(f"{name}: {definition.input_schema['properties'][name]['description']}")
    print(f"required: {definition.input_schema['required']}")
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(cashier, "Pay 5 euros to 12-34").output)
