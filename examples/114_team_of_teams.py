"""Teams of teams: a router sends the request to a department; a department is a team with a strategy of its own; in one of
them an agent has a team as a tool. Each level is an execution, and all of it is one durable tree.

Prints:
    [law]: Allowed from 18.

    [tax]: Wine is taxed with 13 percent.
    May I bring it?
    all agents: desk, law, legal, shop, sommelier, tax, vineyard, waiter
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Strategy, agent_tool
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")

law = Agent("law", REAL or MockModel([text("Allowed from 18.")]), "You know the law.")
tax = Agent("tax", REAL or MockModel([text("Wine is taxed with 13 percent.")]), "You know the taxes.")
legal = Agent("legal", agents=[law, tax], strategy=Strategy.PARALLEL)

vineyard = Agent("vineyard", REAL or MockModel([text("The 2019 is ready.")]), "You know the wines.")
ASK = [call("vineyard", request="Which one?"), text("{result:vineyard}")]
sommelier = Agent("sommelier", REAL or MockModel(ASK), "Ask the vineyard.", [agent_tool(vineyard)])
waiter = Agent("waiter", REAL or MockModel([text("May I bring it?")]), "Offer it.")
shop = Agent("shop", agents=[sommelier, waiter], strategy=Strategy.SEQUENTIAL)


def department(prompt: str) -> str:
    """Questions of what is allowed go to the lawyers."""
    return "legal" if "may" in prompt.lower() else "shop"


desk = Agent("desk", agents=[legal, shop], strategy=Strategy.ROUTER, router=department)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(desk, "May I sell wine?").output)
        print(runtime.run(desk, "A good wine, please").output)
        print(f"all agents: {', '.join(sorted(agent.name for agent in desk.tree()))}")
