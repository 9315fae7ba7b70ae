"""`max_calls` limits how often one execution may call a tool. A call too many is not made: the model is told that it is
used up, and goes on without it.

Prints:
    searched: 2
    third call: E0306
    output: That is all that I found.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [*(call("search", query=q) for q in ("ada", "babbage", "byron")), text("That is all that I found.")]
)
searched: list[str] = []


@tool(max_calls=2)
def search(query: str) -> str:
    """Search an archive that charges for each search."""
    searched.append(query)
    return f"one page on {query}"


archivist = Agent("archivist", MODEL, "Search for ada, babbage and byron.", [search])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(archivist, "What do you have?")
        print(f"searched: {len(searched)}")
        print(f"third call: {result.tool_calls[2]['error']['code']}")
        print(f"output: {result.output}")
