"""`@agent` makes an agent of a function: its name, its instructions (what it returns, or else its docstring), and the options
as arguments of the decorator.

Prints:
    poet: You write haikus.
    critic: You judge haikus by 17 syllables.
    Agent
"""

import os
import tempfile

from perdure import AgentRuntime, agent

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
SYLLABLES = 17


@agent(model=MODEL)
def poet() -> None:
    """You write haikus."""


@agent(model=MODEL, max_turns=3)
def critic() -> str:
    """Judge haikus."""
    return f"You judge haikus by {SYLLABLES} syllables."


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for made in (poet, critic):
            print(f"{made.name}: {runtime.plan(made)['plan']['instructions']}")
        print(type(poet).__name__)
