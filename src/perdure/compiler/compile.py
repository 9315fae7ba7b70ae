"""The compiler: checks a definition and lowers it to a plan.

Every check of the SDK is made again, because a definition may come from any client. The limits here are wide enough
for every honest agent; they keep a hostile one from filling the disk or the memory.
"""

import msgspec

from perdure.agents.agent import EFFORTS
from perdure.agents.checks import (
    MAX_COUNT,
    MAX_RETRIES,
    MAX_SECONDS,
    MAX_TEMPERATURE,
    MAX_TURNS,
    check_choice,
    check_name,
    check_number,
    invalid_option,
)
from perdure.compiler.budgets import checked_budget
from perdure.compiler.extras import checked_hooks, checked_masks, checked_prefill
from perdure.compiler.guardrails import checked_guards
from perdure.compiler.memory import checked_memory
from perdure.compiler.plan_execute import check_plan, lower_plan_execute
from perdure.compiler.schemas import MAX_SCHEMA_BYTES, check_object_schema, check_schema
from perdure.compiler.teams import NO_PLACE, Members, Place, lower_team, synthesizes, transfer_tools
from perdure.compiler.texts import check_texts
from perdure.core.definition import (
    AgentDefinition,
    OutputDefinition,
    RetryPolicy,
    ToolDefinition,
)
from perdure.core.errors import DefinitionError
from perdure.core.ids import canonical_json, content_hash
from perdure.core.model import ModelRef, ModelSettings, ToolSpec
from perdure.core.model_name import parse_model
from perdure.core.plan import Bundle, Plan, TeamPlan, ToolPlan

MAX_INSTRUCTIONS_BYTES = 1024 * 1024
MAX_DESCRIPTION_BYTES = 64 * 1024
MAX_JSON_BYTES = 1024 * 1024
MAX_TOOLS = 256
MAX_MS = MAX_SECONDS * 1000
MAX_ATTEMPTS = MAX_RETRIES + 1
NO_ARGUMENTS = {"type": "object", "properties": {}}
# What a definition can say and this server cannot do yet: refused, because a guardrail that is dropped in silence would
# be worse than an error.
NOT_YET = ()
REQUEST = {
    "type": "object",
    "properties": {"request": {"type": "string", "description": "What the agent is to do."}},
    "required": ["request"],
}
ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
MIN_WINDOW = 256  # tokens
NO_MODEL = ModelRef("", "")
MAX_NESTING = 50


def compile_definition(definition: AgentDefinition) -> Bundle:
    """The plan of a definition, with those of all agents below it.

    Raises:
        DefinitionError: E0101 a schema or a size; E0103 two tools or agents of one name; E0104 a name; E0106 a number
            out of its range, or an option that the strategy has no use for; E0107 the model.
        ApiError: E0611 some text has lone surrogates.
    """
    check_texts(msgspec.to_builtins(definition), f"agent {definition.name!r:.100}")
    bundle = _compile(definition, 0)
    _check_one_of_each_name(bundle)
    return bundle


