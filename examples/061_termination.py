"""Conditions that end an agent's loop, put together with `&` and `|`. They are decided in the server; no worker is asked. Here:
when it says FOUND, or after three messages of which the last ones cost enough tokens.

Prints:
    finder: termination, after 2 model calls
    loser: termination, after 3 model calls
"""

import os
import tempfile

from perdure import (
    Agent,
    AgentRuntime,
    MaxMessageTermination,
    StopMessageTermination,
    TerminationCondition,
    TextMentionTermination,
    TokenUsageTermination,
    tool,
)
from perdure.testing import MockModel, call

REAL = os.environ.get("PERDURE_MODEL")
SAID = ("Nothing here.", "FOUND it, but I look on.", "Nothing more.", "Nothing at all.")


def looks(words: tuple[str, ...]) -> MockModel:
    """A model that says something and looks on, each time."""
    return MockModel([{**call("look"), "text": said} for said in words], repeat_last=True)


@tool
def look() -> str:
    """Look somewhere else."""
    return "dust"


ends: TerminationCondition = (
    TextMentionTermination("found")
    | StopMessageTermination("TERMINATE")
    | (MaxMessageTermination(3) & TokenUsageTermination(max_total_tokens=10))
)
finder = Agent("finder", REAL or looks(SAID), "Look on, say what you find.", [look], termination=ends)
loser = Agent("loser", REAL or looks(SAID[:1]), "Look on, say what you find.", [look], termination=ends)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        for agent in (finder, loser):
            result = runtime.run(agent, "Where is my key?")
            asked = sum(message["role"] == "assistant" for message in result.messages)
            print(f"{agent.name}: {result.finish_reason}, after {asked} model calls")
