"""One after the other: each agent is given the request, and what the one before made of it. The answer of the last one is the
team's.

Prints: Haiku about rain, with a title.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

writer = Agent("writer", REAL or MockModel([text("Haiku about rain.")]), "Write a haiku.")
editor = Agent(
    "editor", REAL or MockModel([text("Haiku about rain, with a title.")]), "Give the haiku a title."
)
press = Agent("press", agents=[writer, editor], strategy=Strategy.SEQUENTIAL)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(press, "A haiku about rain").output)
