"""`on_breach="ask"`: a person decides whether the execution may go on beyond its budget. Until then it waits.

Prints:
    asked: raise_budget
    completed: There it is.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Budget, EventType, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("dig"), call("dig"), text("There it is.")])


@tool
def dig() -> str:
    """Dig one metre deeper."""
    return "nothing yet"


digger = Agent(
    "digger", MODEL, "Dig until you find it.", [dig], budget=Budget(max_model_calls=2, on_breach="ask")
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(digger, "Find the treasure")
        for event in handle.stream():
            if event.type == EventType.WAITING:
                print(f"asked: {event.tool_name}")
                handle.approve(event.approval_id, by="ada")
        result = handle.join()
        print(f"{result.status}: {result.output}")
