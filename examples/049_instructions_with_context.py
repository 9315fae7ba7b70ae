"""Instructions from a function that takes a `ToolContext` and the input: a worker calls it at the beginning of each
execution, and what it returns is recorded. It may look things up, here the customer's language.

Prints:
    asked for: ana
    completed
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, ToolContext

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
asked: list[str | None] = []


def instructions(context: ToolContext, _input: Any) -> str:
    """What the agent is told in this session."""
    asked.append(context.session_id)
    language = context.dependencies["languages"][context.session_id]
    return f"Answer in {language}."


support = Agent("support", MODEL, instructions, dependencies={"languages": {"ana": "Portuguese"}})

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(support, "Where is my order?", session_id="ana")
        print(f"asked for: {', '.join(map(str, asked))}")
        print(result.status)
