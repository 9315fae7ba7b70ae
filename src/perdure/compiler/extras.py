"""Checks of what stands beside an agent's loop: calls made before it, fields that are masked, its semantic memory."""

from perdure.agents.checks import invalid_option
from perdure.core.definition import HOOKS, MEMORY_HOOKS, AgentDefinition, HookName, PrefilledCall
from perdure.core.validation import problems

MOST_PREFILLED = 64
MOST_MASKED = 256
_LONGEST_FIELD = 200
_NO_ARGUMENTS = {"type": "object", "properties": {}}


def checked_prefill(definition: AgentDefinition, where: str) -> tuple[PrefilledCall, ...]:
    """The calls that are made before the first turn.

    Raises:
        DefinitionError: E0106 there are too many, one names no tool of the agent, its arguments do not fit, or the
            agent is a team that calls no tools.
    """
    calls, tools = definition.prefill, {tool.name: tool for tool in definition.tools}
    if len(calls) > MOST_PREFILLED:
        raise invalid_option("prefill", len(calls), f"{MOST_PREFILLED} calls at most", where)
    if calls and _asks_no_model(definition):
        raise invalid_option("prefill", len(calls), "none for a team: give them to its agents", where)
    for call in calls:
        tool = tools.get(call.tool)
        if tool is None:
            raise invalid_option(
                "prefill", call.tool, f"names of its tools: {', '.join(tools) or 'none'}", where
            )
        wrong = problems(tool.input_schema or _NO_ARGUMENTS, call.arguments)
        if wrong:
            raise invalid_option("prefill", call.tool, f"arguments that fit: {'; '.join(wrong)}", where)
    return calls


def checked_masks(definition: AgentDefinition, where: str) -> tuple[str, ...]:
    """The names of the masked fields, each once.

    Raises:
        DefinitionError: E0106 there are too many, or one is empty or very long.
    """
    names = tuple(dict.fromkeys(definition.masked_fields))
    if len(names) > MOST_MASKED:
        raise invalid_option("masked_fields", len(names), f"{MOST_MASKED} names at most", where)
    for name in names:
        if not 1 <= len(name) <= _LONGEST_FIELD:
            raise invalid_option("masked_fields", name, f"names of 1 to {_LONGEST_FIELD} characters", where)
    return names


def checked_hooks(definition: AgentDefinition, where: str) -> tuple[HookName, ...]:
    """The functions that stand around the agent's steps, in the order of the steps.

    Raises:
        DefinitionError: E0106 a memory is recalled for a team that asks no model of its own.
    """
    if "recall" in definition.hooks and _asks_no_model(definition):
        raise invalid_option(
            "semantic_memory", definition.name, "none for a team: give it to its agents", where
        )
    return tuple(hook for hook in (*HOOKS, *MEMORY_HOOKS) if hook in definition.hooks)


def _asks_no_model(definition: AgentDefinition) -> bool:
    """Whether the agent is a team that is driven by a machine, and not by its own model's calls."""
    return (bool(definition.agents) and definition.strategy != "handoff") or definition.planner is not None
