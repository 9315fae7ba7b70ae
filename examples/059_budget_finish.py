"""`on_breach="finish"`: when the budget is used up the model is asked once more, for an answer from what there is, instead
of losing the work.

Prints: completed: As far as I got: not there yet.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Budget, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("think"), call("think"), text("As far as I got: {result:think}.")]
)


@tool
def think() -> str:
    """Think once more."""
    return "not there yet"


thinker = Agent(
    "thinker", MODEL, "Think, and never answer.", [think], budget=Budget(max_tool_calls=2, on_breach="finish")
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(thinker, "What is the meaning of it all?")
        print(f"{result.status}: {result.output}")