def _compile(definition: AgentDefinition, depth: int, place: Place = NO_PLACE) -> Bundle:
    check_name(definition.name, "agent", "definition, at $.name")
    where = f"agent {definition.name!r}"
    if depth > MAX_NESTING:
        raise invalid_option("agents", depth, f"agents {MAX_NESTING} deep at most", where)
    _check_options(definition, where)
    refuse_unsupported(definition, NOT_YET, where)
    _check_size("The instructions", definition.instructions.encode(), MAX_INSTRUCTIONS_BYTES, where)
    for name in ("metadata", "model_settings"):
        _check_size(f"The {name}", canonical_json(getattr(definition, name)), MAX_JSON_BYTES, where)
    members = Members(lambda agent, place: _compile(agent, depth + 1, place))
    if definition.strategy == "plan_execute":
        team: TeamPlan | None = lower_plan_execute(definition, members, where)
    else:
        team = lower_team(definition, members, where)
    tools = _tool_table(definition.tools, where, members)
    if team is not None and team.strategy == "plan_execute":
        check_plan(definition, tools, where)
    else:
        for tool in (*transfer_tools(definition, members), *place.tools):
            _add_tool(tools, tool, where)
        if team is not None and place.tools:
            tools = {}  # a team within a swarm asks no model that could hand over
    watches = place.watches
    plan = Plan(
        agent=definition.name,
        definition_hash=content_hash(definition),
        model=_model(definition, team),
        settings=ModelSettings(
            temperature=definition.temperature,
            max_tokens=definition.max_tokens,
            reasoning_effort=definition.reasoning_effort,
            thinking_budget_tokens=definition.thinking_budget_tokens,
            timeout_ms=definition.model_timeout_ms,
            extra=definition.model_settings,
        ),
        instructions=definition.instructions,
        tools=tools,
        output=_checked_output(definition.output, where),
        max_turns=definition.max_turns,
        timeout_ms=definition.timeout_ms,
        output_retries=definition.output_retries,
        model_retry=RetryPolicy(max_attempts=definition.model_max_attempts),
        metadata=definition.metadata,
        team=team,
        termination=definition.termination,
        stop_when=definition.stop_when,
        required_tools=_required(definition, tools, where),
        include_contents=definition.include_contents,
        synthesize=synthesizes(definition),
        watches=watches,
        guards=checked_guards(definition.guardrails, where),
        hooks=checked_hooks(definition, where),
        instructions_function=definition.instructions_function,
        budget=checked_budget(definition.budget, where),
        memory=checked_memory(definition.memory, where),
        context_window=_window(definition, where),
        prefill=checked_prefill(definition, where),
        masked_fields=checked_masks(definition, where),
    )
    return Bundle(plan, members.plans)


def _model(definition: AgentDefinition, team: TeamPlan | None) -> ModelRef:
    """The agent's model; none for a team that never asks one."""
    if team is not None and not definition.model:
        return NO_MODEL
    return parse_model(definition.model, definition.base_url)


def _window(definition: AgentDefinition, where: str) -> int | None:
    if definition.context_window is not None:
        check_number("context_window", definition.context_window, MIN_WINDOW, MAX_COUNT, where=where)
    return definition.context_window


def _required(definition: AgentDefinition, tools: dict[str, ToolPlan], where: str) -> tuple[str, ...]:
    for name in definition.required_tools:
        if name not in tools:
            raise invalid_option("required_tools", name, f"names of its tools: {', '.join(tools)}", where)
    return definition.required_tools


def _check_one_of_each_name(bundle: Bundle) -> None:
    """Workers find functions by the agent's name, so that one name cannot mean two agents in one team."""
    known: dict[str, str] = {}
    for plan in bundle.all_plans:
        if plan.team is not None and plan.team.strategy == "swarm":
            continue  # it takes part in itself, under its own name
        if known.setdefault(plan.agent, plan.definition_hash) != plan.definition_hash:
            raise DefinitionError(
                "E0103",
                f"Two different agents have the name {plan.agent!r}",
                where=f"agent {bundle.plan.agent!r} and all below it",
                fix="Give one of them another name.",
            )


def refuse_unsupported(
    definition: AgentDefinition | ToolDefinition, names: tuple[str, ...], where: str
) -> None:
    """Refuse a definition that says one of *names*.

    Raises:
        DefinitionError: E0106.
    """
    for name in names:
        if getattr(definition, name):
            raise DefinitionError(
                "E0106",
                f"This server cannot do `{name}` yet",
                where=where,
                fix="Leave it out, or use a newer server.",
            )


def plan_hash(plan: Plan) -> str:
    """SHA-256 (hex) of the plan's canonical JSON: what executions are pinned to."""
    return content_hash(plan)


def _check_options(definition: AgentDefinition, where: str) -> None:
    check_number("max_turns", definition.max_turns, 1, MAX_TURNS, where=where)
    check_number("timeout_ms", definition.timeout_ms, 0, MAX_MS, where=where)
    check_number("model_timeout_ms", definition.model_timeout_ms, 1, MAX_MS, where=where)
    check_number("model_max_attempts", definition.model_max_attempts, 1, MAX_ATTEMPTS, where=where)
    check_number("output_retries", definition.output_retries, 0, MAX_RETRIES, where=where)
    if definition.max_tokens is not None:
        check_number("max_tokens", definition.max_tokens, 1, MAX_COUNT, where=where)
    if definition.thinking_budget_tokens is not None:
        check_number("thinking_budget_tokens", definition.thinking_budget_tokens, 0, MAX_COUNT, where=where)
    if definition.temperature is not None:
        check_number("temperature", definition.temperature, 0, MAX_TEMPERATURE, whole=False, where=where)
    if definition.reasoning_effort is not None:
        check_choice("reasoning_effort", definition.reasoning_effort, EFFORTS, where)


