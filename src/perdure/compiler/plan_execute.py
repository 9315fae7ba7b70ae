"""Lowering a team of the strategy plan_execute: its planner and fallback, and its plan when that is fixed."""

from collections.abc import Mapping

import msgspec

from perdure.agents.checks import MAX_TURNS, check_number, invalid_option
from perdure.compiler.teams import Members, synthesizes
from perdure.core.definition import AgentDefinition
from perdure.core.errors import DefinitionError
from perdure.core.ids import canonical_json
from perdure.core.plan import Member, TeamPlan, ToolPlan
from perdure.core.plan_reading import read_plan

MAX_PLAN_BYTES = 1024 * 1024
MAX_CONTEXTS_BYTES = 1024 * 1024
# What another strategy does with an option of this name, this one does not.
_UNUSED = (
    "agents",
    "router",
    "router_function",
    "transitions",
    "handoffs",
    "termination",
    "stop_when",
    "required_tools",
)


def lower_plan_execute(definition: AgentDefinition, members: Members, where: str) -> TeamPlan:
    """The team of a definition of this strategy.

    Raises:
        DefinitionError: E0101 a size; E0106 an option that is missing or has no use; E0107 no model to sum up with.
    """
    _check(definition, where)
    planner = definition.planner if definition.plan is None else None  # a fixed plan needs nobody to write it
    return TeamPlan(
        strategy="plan_execute",
        members=(),
        synthesize=synthesizes(definition) and bool(definition.model),
        planner=None if planner is None else members.add(planner),
        fallback=_fallback(definition, members, where),
        plan=definition.plan,
        planner_context=definition.planner_context,
    )


def _check(definition: AgentDefinition, where: str) -> None:
    if definition.planner is None and definition.plan is None:
        raise DefinitionError("E0106", "The strategy plan_execute needs a planner or a plan", where=where)
    if not definition.tools:
        raise DefinitionError("E0106", "The strategy plan_execute needs tools for its plan", where=where)
    for option in _UNUSED:
        if getattr(definition, option):
            raise DefinitionError(
                "E0106",
                f"The strategy plan_execute has no use for `{option}` of the team itself",
                where=where,
                fix="Leave it out, or give it to the planner or the fallback.",
            )
    if definition.synthesize and not definition.model:
        raise DefinitionError("E0107", "A team that sums up needs a model", where=where)
    sizes = {
        "plan": (len(canonical_json(definition.plan)), MAX_PLAN_BYTES),
        "planner_context": (sum(len(t.encode()) for t in definition.planner_context), MAX_CONTEXTS_BYTES),
    }
    for option, (size, limit) in sizes.items():
        if size > limit:
            what = f"The {option} has {size:,} bytes; the limit is {limit:,}"
            raise DefinitionError("E0101", what, where=where)


def _fallback(definition: AgentDefinition, members: Members, where: str) -> Member | None:
    fallback, limit = definition.fallback, definition.fallback_max_turns
    if limit is not None:
        check_number("fallback_max_turns", limit, 1, MAX_TURNS, where=where)
        if fallback is None or fallback.external:
            needed = "a fallback whose definition is given" if fallback else "a fallback"
            raise invalid_option("fallback_max_turns", limit, f"only with {needed}", where)
        fallback = msgspec.structs.replace(fallback, max_turns=limit)
    return None if fallback is None else members.add(fallback)


def check_plan(definition: AgentDefinition, tools: Mapping[str, ToolPlan], where: str) -> None:
    """Check a fixed plan against the team's tools.

    Raises:
        DefinitionError: E0101 with everything that is wrong with it; E0107 it needs a model that is not there.
    """
    if definition.plan is None:
        return
    plan, errors = read_plan(definition.plan, {name: t.spec.input_schema for name, t in tools.items()})
    if plan is None:
        raise DefinitionError(
            "E0101", "The plan cannot be carried out", where=f"{where}, plan", why=" ".join(errors)
        )
    if plan.asks_a_model and not definition.model:
        raise DefinitionError(
            "E0107",
            "The plan has a model write arguments, and the team has none",
            where=f"{where}, plan",
            fix='Give it one: model="provider/model", or write the args instead of `generate`.',
        )
