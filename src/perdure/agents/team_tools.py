"""Tools without a function: another agent, a person, the next message."""

from collections.abc import Mapping
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.checks import invalid_option
from perdure.agents.schema_shape import Schema
from perdure.agents.termination import some_text
from perdure.agents.tools import RetryPolicyName, ToolDef
from perdure.agents.values import to_json_value
from perdure.core.errors import DefinitionError, PerdureError


def agent_tool(
    agent: Agent,
    name: str | None = None,
    description: str | None = None,
    *,
    approval_required: bool = False,
    timeout_seconds: float | None = None,
    max_calls: int | None = None,
    retry_count: int = 0,
    retry_delay_seconds: float = 2,
    retry_policy: RetryPolicyName = "linear_backoff",
) -> ToolDef[..., Any]:
    """An agent as a tool: each call is an execution of its own, below the caller's.

    Args:
        agent: who is asked. Without a model of its own it uses the caller's.
        name: what the calling model calls it; the agent's name by default.
        description: what it is for; the agent's own description by default.
        approval_required: a person must agree to each call.
        timeout_seconds: limit of one call; None: no limit.
        max_calls: calls allowed in one execution; None: no limit.
        retry_count: how often a failed execution is tried again; its own steps have their retries already.
        retry_delay_seconds: the wait before the first retry.
        retry_policy: how the wait grows.

    Raises:
        DefinitionError: E0101 not an agent; E0104 the name; E0106 an option.
    """
    if not isinstance(agent, Agent):
        raise DefinitionError("E0101", f"{agent!r:.80} is not an Agent", where="agent tool")
    return ToolDef(
        agent.name if name is None else name,
        (agent.description if description is None else description) or f"Ask the agent {agent.name}.",
        {
            "type": "object",
            "properties": {
                "request": {"type": "string", "description": "What it should do, with all that it must know."}
            },
            "required": ["request"],
            "additionalProperties": False,
        },
        kind="agent",
        agent=agent,
        approval_required=approval_required,
        timeout_seconds=timeout_seconds,
        max_calls=max_calls,
        retry_count=retry_count,
        retry_delay_seconds=retry_delay_seconds,
        retry_policy=retry_policy,
    )


def human_tool(
    name: str,
    description: str,
    input_schema: Mapping[str, Any] | None = None,
    *,
    output_schema: Mapping[str, Any] | None = None,
    max_calls: int | None = None,
) -> ToolDef[..., Any]:
    """A tool that a person answers. There is no limit of time.

    Args:
        name: what the model calls it.
        description: what it is for.
        input_schema: JSON Schema of what the model gives; by default a `question`.
        output_schema: JSON Schema that the answer must fit; None: any JSON.
        max_calls: calls allowed in one execution; None: no limit.

    Raises:
        DefinitionError: E0104 the name; E0106 a schema, or an option.
    """
    question: Schema = {
        "type": "object",
        "properties": {"question": {"type": "string", "description": "What the person is asked."}},
        "required": ["question"],
        "additionalProperties": False,
    }
    where = f"tool {name!r}"
    return ToolDef(
        name,
        some_text("description", description, where),
        question if input_schema is None else _schema("input_schema", input_schema, where),
        kind="human",
        output_schema=None if output_schema is None else _schema("output_schema", output_schema, where),
        max_calls=max_calls,
        retry_count=0,
    )


def wait_for_message_tool(
    name: str,
    description: str,
    batch_size: int = 1,
    blocking: bool = True,  # noqa: FBT001, FBT002 - a known signature
) -> ToolDef[..., Any]:
    """A tool that gives the next messages that were sent to the execution.

    Args:
        name: what the model calls it.
        description: what it is for.
        batch_size: how many messages are taken at once, at most.
        blocking: whether to wait until there is one; otherwise an empty list is an answer.

    Raises:
        DefinitionError: E0104 the name; E0106 an option.
    """
    where = f"tool {name!r}"
    if not isinstance(blocking, bool):
        raise invalid_option("blocking", blocking, "True or False", where)
    return ToolDef(
        name,
        some_text("description", description, where),
        {"type": "object", "properties": {}, "additionalProperties": False},
        kind="message",
        batch_size=batch_size,
        blocking=blocking,
        retry_count=0,
    )


def _schema(name: str, given: Any, where: str) -> Schema:
    if not isinstance(given, Mapping):
        raise invalid_option(name, given, "a JSON Schema", where)
    try:
        plain: Schema = to_json_value(dict(given), where, root=name)
    except PerdureError as error:
        raise DefinitionError("E0106", error.what, where=error.where, why=error.why, fix=error.fix) from error
    return plain
