"""`fork` goes on from a point of an execution with something edited there: what if the tool had said something else? The model is
asked from there on; what was before is neither asked nor called again. `diff` says where the two part.

Prints:
    It is sent.
    It is lost.
    they part at: t1.c0
    looked up once: True
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ExecutionDiff, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("lookup", order="A-1"), text("It is {result:lookup}.")]
)
lookups: list[str] = []


@tool
def lookup(order: str) -> str:
    """Look up an order."""
    lookups.append(order)
    return "sent"


support = Agent("support", MODEL, "Look up the order.", [lookup])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(support, "Where is A-1?")
        print(handle.join().output)
        lost = handle.fork(at="t1.c0", edit={"result": "lost"})
        print(lost.join().output)
        found: ExecutionDiff = runtime.diff(handle, lost)
        print(f"they part at: {found.first}")
        print(f"looked up once: {len(lookups) == 1}")
