"""Lowering a team: each agent gets a plan of its own, and the team a table of them.

An option that a strategy would never use is refused, because its author expects something of it (E0106).
"""

from collections.abc import Callable

import msgspec

from perdure.agents.checks import check_name, invalid_option
from perdure.core.definition import AgentDefinition, OutputDefinition
from perdure.core.errors import DefinitionError
from perdure.core.ids import content_hash
from perdure.core.model import ToolSpec
from perdure.core.plan import Bundle, Member, Plan, TeamPlan, ToolPlan

MAX_AGENTS = 1_000
DONE = "DONE"  # what a router says when nobody is to go on
_TALKS = frozenset({"round_robin", "random", "manual", "swarm"})  # strategies that are a conversation
_SYNTHESIZES = frozenset({"handoff", "router", "swarm"})  # by themselves
NOTE_SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string", "description": "What the agent must know or do, in a few words."}
    },
    "additionalProperties": False,
}

CompileOne = Callable[[AgentDefinition], Bundle]


class Members:
    """The plans of the agents below one agent, as they are compiled."""

    def __init__(self, compile_one: CompileOne) -> None:
        self.plans: dict[str, Plan] = {}
        self._compile = compile_one

    def add(self, definition: AgentDefinition) -> Member:
        """Compile an agent, keep its plan and those below it, and give its row in the table."""
        if definition.external:
            check_name(definition.name, "agent", "definition")
            plan_hash = None
        else:
            bundle = self._compile(definition)
            plan_hash = content_hash(bundle.plan)
            self.plans |= bundle.members
            self.plans[plan_hash] = bundle.plan
        return Member(
            definition.name, plan_hash, definition.description, definition.introduction, definition.gate
        )


def lower_team(definition: AgentDefinition, members: Members, where: str) -> TeamPlan | None:
    """The team of a definition; None when it has none, or calls its agents by tools (handoff).

    Raises:
        DefinitionError: E0103 two agents of one name; E0106 an option that does not fit the strategy; E0107.
    """
    _check_members(definition, where)
    _check_fit(definition, where)
    if definition.strategy == "handoff" or not definition.agents:
        return None
    table = tuple(members.add(agent) for agent in definition.agents)
    return TeamPlan(
        strategy=definition.strategy,
        members=table,
        router=_router(definition, members),
        router_function=definition.router_function,
        synthesize=synthesizes(definition) and bool(definition.model),
        on_child_failure=definition.on_child_failure,
        transitions=definition.transitions,
        handoffs=definition.handoffs,
    )


def synthesizes(definition: AgentDefinition) -> bool:
    """Whether the team's own model sums up."""
    asked = definition.synthesize
    return definition.strategy in _SYNTHESIZES if asked is None else asked


def transfer_tools(definition: AgentDefinition, members: Members) -> list[ToolPlan]:
    """The tools with which an agent hands over to its agents, and hears from them again."""
    if definition.strategy != "handoff":
        return []
    allowed = definition.transitions.get(definition.name)
    found = []
    for agent in definition.agents:
        if allowed is None or agent.name in allowed:
            what = agent.description or agent.introduction or f"the agent {agent.name}"
            text = f"Hand the conversation to {agent.name}: {what}. You get its answer."
            spec = ToolSpec(f"transfer_to_{agent.name}", text, NOTE_SCHEMA)
            found.append(ToolPlan(spec, kind="transfer", agent=members.add(agent)))
    return found


def _check_members(definition: AgentDefinition, where: str) -> None:
    if len(definition.agents) > MAX_AGENTS:
        raise invalid_option("agents", len(definition.agents), f"{MAX_AGENTS} agents at most", where)
    names = [agent.name for agent in definition.agents]
    for name in names:
        if names.count(name) > 1 or name == definition.name:
            raise DefinitionError(
                "E0103",
                f"Two agents of one team have the name {name!r}",
                where=where,
                fix="Give one of them another name.",
            )
    if DONE in names:
        raise DefinitionError("E0104", f"No agent can have the name {DONE}", where=where)
    known = {definition.name, *names}
    for name, followers in definition.transitions.items():
        for unknown in {name, *followers} - known:
            raise invalid_option("transitions", unknown, f"names of its agents: {', '.join(names)}", where)


def _check_fit(definition: AgentDefinition, where: str) -> None:
    """Refuse what the strategy would never use."""
    strategy = definition.strategy
    if not definition.agents:
        if strategy != "handoff":
            raise DefinitionError("E0106", f"The strategy {strategy} needs agents", where=where)
        return
    if strategy in ("swarm", "plan_execute"):
        raise DefinitionError("E0106", f"This server cannot do the strategy {strategy} yet", where=where)
    has_router = definition.router is not None or definition.router_function
    if has_router != (strategy == "router"):
        what = "needs a router" if strategy == "router" else "has no use for a router"
        raise DefinitionError("E0106", f"The strategy {strategy} {what}", where=where)
    unused = {
        "tools": strategy != "handoff" and bool(definition.tools),
        "required_tools": strategy != "handoff" and bool(definition.required_tools),
        "termination": strategy not in _TALKS
        and strategy != "handoff"
        and definition.termination is not None,
        "stop_when": strategy not in _TALKS and strategy != "handoff" and definition.stop_when,
    }
    for option in (name for name, is_set in unused.items() if is_set):
        raise DefinitionError(
            "E0106",
            f"The strategy {strategy} has no use for `{option}` of the team itself",
            where=where,
            fix="Give it to one of the team's agents, or use the strategy handoff.",
        )
    if definition.synthesize and not definition.model:
        raise DefinitionError("E0107", "A team that sums up needs a model", where=where)
    for agent in definition.agents:
        if agent.gate is not None and strategy != "sequential":
            raise DefinitionError(
                "E0106", "Only stages of the strategy sequential have gates", where=f"agent {agent.name!r}"
            )


def _router(definition: AgentDefinition, members: Members) -> Member | None:
    """The router agent: held to the names of the agents by its output type."""
    router = definition.router
    if router is None:
        return None
    names = [agent.name for agent in definition.agents]
    schema = {
        "type": "object",
        "properties": {
            "agent": {
                "enum": [*names, DONE],
                "description": "Who is to answer; DONE when nobody is to go on.",
            },
            "final": {
                "type": "boolean",
                "description": "Whether that agent's answer is the last that is needed.",
            },
        },
        "required": ["agent"],
        "additionalProperties": False,
    }
    if router.output is not None:
        raise DefinitionError(
            "E0106", "A router agent has no output type of its own", where=f"agent {router.name!r}"
        )
    told = "Say which of the agents is to answer the request."
    instructions = f"{router.instructions}\n\n{told}" if router.instructions else told
    output = OutputDefinition("Route", schema)
    return members.add(msgspec.structs.replace(router, output=output, instructions=instructions))
