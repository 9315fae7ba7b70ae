"""`pause` begins no new step; what is in flight may end. `resume` goes on where it was. Both are recorded, with the reason.

Prints:
    paused, packed: ['pen']
    completed, packed: ['pen', 'ink']
"""

import os
import tempfile
import threading

from perdure import Agent, AgentRuntime, EventType, Status, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("pack", item="pen"), call("pack", item="ink"), text("Packed.")]
)
packed: list[str] = []
paused = threading.Event()


@tool
def pack(item: str) -> str:
    """Pack an item."""
    if not packed:
        paused.wait(5)  # so that the pause comes while the first call runs
    packed.append(item)
    return "ok"


packer = Agent("packer", MODEL, "Pack a pen, then ink.", [pack])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(packer, "Pack the order")
        for event in handle.stream():
            if event.type == EventType.TOOL_CALL and not paused.is_set():
                handle.pause("the shop is closed")
                paused.set()
            elif event.type == EventType.TOOL_RESULT and handle.get_status().status is Status.PAUSED:
                print(f"paused, packed: {packed}")
                handle.resume()
        print(f"{handle.join().status}, packed: {packed}")
