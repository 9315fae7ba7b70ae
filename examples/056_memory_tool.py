"""Semantic memory: texts that outlive a session and are found by their meaning. Here tools of an agent remember and recall, and
the call's idempotency key lets a repeated call remember once.

Prints:
    Ana is vegetarian and does not eat meat.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, SemanticMemory, SqliteVecStore, ToolContext, tool
from perdure.testing import MockModel, call, text

NOTES = ("Ana is vegetarian and does not eat meat.", "Her parcels go to the neighbour at number 12.")
MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        *(call("remember", note=note) for note in NOTES),
        call("recall", question="May I cook chicken?"),
        text("{result:recall}"),
    ]
)


@tool
def remember(note: str, context: ToolContext) -> str:
    """Remember something about the customer."""
    memory: SemanticMemory = context.dependencies["memory"]
    return memory.add(note, idempotency_key=context.idempotency_key)


@tool
def recall(question: str, context: ToolContext) -> str:
    """Find what is known about the customer."""
    memory: SemanticMemory = context.dependencies["memory"]
    return "\n".join(memory.search(question, 1))


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        SemanticMemory(SqliteVecStore(f"{folder}/memory.db"), agent="support", user="ana") as memory,
        AgentRuntime(embedded=True, data_dir=f"{folder}/journal") as runtime,
    ):
        agent = Agent("support", MODEL, "Help.", [remember, recall], dependencies={"memory": memory})
        print(runtime.run(agent, "May I cook chicken for Ana?").output)
