"""A planner: an agent that is told the request, the tools, the shape of a plan and some facts, and writes a plan as JSON. It is
checked as a whole before anything runs; one that cannot be carried out goes back to the planner.

Prints:
    steps: pack, label
    a label for: packed 3 x pen
"""

import json
import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, Context, Strategy, tool
from perdure.testing import MockModel, text

STEPS: list[dict[str, Any]] = [
    {"id": "pack", "operations": [{"tool": "pack", "args": {"item": "pen", "count": 3}}]},
    {
        "id": "label",
        "depends_on": ["pack"],
        "operations": [{"tool": "label", "args": {"parcel": {"$ref": "pack"}}}],
    },
]
MODEL = os.environ.get("PERDURE_MODEL") or MockModel([text(f"```json\n{json.dumps({'steps': STEPS})}\n```")])


@tool
def pack(item: str, count: int) -> str:
    """Pack an item."""
    return f"packed {count} x {item}"


@tool
def label(parcel: str) -> str:
    """Print the label of a parcel."""
    return f"a label for: {parcel}"


packer = Agent(
    "packer",
    tools=[pack, label],
    strategy=Strategy.PLAN_EXECUTE,
    planner=Agent("planner", MODEL, "You plan."),
    planner_context=[Context("Each parcel needs a label.")],
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(packer, "Three pens, please")
        print(f"steps: {', '.join(call['name'] for call in result.tool_calls)}")
        print(result.output)
