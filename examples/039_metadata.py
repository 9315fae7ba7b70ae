"""`metadata` is JSON of your own that stays with the agent: a version, a team, a ticket. Tools see it in their context, and
results carry it.

Prints:
    in the tool: shop 3
    in the result: {'team': 'shop', 'revision': 3}
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ToolContext, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def report(context: ToolContext) -> str:
    """Say who works here."""
    return f"{context.metadata['team']} {context.metadata['revision']}"


agent = Agent("clerk", MODEL, "Report.", [report], metadata={"team": "shop", "revision": 3})

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(agent, "Report")
        print(f"in the tool: {result.tool_calls[0]['result']}")
        print(f"in the result: {result.metadata}")
