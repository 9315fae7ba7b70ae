"""A guardrail by a model: the server asks it whether the answer keeps to a policy that is written in words. It fails closed: a
judge that does not give a clear yes, as the mock model here, has not passed anything.

Prints:
    failed, guardrail
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, LLMGuardrail, OnFail

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
polite = LLMGuardrail(MODEL, "The text is polite.", name="polite", on_fail=OnFail.RAISE)
clerk = Agent("clerk", MODEL, "Answer the user.", guardrails=[polite])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(clerk, "Good morning")
        print(f"{result.status}, {result.finish_reason}")
