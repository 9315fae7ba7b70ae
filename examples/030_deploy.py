"""`deploy` makes an agent known to the server under its name; then it can be run by the name alone, from any process. A
deployment counts its versions: the same plan again is the same version, a change is a new one.

Prints:
    version 1, again 1, changed 2
    Good day, Ada
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Deployment
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")


def greeter(word: str) -> Agent:
    """The agent with this greeting."""
    return Agent("greeter", REAL or MockModel([text(f"{word}, Ada")]), f"Greet with {word!r}.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        first: Deployment = runtime.deploy(greeter("Hello"))[0]
        again = runtime.deploy(greeter("Hello"))[0]
        changed = runtime.deploy(greeter("Good day"))[0]
        print(f"version {first.version}, again {again.version}, changed {changed.version}")
        print(runtime.run("greeter", "I am Ada").output)
