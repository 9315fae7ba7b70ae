"""A Python function becomes a tool. The model decides to call it, the function runs in this process, and its result
goes back to the model, which writes the answer.

Prints: weather: It is sunny in city.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"It is sunny in {city}."


guide = Agent("guide", MODEL, "Help travellers. Look up the weather before you answer.", [weather])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(guide, "What is the weather like in Lisbon?").output)
