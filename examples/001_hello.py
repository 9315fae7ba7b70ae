"""The smallest agent: a name and a model. `run` waits for the answer; the mock model says what it was told.

Set PERDURE_MODEL (for example openai/gpt-5-mini) and the provider's key to ask a real model; this holds for all examples.

Prints: Hello, world
"""

import os
import tempfile

from perdure import Agent, AgentRuntime

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")

greeter = Agent("greeter", MODEL, "Repeat what the user says, and nothing else.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(greeter, "Hello, world").output)
