"""From an agent to its definition: plain data for the server, and the functions that stay here for the worker."""

from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.tools import BACKOFFS, ToolDef
from perdure.core.definition import AgentDefinition, RetryPolicy, ToolDefinition
from perdure.core.errors import DefinitionError

_LONGEST_WAIT_MS = 60_000


def agent_definition(agent: Agent) -> AgentDefinition:
    """The agent as data. Instructions that are a function are asked for now.

    Raises:
        DefinitionError: E0101 the instructions function failed, or did not return a text; E0107 the agent has no
            model.
    """
    if not agent.model:
        raise DefinitionError(
            "E0107",
            f"The agent {agent.name!r} has no model",
            where=agent.where,
            fix='Give one: Agent(name, model="provider/model").',
        )
    return AgentDefinition(
        name=agent.name,
        model=agent.model,
        base_url=agent.base_url,
        instructions=_instructions(agent),
        tools=tuple(tool_definition(t) for t in agent.tools),
        output=agent.output,
        max_turns=agent.max_turns,
        max_tokens=agent.max_tokens,
        temperature=agent.temperature,
        reasoning_effort=agent.reasoning_effort,
        thinking_budget_tokens=agent.thinking_budget_tokens,
        model_settings=agent.model_settings,
        timeout_ms=_milliseconds(agent.timeout_seconds),
        metadata=agent.metadata,
    )


def tool_definition(tool: ToolDef[..., Any]) -> ToolDefinition:
    """The tool as data."""
    delay_ms = round(tool.retry_delay_seconds * 1000)
    return ToolDefinition(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        approval_required=tool.approval_required,
        timeout_ms=None if tool.timeout_seconds is None else _milliseconds(tool.timeout_seconds),
        retry=RetryPolicy(
            max_attempts=tool.retry_count + 1,
            delay_ms=delay_ms,
            backoff=BACKOFFS[tool.retry_policy],
            max_delay_ms=max(_LONGEST_WAIT_MS, delay_ms),
        ),
        max_calls=tool.max_calls,
        on_unknown=tool.on_unknown,
    )


def tool_functions(agent: Agent) -> dict[str, ToolDef[..., Any]]:
    """The agent's tools by name, as far as their functions are in this process."""
    return {tool.name: tool for tool in agent.tools if not tool.external}


def _milliseconds(seconds: float) -> int:
    """At least 1 for anything but zero: zero means no limit."""
    return max(1, round(seconds * 1000)) if seconds else 0


def _instructions(agent: Agent) -> str:
    if isinstance(agent.instructions, str):
        return agent.instructions
    try:
        text: Any = agent.instructions()
    except Exception as error:
        raise DefinitionError(
            "E0101",
            f"The instructions function of the agent {agent.name!r} failed",
            where=agent.where,
            why=f"{type(error).__name__}: {error}",
        ) from error
    if not isinstance(text, str):
        raise DefinitionError(
            "E0101",
            f"The instructions function of the agent {agent.name!r} returned a {type(text).__name__}",
            where=agent.where,
            fix="Return a text, from a plain function and not a coroutine function.",
        )
    return text
