"""Plans that differ from a stored one in a few things: for forks and replays."""

from typing import Any

import msgspec

from perdure.core.errors import ApiError
from perdure.core.model import ModelRef
from perdure.core.model_name import parse_model
from perdure.core.plan import Member, Plan, TeamPlan, ToolPlan
from perdure.server.plans import Compiled, Plans

_MOST_TURNS = 100_000


async def changed(
    plans: Plans,
    compiled: Compiled,
    *,
    model: str | None = None,
    instructions: str | None = None,
    max_turns: int | None = None,
) -> Compiled:
    """The plan with another model (its own and that of all agents below it), other instructions, another limit.

    Raises:
        DefinitionError: E0107 the model's name.
        ModelError: E0201 to E0203.
        ApiError: E0605 the limit.
    """
    if max_turns is not None and not 1 <= max_turns <= _MOST_TURNS:
        raise ApiError("E0605", f"`max_turns` must be between 1 and {_MOST_TURNS}")
    members: dict[str, Plan] = {}
    plan = compiled.plan
    if model is not None:
        plan = _asking(plan, parse_model(model), compiled.members, members, plans)
    else:
        members = dict(compiled.members)
    fields: dict[str, Any] = {}
    if instructions is not None:
        fields = {"instructions": instructions, "instructions_function": False}
    if max_turns is not None:
        fields["max_turns"] = max_turns
    return plans.ready(msgspec.structs.replace(plan, **fields), members)


def _asking(
    plan: Plan, model: ModelRef, known: dict[str, Plan], members: dict[str, Plan], plans: Plans
) -> Plan:
    """The plan with another model; the plans below it are put into *members* under their new hashes."""

    def moved(member: Member | None) -> Member | None:
        if member is None or member.plan_hash not in known:
            return member
        below = _asking(known[member.plan_hash], model, known, members, plans)
        below_hash = plans.hash_of(below)
        members[below_hash] = below
        return msgspec.structs.replace(member, plan_hash=below_hash)

    team = plan.team
    if team is not None:
        fields = {name: moved(getattr(team, name)) for name in ("router", "planner", "fallback")}
        found = tuple(m for m in map(moved, team.members) if m is not None)
        team = msgspec.structs.replace(team, members=found, **fields)
    tools = {name: _tool(tool, moved(tool.agent)) for name, tool in plan.tools.items()}
    asks = plan.model if not plan.model.provider else model
    changes: dict[str, TeamPlan | dict[str, ToolPlan] | ModelRef | None] = {
        "team": team,
        "tools": tools,
        "model": asks,
    }
    return msgspec.structs.replace(plan, **changes)


def _tool(tool: ToolPlan, agent: Member | None) -> ToolPlan:
    return tool if agent is tool.agent else msgspec.structs.replace(tool, agent=agent)
