"""All at once, with the same input; the answers are put together by name. The time is that of the slowest.

Prints:
    [law]: Allowed.

    [tax]: 23 percent.

    [risk]: Low.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
SAY = {"law": "Allowed.", "tax": "23 percent.", "risk": "Low."}

experts = [
    Agent(name, REAL or MockModel([text(said)]), f"You know about {name}.") for name, said in SAY.items()
]
board = Agent("board", agents=experts, strategy=Strategy.PARALLEL)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(board, "May we sell coffee in Portugal?").output)
