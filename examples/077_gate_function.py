"""A gate that is a function of yours: it runs on a worker, and says whether the pipeline goes on.

Prints:
    too short: gate
    long enough: stop
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")


def long_enough(draft: str) -> bool:
    """Whether a draft is worth printing."""
    return len(draft.split()) >= 3


def press(draft: str) -> Agent:
    """Write, then print."""
    writer = Agent("writer", REAL or MockModel([text(draft)]), "Write a draft.", gate=long_enough)
    return writer >> Agent("printer", REAL or MockModel([text("Printed.")]), "Say that it is printed.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(f"too short: {runtime.run(press('Rain.'), 'A poem').finish_reason}")
        print(f"long enough: {runtime.run(press('Rain on the roof.'), 'A poem').finish_reason}")
