"""A random order: who speaks next is drawn, and recorded, so that a restart does not draw again. The draw follows from the
execution's id.

Prints:
    turns: 4
    only members speak: True
    an idea
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, MaxMessageTermination, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
NAMES = ("ada", "bo", "cy")

people = [
    Agent(name, REAL or MockModel([text("an idea")], repeat_last=True), "Have an idea.") for name in NAMES
]
storm = Agent("storm", agents=people, strategy=Strategy.RANDOM, termination=MaxMessageTermination(4))

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(storm, "How do we call the shop?")
        speakers = [e.target for e in events if e.type == EventType.HANDOFF]
        print(f"turns: {len(speakers)}")
        print(f"only members speak: {set(speakers) <= set(NAMES)}")
        print(events.result.output)
