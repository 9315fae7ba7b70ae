"""`include_contents="none"`: an agent of a team, or of a session, sees its own input only, and nothing of the conversation
before. Good for a judge that should not be led.

Prints:
    default hears 3 messages
    none hears 1 message
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, CallbackHandler

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
heard: list[int] = []


class Count(CallbackHandler):
    """Counts what the model is shown."""

    def on_model_start(self, messages: list[dict[str, Any]], **_: Any) -> None:
        """Before each model call."""
        heard.append(len(messages))


talker = Agent("talker", MODEL, "Talk.", callbacks=[Count()])
judge = Agent("judge", MODEL, "Judge.", callbacks=[Count()], include_contents="none")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for agent in (talker, judge):
            runtime.run(agent, "The film was great.", session_id=agent.name)
            runtime.run(agent, "Was it?", session_id=agent.name)
        print(f"default hears {heard[1]} messages")
        print(f"none hears {heard[3]} message")
