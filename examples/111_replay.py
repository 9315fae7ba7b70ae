"""`handle.replay` gives the same request to another model or other instructions: models are asked anew, and every call is answered
from the journal of the old execution. No tool runs, no person is asked.

Prints:
    paid once: True
    replayed with mock/echo: Pay 5 euros
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("pay", cents=500), text("{result:pay}")])
paid: list[int] = []


@tool
def pay(cents: int) -> str:
    """Pay."""
    paid.append(cents)
    return f"paid {cents}"


cashier = Agent("cashier", MODEL, "Pay what you are asked to.", [pay])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(cashier, "Pay 5 euros")
        handle.join()
        handle.replay(instructions="Pay, and be kind.").join()
        print(f"paid once: {len(paid) == 1}")
        print(f"replayed with mock/echo: {handle.replay(model='mock/echo').join().output}")
