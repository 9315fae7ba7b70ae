"""A team in a test: a script for each agent by name, and `validate_strategy`, which checks that the run kept to what the
strategy promises.

Prints:
    Edited.
    writer, editor
"""

from perdure import Agent
from perdure.testing import expect, mock_run, text, validate_strategy

MODEL = "openai/gpt-5-mini"
writer = Agent("writer", MODEL, "Write.")
editor = Agent("editor", MODEL, "Edit.")
press = writer >> editor

if __name__ == "__main__":
    result = mock_run(press, "A story", script={"writer": [text("Draft.")], "editor": [text("Edited.")]})
    print(result.output)
    expect(result).completed().agent_ran("writer", times=1).agent_ran("editor", times=1)
    validate_strategy(press, result)
    print(", ".join(agent.name for agent in press.agents))
