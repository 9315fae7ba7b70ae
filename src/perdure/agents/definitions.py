"""From an agent to its definition: plain data for the server. What is inherited is resolved here.

A sub-agent without a model has that of its team, with the address and the settings that belong to the model. The
functions stay in this process: see `perdure.agents.functions`.
"""

from dataclasses import dataclass
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.callbacks import hooks_of
from perdure.agents.handoffs import gate_data
from perdure.agents.strategy import Strategy
from perdure.agents.template import PromptTemplate
from perdure.agents.tools import BACKOFFS, ToolDef
from perdure.core.definition import MEMORY_HOOKS, AgentDefinition, PrefilledCall, RetryPolicy, ToolDefinition
from perdure.core.errors import DefinitionError

_LONGEST_WAIT_MS = 60_000


@dataclass(frozen=True)
class _Model:
    """A model as sub-agents inherit it."""

    name: str
    base_url: str | None
    settings: dict[str, Any]


def agent_definition(agent: Agent) -> AgentDefinition:
    """The agent as data, with all agents below it. Instructions that are a function without parameters are asked for now.

    Raises:
        DefinitionError: E0101 an instructions function failed, or did not return a text; E0107 an agent has no
            model and none to inherit.
    """
    if agent.external:
        raise _without_model(agent)
    return _definition(agent, None)


def tool_definition(tool: ToolDef[..., Any]) -> ToolDefinition:
    """The tool as data.

    Raises:
        DefinitionError: as `agent_definition`, of a tool that is an agent.
    """
    return _tool(tool, None)


def tool_functions(agent: Agent) -> dict[str, ToolDef[..., Any]]:
    """The agent's tools by name, as far as their functions are in this process."""
    return {tool.name: tool for tool in agent.tools if tool.func is not None}


def _definition(agent: Agent, inherited: _Model | None) -> AgentDefinition:
    if agent.external:
        return AgentDefinition(agent.name, external=True, description=agent.description)
    passed_on = _own(agent) or inherited
    model = passed_on or _of_members(agent)
    if _needs_model(agent):
        if model is None:
            raise _without_model(agent)
    elif not agent.model and agent.strategy not in {Strategy.PLAN_EXECUTE, Strategy.SWARM}:
        model = None  # members inherit it, but the team itself has no use for it
    return AgentDefinition(
        name=agent.name,
        model=model.name if model else "",
        base_url=agent.base_url or (model.base_url if model else None),
        model_settings=(model.settings if model else {}) | agent.model_settings,
        instructions=_instructions(agent),
        instructions_function=agent.instructions_callee is not None,
        tools=tuple(_tool(t, passed_on) for t in agent.tools),
        agents=tuple(_definition(a, passed_on) for a in agent.agents),
        router=_definition(agent.router, passed_on) if isinstance(agent.router, Agent) else None,
        planner=_definition(agent.planner, passed_on) if agent.planner else None,
        fallback=_definition(agent.fallback, passed_on) if agent.fallback else None,
        synthesize=agent.synthesize,
        **_plain_fields(agent),
        **_team_fields(agent),
        **_check_fields(agent),
    )


def _plain_fields(agent: Agent) -> dict[str, Any]:
    return {
        "output": agent.output,
        "max_turns": agent.max_turns,
        "max_tokens": agent.max_tokens,
        "temperature": agent.temperature,
        "reasoning_effort": agent.reasoning_effort,
        "thinking_budget_tokens": agent.thinking_budget_tokens,
        "timeout_ms": _milliseconds(agent.timeout_seconds),
        "metadata": agent.metadata,
        "description": agent.description,
        "introduction": agent.introduction,
        "include_contents": agent.include_contents,
        "context_window": agent.context_window_budget,
        "masked_fields": agent.masked_fields,
    }


def _team_fields(agent: Agent) -> dict[str, Any]:
    return {
        "strategy": agent.strategy.value,
        "router_function": agent.router is not None and not isinstance(agent.router, Agent),
        "on_child_failure": agent.on_child_failure,
        "transitions": agent.allowed_transitions,
        "handoffs": tuple(h.condition_data for h in agent.handoffs),
        "gate": gate_data(agent.gate),
        "fallback_max_turns": agent.fallback_max_turns,
        "planner_context": agent.planner_context,
        "plan": agent.plan,
    }


def _check_fields(agent: Agent) -> dict[str, Any]:
    return {
        "guardrails": tuple(g.definition() for g in agent.guardrails),
        "memory": agent.memory.definition() if agent.memory else None,
        "termination": agent.termination.condition if agent.termination else None,
        "stop_when": agent.stop_when is not None,
        "required_tools": agent.required_tools,
        "hooks": (*hooks_of(agent.callbacks), *(() if agent.semantic_memory is None else MEMORY_HOOKS)),
        "prefill": tuple(PrefilledCall(c.tool_name, c.arguments) for c in agent.prefill_tools),
        "budget": agent.budget.definition() if agent.budget else None,
    }


def _tool(tool: ToolDef[..., Any], inherited: _Model | None) -> ToolDefinition:
    delay_ms = round(tool.retry_delay_seconds * 1000)
    return ToolDefinition(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        kind=tool.kind,
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
        agent=_definition(tool.agent, inherited) if isinstance(tool.agent, Agent) else None,
        guardrails=tuple(g.definition() for g in tool.guardrails),
        batch_size=tool.batch_size,
        blocking=tool.blocking,
    )


def _own(agent: Agent) -> _Model | None:
    return _Model(agent.model, agent.base_url, agent.model_choice.settings) if agent.model else None


def _of_members(agent: Agent) -> _Model | None:
    """The model of a team that has none and inherits none: a member's, for the strategies that speak for themselves."""
    if agent.strategy is Strategy.SWARM:
        return next((own for a in agent.agents if (own := _own(a))), None)
    if agent.strategy is Strategy.PLAN_EXECUTE and agent.planner:
        return _own(agent.planner)
    return None


def _needs_model(agent: Agent) -> bool:
    """Whether the agent itself asks a model: alone, to hand over, to take part in a swarm, or to sum up when it is told to."""
    if agent.strategy is Strategy.PLAN_EXECUTE:
        return False
    if not agent.agents or agent.strategy is Strategy.HANDOFF:
        return True
    takes_part = agent.strategy is Strategy.SWARM and bool(agent.instructions or agent.tools)
    return takes_part or agent.synthesize is True


def _without_model(agent: Agent) -> DefinitionError:
    return DefinitionError(
        "E0107",
        f"The agent {agent.name!r} has no model",
        where=agent.where,
        fix='Give one: Agent(name, model="provider/model").',
    )


def _milliseconds(seconds: float) -> int:
    """At least 1 for anything but zero: zero means no limit."""
    return max(1, round(seconds * 1000)) if seconds else 0


def _instructions(agent: Agent) -> str:
    given = agent.instructions
    if isinstance(given, str):
        return given
    if isinstance(given, PromptTemplate):
        return given.render()
    if agent.instructions_callee is not None:
        return ""
    try:
        text: Any = given()
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
