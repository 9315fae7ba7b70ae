"""A session is a conversation over several executions: with the same `session_id` the agent sees what was said before. Other
sessions see nothing of it.

Prints:
    ana hears: 3 messages
    bo hears: 1 message
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, CallbackHandler

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
seen: list[int] = []


class Count(CallbackHandler):
    """Counts what the model is shown."""

    def on_model_start(self, messages: list[dict[str, object]], **_: object) -> None:
        """Before each model call."""
        seen.append(len(messages))


support = Agent("support", MODEL, "Help the customer.", callbacks=[Count()])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        runtime.run(support, "My name is Ana.", session_id="ana")
        runtime.run(support, "What is my name?", session_id="ana")
        runtime.run(support, "What is my name?", session_id="bo")
        print(f"ana hears: {seen[1]} messages")
        print(f"bo hears: {seen[2]} message")
