"""A budget limits what an execution and all below it may use: tokens, dollars, model calls, tool calls, seconds. By default
an execution that has used it up fails.

Prints: failed, E0424, after 3 model calls
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Budget, tool
from perdure.testing import MockModel, call

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("think")], repeat_last=True)


@tool
def think() -> str:
    """Think once more."""
    return "not there yet"


thinker = Agent("thinker", MODEL, "Think, and never answer.", [think], budget=Budget(max_model_calls=3))

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(thinker, "What is the meaning of it all?")
        asked = sum(message["role"] == "assistant" for message in result.messages)
        print(f"{result.status}, {result.error and result.error.code}, after {asked} model calls")
