"""A person picks who speaks next, and says when it is done. The question waits like an approval, with the names to choose
from.

Prints:
    pick of ['poet', 'critic'] -> poet
    pick of ['poet', 'critic', 'DONE'] -> critic
    pick of ['poet', 'critic', 'DONE'] -> DONE
    Seventeen syllables, good.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

poet = Agent("poet", REAL or MockModel([text("Rain on the old roof.")]), "Write a haiku.")
critic = Agent("critic", REAL or MockModel([text("Seventeen syllables, good.")]), "Judge it.")
salon = Agent("salon", agents=[poet, critic], strategy=Strategy.MANUAL)

if __name__ == "__main__":
    picks = iter(["poet", "critic", "DONE"])
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(salon, "A haiku about rain")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.answer_schema:
                choices = event.answer_schema["properties"]["agent"]["enum"]
                pick = next(picks)
                print(f"pick of {choices} -> {pick}")
                handle.respond({"agent": pick}, event.approval_id)
        print(handle.join().output)
