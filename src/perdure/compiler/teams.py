"""Lowering a team: each agent gets a plan of its own, and the team a table of them.

An option that a strategy would never use is refused, because its author expects something of it (E0106).
"""

from collections.abc import Callable

import msgspec

from perdure.agents.checks import check_name, invalid_option
from perdure.core.conditions import OnToolResult
from perdure.core.definition import AgentDefinition, OutputDefinition
from perdure.core.errors import DefinitionError
from perdure.core.ids import content_hash
from perdure.core.model import ToolSpec
from perdure.core.plan import Bundle, Member, Plan, TeamPlan, ToolPlan

MAX_AGENTS = 1_000
DONE = "DONE"  # what a router says when nobody is to go on
_TALKS = frozenset({"round_robin", "random", "manual", "swarm"})  # strategies that are a conversation
_SYNTHESIZES = frozenset({"handoff"})  # by themselves
NOTE_SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string", "description": "What the agent must know or do, in a few words."}
    },
    "additionalProperties": False,
}


class Place(msgspec.Struct, frozen=True):
    """What an agent's place in a team adds to it: tools to hand over with, results that hand over."""

    tools: tuple[ToolPlan, ...] = ()
    watches: tuple[OnToolResult, ...] = ()


NO_PLACE = Place()
CompileOne = Callable[[AgentDefinition, Place], Bundle]


class Members:
    """The plans of the agents below one agent, as they are compiled."""

    def __init__(self, compile_one: CompileOne) -> None:
        self.plans: dict[str, Plan] = {}
        self._compile = compile_one

    def add(self, definition: AgentDefinition, place: Place = NO_PLACE) -> Member:
        """Compile an agent, keep its plan and those below it, and give its row in the table."""
        if definition.external:
            check_name(definition.name, "agent", "definition")
            plan_hash = None
        else:
            bundle = self._compile(definition, place)
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
    table = _swarm(definition, members) if definition.strategy == "swarm" else _table(definition, members)
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


def _table(definition: AgentDefinition, members: Members) -> tuple[Member, ...]:
    return tuple(members.add(agent) for agent in definition.agents)


def _swarm(definition: AgentDefinition, members: Members) -> tuple[Member, ...]:
    """The agents of a swarm, each with the tools to hand over to those who may follow it.

    A team with a model and instructions, or tools, of its own takes part itself, and begins.
    """
    agents = definition.agents
    if definition.model and (definition.instructions or definition.tools):
        own = msgspec.structs.replace(
            definition,
            agents=(),
            strategy="handoff",
            handoffs=(),
            transitions={},
            termination=None,
            stop_when=False,
            guardrails=(),
            hooks=tuple(h for h in definition.hooks if not h.endswith("_agent")),
            output=None,
            synthesize=None,
            max_turns=25,
            timeout_ms=0,
        )
        agents = (own, *agents)
    return tuple(members.add(agent, _place(definition, agent, agents)) for agent in agents)


def _place(definition: AgentDefinition, agent: AgentDefinition, agents: tuple[AgentDefinition, ...]) -> Place:
    allowed = definition.transitions.get(agent.name)
    peers = [a for a in agents if a.name != agent.name and (allowed is None or a.name in allowed)]
    tools = tuple(
        ToolPlan(
            ToolSpec(
                f"transfer_to_{peer.name}",
                f"Hand the conversation over to {peer.name}: {_purpose(peer)}. You do not speak after it.",
                NOTE_SCHEMA,
            ),
            kind="handover",
            agent=Member(peer.name),
        )
        for peer in peers
    )
    names = {peer.name for peer in peers}
    watches = tuple(h for h in definition.handoffs if isinstance(h, OnToolResult) and h.target in names)
    return Place(tools, watches)


def _purpose(agent: AgentDefinition) -> str:
    return agent.description or agent.introduction or f"the agent {agent.name}"


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
            text = f"Hand the conversation to {agent.name}: {_purpose(agent)}. You get its answer."
            spec = ToolSpec(f"transfer_to_{agent.name}", text, NOTE_SCHEMA)
            found.append(ToolPlan(spec, kind="transfer", agent=members.add(agent)))
    return found


def _refuse_plan_options(definition: AgentDefinition, where: str) -> None:
    """Refuse what only plan_execute has a use for."""
    for option in ("planner", "fallback", "fallback_max_turns", "planner_context", "plan"):
        if getattr(definition, option):
            raise DefinitionError(
                "E0106",
                f"The strategy {definition.strategy} has no use for `{option}`",
                where=where,
                fix='Say strategy="plan_execute".',
            )


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
    for target in (handoff.target for handoff in definition.handoffs):
        if target not in names and target != definition.name:
            raise invalid_option("handoffs", target, f"names of its agents: {', '.join(names)}", where)
    known = {definition.name, *names}
    for name, followers in definition.transitions.items():
        for unknown in {name, *followers} - known:
            raise invalid_option("transitions", unknown, f"names of its agents: {', '.join(names)}", where)


def _check_fit(definition: AgentDefinition, where: str) -> None:
    """Refuse what the strategy would never use."""
    strategy = definition.strategy
    _refuse_plan_options(definition, where)
    if not definition.agents:
        if strategy != "handoff":
            raise DefinitionError("E0106", f"The strategy {strategy} needs agents", where=where)
        return
    has_router = definition.router is not None or definition.router_function
    if has_router != (strategy == "router"):
        what = "needs a router" if strategy == "router" else "has no use for a router"
        raise DefinitionError("E0106", f"The strategy {strategy} {what}", where=where)
    unused = {
        "tools": strategy not in ("handoff", "swarm") and bool(definition.tools),
        "handoffs": strategy != "swarm" and bool(definition.handoffs),
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
