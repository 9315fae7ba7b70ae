"""`context.state` is a dict that all tools of one execution share. What is put there is recorded with the tool's result,
and so it is still there after a crash, and in another process.

Prints: 2 items: pen, ink
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("add", item="pen"), call("add", item="ink"), call("show"), text("{result:show}")]
)


@tool
def add(item: str, context: ToolContext) -> str:
    """Put an item into the basket."""
    context.state["basket"] = [*context.state.get("basket", []), item]
    return "ok"


@tool
def show(context: ToolContext) -> str:
    """Show the basket."""
    basket = context.state.get("basket", [])
    return f"{len(basket)} items: {', '.join(basket)}"


shop = Agent("shop", MODEL, "Put what is wanted into the basket, then show it.", [add, show])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(shop, "A pen and ink, please").output)
