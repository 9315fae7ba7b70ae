"""A guardrail by a function of yours. With `on_fail="retry"`, the default, the model is told what is wrong and tries again;
the verdicts are events.

Prints:
    fail: no_promises: Do not promise a date.
    pass: no_promises
    It will be sent soon.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, GuardrailResult, guardrail
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [text("You have it by Monday."), text("It will be sent soon.")]
)


@guardrail
def no_promises(content: str) -> GuardrailResult:
    """No day of the week is promised."""
    return GuardrailResult("day" not in content, "Do not promise a date.")


support = Agent("support", MODEL, "Help the customer.", guardrails=[no_promises])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(support, "When do I get it?")
        for event in events:
            if event.type == EventType.GUARDRAIL_FAIL:
                print(f"fail: {event.guardrail_name}: {event.content}")
            elif event.type == EventType.GUARDRAIL_PASS:
                print(f"pass: {event.guardrail_name}")
        print(events.result.output)
