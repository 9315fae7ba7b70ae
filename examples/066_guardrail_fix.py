"""A guardrail that corrects: with `on_fail="fix"` its `fixed_output` takes the place of the answer, and the model is not
asked again. The function can be called by hand, in a test for example.

Prints:
    by hand: True
    The total is 40 EUR.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, GuardrailResult, OnFail, guardrail

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")


@guardrail(on_fail=OnFail.FIX)
def iso_currency(content: str) -> GuardrailResult:
    """Currencies are written as ISO codes."""
    return GuardrailResult("€" not in content, "Write EUR.", content.replace("€", "EUR"))


cashier = Agent("cashier", MODEL, "Repeat what the user says, and nothing else.", guardrails=[iso_currency])

if __name__ == "__main__":
    print(f"by hand: {iso_currency('40 EUR').passed}")
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(cashier, "The total is 40 €.").output)
