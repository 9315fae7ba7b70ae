"""`introduction` is what an agent says of itself at the beginning of a team's conversation, so that the others know who is
there; `description` is what a model is told that may hand over to it.

Prints:
    the desk is told: a doctor for plants
    the gardener is told: I am Dr. Fern and know all about plants.
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, CallbackHandler, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
ABOUT, HELLO = "a doctor for plants", "I am Dr. Fern and know all about plants."
told: list[str] = []


class Ears(CallbackHandler):
    """Keeps what the model is shown."""

    def on_model_start(self, messages: list[dict[str, Any]], **_: Any) -> None:
        """Before each model call."""
        told.extend(message["text"] for message in messages)


botanist = Agent(
    "botanist",
    REAL or MockModel([text("Water it less.")]),
    "Help plants.",
    description=ABOUT,
    introduction=HELLO,
)
gardener = Agent("gardener", REAL or "mock/echo", "Do what the botanist says.", callbacks=[Ears()])
desk = Agent("desk", REAL or "mock/echo", "Hand over.", agents=[botanist])
garden = Agent("garden", agents=[botanist, gardener], strategy=Strategy.ROUND_ROBIN, max_turns=2)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        tools = runtime.plan(desk)["plan"]["tools"]
        print(f"the desk is told: {ABOUT if ABOUT in str(tools) else tools}")
        runtime.run(garden, "My rose is ill")
        print(f"the gardener is told: {HELLO if HELLO in str(told) else told}")
