"""`on_fail="human"`: what a guardrail does not let pass waits for a person, who lets it pass, rejects it, or writes something
else in its place.

Prints:
    a person is asked about: @guard.legal
    We cannot promise anything.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, OnFail, RegexGuardrail

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
legal = RegexGuardrail(
    [r"(?i)guarantee"], name="legal", on_fail=OnFail.HUMAN, message="A guarantee is for lawyers."
)
clerk = Agent("clerk", MODEL, "Repeat what the user says, and nothing else.", guardrails=[legal])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(clerk, "We guarantee it.")
        for event in handle.stream():
            if event.type == EventType.WAITING:
                print(f"a person is asked about: {event.tool_name}")
                handle.respond({"content": "We cannot promise anything."}, by="ada")
        print(handle.join().output)
