"""An agent as a tool of another one: each call is an execution of its own, below the caller's, and its answer is the result of
the call. Several calls in one turn run at the same time.

Prints:
    Lisbon is sunny, Oslo is rainy.
    executions below: 2
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, agent_tool
from perdure.testing import MockModel, call, calls, text

REAL = os.environ.get("PERDURE_MODEL")
ASK = [
    calls(call("lisbon", request="The weather?"), call("oslo", request="The weather?")),
    text("Lisbon is {result:lisbon}, Oslo is {result:oslo}."),
]

lisbon = Agent("lisbon", REAL or MockModel([text("sunny")]), "Say sunny.")
oslo = Agent("oslo", REAL or MockModel([text("rainy")]), "Say rainy.")
guide = Agent("guide", REAL or MockModel(ASK), "Compare the weather.", [agent_tool(lisbon), agent_tool(oslo)])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(guide, "Lisbon or Oslo?")
        print(handle.join().output)
        print(f"executions below: {len({e.child_id for e in handle.events() if e.child_id})}")
