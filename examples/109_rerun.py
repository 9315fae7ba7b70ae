"""`rerun` starts the same request again from the beginning, with the plan of then, or with the agent as it is now.

Prints:
    then: Hello, Ada
    the same again: Hello, Ada
    as it is now: Good day, Ada
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")


def greeter(word: str) -> Agent:
    """The agent with this greeting."""
    return Agent("greeter", REAL or MockModel([text(f"{word}, Ada")]), f"Greet with {word!r}.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(greeter("Hello"), "I am Ada")
        print(f"then: {handle.join().output}")
        print(f"the same again: {handle.rerun().join().output}")
        now = handle.rerun(plan="current", agent=greeter("Good day"))
        print(f"as it is now: {now.join().output}")
