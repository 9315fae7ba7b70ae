"""A run is recorded to a file and replayed later: without a model, a key or the tools. The replay says whether the agent still
does the same, and where it goes another way, here with another model.

Prints:
    replayed: the same run
    with another model: another run
    it differs from: 3
"""

import os
import tempfile
from pathlib import Path

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, record, replay, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("add", a=1, b=2), text("{result:add}")])


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


clerk = Agent("clerk", MODEL, "You do sums.", [add])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        with AgentRuntime(embedded=True, data_dir=folder) as runtime:
            result = runtime.run(clerk, "What is 1 and 2?")
            recording = record(result, Path(folder) / "sum.jsonl", runtime=runtime)
        report = replay(recording, clerk)
        print(f"replayed: {'the same run' if report.same else report}")
        report = replay(recording, clerk, script=[text("I would say 4.")])
        print(f"with another model: {'the same run' if report.same else 'another run'}")
        print(f"it differs from: {result.output}")