def _check_size(what: str, data: bytes, limit: int, where: str) -> None:
    if len(data) > limit:
        raise DefinitionError(
            "E0101", f"{what} have {len(data):,} bytes; the limit is {limit:,}", where=where
        )


def _tool_table(tools: tuple[ToolDefinition, ...], where: str, members: Members) -> dict[str, ToolPlan]:
    if len(tools) > MAX_TOOLS:
        raise invalid_option("tools", len(tools), f"{MAX_TOOLS} tools at most", where)
    table: dict[str, ToolPlan] = {}
    for tool in tools:
        check_name(tool.name, "tool", where)
        _add_tool(table, _tool_plan(tool, f"{where}, tool {tool.name!r}", members), where)
    return table


def _add_tool(table: dict[str, ToolPlan], tool: ToolPlan, where: str) -> None:
    name = tool.spec.name
    if name in table:
        raise DefinitionError(
            "E0103",
            f"Two tools have the name {name!r}",
            where=where,
            fix="Give one of them another name.",
        )
    table[name] = tool


def _tool_plan(tool: ToolDefinition, where: str, members: Members) -> ToolPlan:
    _check_size("The texts of its description", tool.description.encode(), MAX_DESCRIPTION_BYTES, where)
    if tool.timeout_ms is not None:
        check_number("timeout_ms", tool.timeout_ms, 1, MAX_MS, where=where)
    if tool.max_calls is not None:
        check_number("max_calls", tool.max_calls, 1, MAX_COUNT, where=where)
    _check_retry(tool.retry, where)
    check_number("batch_size", tool.batch_size, 1, MAX_COUNT, where=where)
    if (tool.agent is not None) != (tool.kind == "agent"):
        raise DefinitionError("E0106", "A tool of the kind agent has an agent, and no other has", where=where)
    schema = tool.input_schema or (NO_ARGUMENTS if tool.agent is None else REQUEST)
    for name, given in (("input_schema", schema), ("output_schema", tool.output_schema)):
        _check_size(f"The words of {name}", canonical_json(given), MAX_SCHEMA_BYTES, where)
    check_object_schema(schema, f"{where}, input_schema")
    if tool.output_schema is not None:
        check_schema(tool.output_schema, f"{where}, output_schema")
    return ToolPlan(
        spec=ToolSpec(tool.name, tool.description, schema),
        approval_required=tool.approval_required,
        timeout_ms=tool.timeout_ms,
        retry=tool.retry,
        max_calls=tool.max_calls,
        on_unknown=tool.on_unknown,
        kind=tool.kind,
        agent=None if tool.agent is None else members.add(tool.agent),
        guards=checked_guards(tool.guardrails, where),
        batch_size=tool.batch_size,
        blocking=tool.blocking,
        answer_schema=(tool.output_schema or ANSWER) if tool.kind == "human" else None,
    )


def _check_retry(retry: RetryPolicy, where: str) -> None:
    check_number("retry.max_attempts", retry.max_attempts, 1, MAX_ATTEMPTS, where=where)
    check_number("retry.delay_ms", retry.delay_ms, 0, MAX_MS, where=where)
    check_number("retry.max_delay_ms", retry.max_delay_ms, 0, MAX_MS, where=where)
    check_number("retry.jitter", retry.jitter, 0, 1, whole=False, where=where)


def _checked_output(output: OutputDefinition | None, where: str) -> OutputDefinition | None:
    if output is None:
        return None
    check_name(output.name, "output type", where)
    _check_size("The words of the output schema", canonical_json(output.schema), MAX_SCHEMA_BYTES, where)
    check_schema(output.schema, f"{where}, output schema")
    return output
