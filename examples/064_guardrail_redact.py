"""A guardrail by patterns, in the server: `on_fail="fix"` blacks out what it finds. Nobody is asked, and the text that was
blacked out leaves the agent for nobody.

Prints: Call me on [redacted] or write to [redacted].
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, OnFail, RegexGuardrail

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
no_contacts = RegexGuardrail(
    [r"[\w.]+@[\w.]+\w", r"\+?\d[\d ]{6,}\d"], name="no_contacts", on_fail=OnFail.FIX
)

clerk = Agent("clerk", MODEL, "Repeat what the user says, and nothing else.", guardrails=[no_contacts])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(clerk, "Call me on +351 912 345 678 or write to ada@example.com.").output)
