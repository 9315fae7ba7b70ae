"""`a >> b >> c` is the same as a sequential team. What each stage was given can be seen by a mock model that repeats it.

Prints:
    research_write_check: sequential
    checked: The harbour is 300 years old.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

research = Agent("research", REAL or MockModel([text("harbour, 300 years")]), "Collect facts.")
write = Agent("write", REAL or MockModel([text("The harbour is 300 years old.")]), "Write a sentence.")
check = Agent(
    "check", REAL or MockModel([text("checked: The harbour is 300 years old.")]), "Check the sentence."
)
pipeline = research >> write >> check

if __name__ == "__main__":
    print(f"{pipeline.name}: {pipeline.strategy}")
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(pipeline, "Tell me about the harbour").output)
