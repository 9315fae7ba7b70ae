"""What users write: agents, tools, output types; and what they get back. Pure: nothing here does I/O.

An `Agent` is made of checked options, of tools and of other agents; `agent_definition` turns it into the data that
crosses the wire and `functions_of` keeps the functions for the worker. Each part of the language has a module of its
own: `strategy`, `guardrails`, `termination`, `handoffs`, `callbacks`, `memory`, `budget`, `plan_steps`, `team_tools`,
`compose`. `bind_arguments` and `to_json_value` are the two ways across
the border between JSON and a tool: in, and out.
"""

from perdure.agents.agent import Agent
from perdure.agents.context import ToolContext
from perdure.agents.definitions import agent_definition, tool_definition, tool_functions
from perdure.agents.functions import Served, WorkerFunction, functions_of
from perdure.agents.models import ModelLike
from perdure.agents.output import output_definition, parse_output
from perdure.agents.results import (
    AgentEvent,
    AgentResult,
    AgentStatus,
    EventType,
    FinishReason,
    Status,
    TokenUsage,
    Wait,
)
from perdure.agents.schema import bind_arguments
from perdure.agents.tools import ToolDef, tool
from perdure.agents.values import check_text, to_json_value

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentResult",
    "AgentStatus",
    "EventType",
    "FinishReason",
    "ModelLike",
    "Served",
    "Status",
    "TokenUsage",
    "ToolContext",
    "ToolDef",
    "Wait",
    "WorkerFunction",
    "agent_definition",
    "bind_arguments",
    "check_text",
    "functions_of",
    "output_definition",
    "parse_output",
    "to_json_value",
    "tool",
    "tool_definition",
    "tool_functions",
]
