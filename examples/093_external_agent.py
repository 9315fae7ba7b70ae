"""An agent that is somewhere else: `Agent("translator")` without a model, instructions and tools is only a name. Whatever is
deployed under it does the work, here by another part of the program, and it may change without a change of the team.

Prints: Olá, mundo
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

writer = Agent("writer", REAL or MockModel([text("Hello, world")]), "Greet the world.")
pipeline = Agent("pipeline", agents=[writer, Agent("translator")], strategy="sequential")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        runtime.deploy(
            Agent("translator", REAL or MockModel([text("Olá, mundo")]), "Translate into Portuguese.")
        )
        print(runtime.run(pipeline, "Greet").output)
