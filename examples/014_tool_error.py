"""An exception that is left after the retries does not end the execution: its text goes to the model as the result of
the call, and the model decides what to do. With `retry_count=0` it is told at once.

Prints:
    divide: divide raised ValueError: cannot divide by zero
    output: That has no answer.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("divide", a=1, b=0), text("That has no answer.")])


@tool(retry_count=0)
def divide(a: float, b: float) -> float:
    """Divide a by b."""
    if b == 0:
        raise ValueError("cannot divide by zero")
    return a / b


clerk = Agent("clerk", MODEL, "You do sums.", [divide])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(clerk, "What is 1 by 0?")
        print("divide:", result.tool_calls[0]["error"]["what"])
        print(f"output: {result.output}")
