"""The output type may be a list, a dataclass, a TypedDict, a union, or any of these inside of each other.

Prints:
    Task(title='Write the report', hours=3.0, who='Ada')
    Task(title='Proofread', hours=0.5, who=None)
"""

import os
import tempfile
from dataclasses import dataclass

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel

TASKS = [{"title": "Write the report", "hours": 3, "who": "Ada"}, {"title": "Proofread", "hours": 0.5}]
MODEL = os.environ.get("PERDURE_MODEL") or MockModel([{"json": TASKS}])


@dataclass
class Task:
    """Something to do."""

    title: str
    hours: float
    who: str | None = None


planner = Agent("planner", MODEL, "List the tasks in a text.", output_type=list[Task])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for task in runtime.run(
            planner, "Ada writes the report (3 h), then half an hour to proofread"
        ).output:
            print(task)
