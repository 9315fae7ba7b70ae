"""A router function that takes the conversation as well is asked again after each answer, until it says DONE: here a draft goes
to the critic and back until the critic is content.

Prints:
    writer, critic, writer, critic
    Good.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
writer = Agent("writer", REAL or MockModel([text("A line."), text("A better line.")]), "Write a line.")
critic = Agent(
    "critic", REAL or MockModel([text("Too short."), text("Good.")]), "Say Good., or what is wrong."
)


def until_good(_prompt: str, conversation: str, turn: int) -> str:
    """Who goes on."""
    if conversation.endswith("Good."):
        return "DONE"
    return "writer" if turn % 2 else "critic"


press = Agent("press", agents=[writer, critic], strategy=Strategy.ROUTER, router=until_good)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(press, "A line about rain")
        print(", ".join(e.target or "" for e in events if e.type == EventType.HANDOFF))
        print(events.result.output)
