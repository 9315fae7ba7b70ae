"""A start whose answer was lost can be repeated: two starts with one `idempotency_key` are one execution. The same key with
another prompt is a mistake, and says so.

Prints:
    one execution: True
    runs: 1
    another prompt: E0413
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ExecutionError, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")
runs: list[str] = []


@tool
def ship(order: str) -> str:
    """Send an order."""
    runs.append(order)
    return "sent"


shipper = Agent("shipper", MODEL, "Send what you are asked to.", [ship])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        first = runtime.start(shipper, "Send order 17", idempotency_key="order-17")
        again = runtime.start(shipper, "Send order 17", idempotency_key="order-17")
        print(f"one execution: {first.execution_id == again.execution_id}")
        again.join()
        print(f"runs: {len(runs)}")
        try:
            runtime.start(shipper, "Send order 18", idempotency_key="order-17")
        except ExecutionError as error:
            print(f"another prompt: {error.code}")
