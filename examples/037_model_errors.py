"""A model that is overloaded is asked again by the server: no code of yours is needed. The retries stand in the journal. Here
the first two tries fail.

Prints:
    retries: 2
    output: Here I am.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [text("Here I am.", fail={"code": "E0206", "times": 2, "retry_after_ms": 20})]
)
patient = Agent("patient", MODEL, "Say that you are here.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(patient, "Are you there?")
        retries = sum(event.type == EventType.RETRY for event in events)
        print(f"retries: {retries}")
        print(f"output: {events.result.output}")
