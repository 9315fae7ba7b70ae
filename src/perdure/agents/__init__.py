"""What users write: agents, tools, output types; and what they get back. Pure: nothing here does I/O.

An `Agent` is made of checked options and of tools; `agent_definition` turns it into the data that crosses the wire
and `tool_functions` keeps the functions for the worker. `bind_arguments` and `to_json_value` are the two ways across
the border between JSON and a tool: in, and out.
"""

from perdure.agents.agent import Agent
from perdure.agents.context import ToolContext
from perdure.agents.definitions import agent_definition, tool_definition, tool_functions
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
    "Status",
    "TokenUsage",
    "ToolContext",
    "ToolDef",
    "Wait",
    "agent_definition",
    "bind_arguments",
    "check_text",
    "output_definition",
    "parse_output",
    "to_json_value",
    "tool",
    "tool_definition",
    "tool_functions",
]
