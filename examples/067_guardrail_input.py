"""A guardrail on what goes in: the agent is not asked at all. `on_fail="raise"` ends the execution, with the guardrail's
message for the caller.

Prints:
    failed, guardrail
    rejected: True
    model calls: 0
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, OnFail, Position, RegexGuardrail

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
no_secrets = RegexGuardrail(
    [r"(?i)password"],
    name="no_secrets",
    position=Position.INPUT,
    on_fail=OnFail.RAISE,
    message="Never send a password.",
)
clerk = Agent("clerk", MODEL, "Help the user.", guardrails=[no_secrets])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(clerk, "My password is hunter2, log me in")
        print(f"{result.status}, {result.finish_reason}")
        print(f"rejected: {result.is_rejected}")
        print(f"model calls: {sum(message['role'] == 'assistant' for message in result.messages)}")
