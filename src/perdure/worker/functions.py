"""Which functions a worker runs: an agent's tools by the names of their queues."""

from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.definitions import tool_functions
from perdure.agents.tools import ToolDef


def queue_name(agent: str, tool: str) -> str:
    """Where a tool's tasks are offered: tools of two agents with one name never mix."""
    return f"{agent}.{tool}"


def queue_functions(agent: Agent) -> dict[str, ToolDef[..., Any]]:
    """The agent's tools whose functions are in this process, by queue name."""
    return {queue_name(agent.name, name): tool for name, tool in tool_functions(agent).items()}
