"""A router that is a function: of the prompt alone it picks once. No model is asked who goes on, and it says why nobody has to
guess.

Prints:
    technical: Restart it.
    billing: On the 1st.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

billing = Agent("billing", REAL or MockModel([text("billing: On the 1st.")]), "Bills.")
technical = Agent("technical", REAL or MockModel([text("technical: Restart it.")]), "Repairs.")


def by_words(prompt: str) -> Agent:
    """Who answers."""
    return billing if "charge" in prompt else technical


desk = Agent("desk", agents=[billing, technical], strategy=Strategy.ROUTER, router=by_words)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(desk, "My screen is black").output)
        print(runtime.run(desk, "When is the charge?").output)
