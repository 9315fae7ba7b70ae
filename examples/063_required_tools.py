"""Tools that must have been called before an answer is taken. A model that answers from its head is sent back, three times at
most.

Prints:
    calls: ['check_policy']
    You have 30 days, as the policy says.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        text("You have 14 days, I think."),
        call("check_policy"),
        text("You have {result:check_policy} days, as the policy says."),
    ]
)


@tool
def check_policy() -> int:
    """Look up how many days a customer has to send something back."""
    return 30


support = Agent("support", MODEL, "Help the customer.", [check_policy], required_tools=[check_policy])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(support, "How long do I have to send this back?")
        print(f"calls: {[call['name'] for call in result.tool_calls]}")
        print(result.output)
