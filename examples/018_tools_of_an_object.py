"""Methods as tools: `@tool` on a method, and the bound methods of an object in `tools=`. Each agent works on its own
object.

Prints:
    red: 7
    blue: 2
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("add", points=2), text("{result:add}")])


class Score:
    """The points of a team."""

    def __init__(self, points: int) -> None:
        self.points = points

    @tool
    def add(self, points: int) -> int:
        """Add points to the team's score; gives the new score."""
        self.points += points
        return self.points


if __name__ == "__main__":
    red, blue = Score(5), Score(0)
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for name, score in (("red", red), ("blue", blue)):
            keeper = Agent(f"{name}_keeper", MODEL, "Add the points, say the new score only.", [score.add])
            runtime.run(keeper, "Two points!")
            print(f"{name}: {score.points}")
