"""Tools without a function, and calls that are made before the model is asked."""

from typing import Any

import pytest

from perdure.agents.agent import Agent
from perdure.agents.context import ToolContext
from perdure.agents.definitions import tool_definition, tool_functions
from perdure.agents.team_tools import agent_tool, human_tool, wait_for_message_tool
from perdure.agents.tools import PrefillToolCall, tool
from perdure.core.errors import PerdureError


@tool
def search(text: str, context: ToolContext, limit: int = 3) -> str:
    """Search."""
    return text


def refused(code: str, function: Any, *arguments: Any, **options: Any) -> PerdureError:
    """The error of this call."""
    with pytest.raises(PerdureError) as caught:
        function(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def test_an_agent_is_a_tool():
    """Its name and description are the agent's unless others are given; it takes a request; it is not a function."""
    helper = Agent("helper", "mock/echo", "Help.", description="Helps.")
    made = tool_definition(agent_tool(helper))
    assert (made.name, made.description, made.kind) == ("helper", "Helps.", "agent")
    assert made.input_schema["required"] == ["request"]
    assert made.agent is not None
    assert made.agent.name == "helper"
    other = agent_tool(helper, "ask", "Ask it.", approval_required=True, retry_count=1, max_calls=2)
    made = tool_definition(other)
    assert (made.name, made.description, made.approval_required) == ("ask", "Ask it.", True)
    assert (made.retry.max_attempts, made.max_calls) == (2, 2)
    assert not other.external
    assert tool_functions(Agent("a", tools=[other, search])) == {"search": search}
    assert agent_tool(Agent("far")).description == "Ask the agent far."
    refused("E0101", agent_tool, "helper")


def test_a_person_is_a_tool():
    """It takes a question, or what is said; its answer may have a schema."""
    made = tool_definition(human_tool("ask", "Ask."))
    assert (made.kind, made.input_schema["required"], made.output_schema) == ("human", ["question"], None)
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    made = tool_definition(human_tool("ask", "Ask.", schema, output_schema={"type": "boolean"}))
    assert (made.input_schema, made.output_schema) == (schema, {"type": "boolean"})
    refused("E0106", human_tool, "ask", "")
    refused("E0106", human_tool, "ask", "Ask.", "x")
    refused("E0106", human_tool, "ask", "Ask.", {"x": object()})
    refused("E0104", human_tool, "a b", "Ask.")


def test_the_next_message_is_a_tool():
    """It takes nothing and says how many messages it takes, and whether it waits."""
    made = tool_definition(wait_for_message_tool("listen", "Listen.", 5, blocking=False))
    assert (made.kind, made.batch_size, made.blocking) == ("message", 5, False)
    assert made.input_schema["properties"] == {}
    refused("E0106", wait_for_message_tool, "listen", "Listen.", 0)
    refused("E0106", wait_for_message_tool, "listen", "Listen.", blocking=1)


def test_a_call_is_made_beforehand():
    """`tool.call` checks the arguments and keeps them as JSON, defaults left out."""
    assert search.call(text="x") == PrefillToolCall("search", {"text": "x"})
    assert search.call(text="x", limit=1).arguments == {"text": "x", "limit": 1}
    refused("E0101", search.call)
    refused("E0101", search.call, text="x", more=1)
    refused("E0101", search.call, text=object())

    @tool(external=True)
    def far(text: str) -> str:
        """Far."""
        return text

    assert far.call(text="x").arguments == {"text": "x"}
    refused("E0101", far.call)
    refused("E0101", far.call, text="x", more=1)
