"""Random teams, and what their models and functions say."""

import json
import random
from typing import Any

from perdure.core.conditions import (
    Condition,
    FunctionGate,
    Gate,
    Handoff,
    MaxMessages,
    OnFunction,
    OnTextMention,
    TextGate,
    TextMention,
)
from perdure.core.definition import AgentDefinition, BudgetDefinition, StrategyName, ToolDefinition
from perdure.core.messages import ToolCallPart
from perdure.core.model import ModelRequest
from tests.simulation.draws import CLOSED, around, beside, said_beside, verdict
from tests.simulation.model import TOOLS, FickleModel

QUESTION = {"type": "object", "properties": {"question": {"type": "string"}}}
MOST_DEEP = 4
MOST_AGENTS = 14  # of one tree of definitions
STRATEGIES: tuple[StrategyName, ...] = (
    "sequential",
    "parallel",
    "round_robin",
    "random",
    "swarm",
    "router",
    "handoff",
    "manual",
    "plan_execute",
)
PLANNER = "Plan: "  # what the instructions of a planner begin with; its model repeats the rest
STOP = "Over and out."


def random_team(rng: random.Random) -> AgentDefinition:
    """A team up to MOST_DEEP levels deep, in which every agent has a name of its own."""
    return _Draw(rng).team(1)


class _Draw:
    """One drawing of a team."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._names = 0

    def team(self, depth: int, **given: Any) -> AgentDefinition:
        """A team, or an agent that calls another as a tool."""
        strategy = self._rng.choice((*STRATEGIES, "agent_tool"))
        name = self._name()
        if strategy == "agent_tool":
            called = self._below(depth)
            return self._agent(name, depth, tools=(*self._tools(), self._call_of(called)), **given)
        if strategy == "plan_execute":
            return self._planned(name, depth, **given)
        members = self._members(strategy, depth)
        fields: dict[str, Any] = {
            "agents": members,
            "strategy": strategy,
            "max_turns": self._rng.choice((2, 3)),
            "timeout_ms": self._time(),
            **self._options(strategy, members),
            **self._budget(),
            **(around(self._rng) if self._rng.random() < 0.5 else {}),
            **given,
        }
        if strategy == "handoff" or (strategy != "swarm" and self._rng.random() < 0.3):
            fields |= {"model": "mock/m", "synthesize": self._rng.random() < 0.5}
        elif strategy == "swarm" and self._rng.random() < 0.3:
            fields |= {"model": "mock/m", "instructions": f"{name}."}
        return AgentDefinition(name, **fields)

    def _members(self, strategy: str, depth: int) -> tuple[AgentDefinition, ...]:
        gates: list[Gate | None] = [None, TextGate(CLOSED), FunctionGate()]
        return tuple(
            self._below(depth, **({"gate": self._rng.choice(gates)} if strategy == "sequential" else {}))
            for _ in range(self._rng.choice((2, 2, 3)))
        )

    def _options(self, strategy: str, members: tuple[AgentDefinition, ...]) -> dict[str, Any]:
        rng = self._rng
        names = [member.name for member in members]
        if strategy == "parallel":
            return {"on_child_failure": rng.choice(("fail", "skip", "wait"))}
        if strategy == "router":
            by_agent = rng.random() < 0.5
            router = AgentDefinition(self._name(), "mock/m", model_max_attempts=3)
            return {"router": router} if by_agent else {"router_function": True}
        options: dict[str, Any] = {}
        if strategy == "swarm":
            handoffs: list[Handoff] = [OnTextMention(names[1], names[1]), OnFunction(names[0])]
            options["handoffs"] = tuple(rng.sample(handoffs, rng.choice((0, 1, 2))))
        if strategy in ("round_robin", "random", "swarm", "manual", "handoff"):
            ends: list[Condition | None] = [None, None, TextMention(STOP), MaxMessages(2)]
            options |= {"termination": rng.choice(ends), "stop_when": rng.random() < 0.3}
        if strategy in ("round_robin", "random", "manual") and rng.random() < 0.3:
            options["transitions"] = {names[0]: (names[1],)}
        return options

    def _planned(self, name: str, depth: int, **given: Any) -> AgentDefinition:
        called = self._call_of(self._below(depth))
        tools = (*(t for t in self._tools() if t.kind == "worker"), called)
        first, second = (
            {"id": i, "operations": [self._operation(self._rng.choice(tools))]} for i in ("a", "b")
        )
        if self._rng.random() < 0.5:
            second["depends_on"] = ["a"]
        plan: dict[str, Any] = {"steps": [first, second]}
        if self._rng.random() < 0.3:
            plan["on_failure"] = [self._operation(tools[0])]
        fallback = {"fallback": self._below(depth)} if self._rng.random() < 0.3 else {}
        return AgentDefinition(
            name,
            strategy="plan_execute",
            tools=tools,
            synthesize=False,
            **self._plan_or_planner(plan),
            **fallback,
            **given,
        )

    def _plan_or_planner(self, plan: dict[str, Any]) -> dict[str, Any]:
        if self._rng.random() < 0.6:
            return {"plan": plan}
        told = f"{PLANNER}{json.dumps(plan)}"
        planner = AgentDefinition(self._name(), "mock/m", instructions=told, model_max_attempts=4)
        return {"planner": planner, "model": "mock/m"}

    def _operation(self, tool: ToolDefinition) -> dict[str, Any]:
        args = {"request": "Work."} if tool.kind == "agent" else {"amount": 3}
        return {"tool": tool.name, "args": args}

    def _below(self, depth: int, **given: Any) -> AgentDefinition:
        if depth < MOST_DEEP and self._names < MOST_AGENTS and self._rng.random() < 0.6:
            return self.team(depth + 1, **given)
        return self._agent(self._name(), depth, tools=self._tools(), **given)

    def _agent(
        self, name: str, _depth: int, tools: tuple[ToolDefinition, ...], **given: Any
    ) -> AgentDefinition:
        fields: dict[str, Any] = {
            "instructions": f"{name}.",
            "tools": tools,
            "max_turns": self._rng.choice((2, 3)),
            "timeout_ms": self._time(),
            **self._budget(),
            **beside(self._rng, name, tools),
            **given,
        }
        return AgentDefinition(name, "mock/m", model_max_attempts=4, **fields)

    def _tools(self) -> tuple[ToolDefinition, ...]:
        names = self._rng.sample(list(TOOLS), self._rng.choice((1, 2)))
        others = (
            ToolDefinition("ask_person", kind="human", input_schema=QUESTION),
            ToolDefinition("glance", kind="message", blocking=False, batch_size=3),
        )
        asked = (self._rng.choice(others),) if self._rng.random() < 0.2 else ()
        return asked + tuple(
            ToolDefinition(
                name,
                input_schema=TOOLS[name].spec.input_schema,
                retry=TOOLS[name].retry,
                approval_required=TOOLS[name].approval_required,
                on_unknown=TOOLS[name].on_unknown,
                max_calls=TOOLS[name].max_calls,
            )
            for name in names
        )

    def _call_of(self, agent: AgentDefinition) -> ToolDefinition:
        return ToolDefinition(
            f"ask_{agent.name}", kind="agent", agent=agent, approval_required=self._rng.random() < 0.2
        )

    def _budget(self) -> dict[str, Any]:
        if self._rng.random() < 0.85:
            return {}
        most = self._rng.choice(({"max_model_calls": 2}, {"max_tool_calls": 1}, {"max_tokens": 150}))
        return {"budget": BudgetDefinition(on_breach=self._rng.choice(("stop", "ask", "finish")), **most)}

    def _time(self) -> int:
        return self._rng.choice((0, 0, 0, 0, 0, 0, 0, 30_000))

    def _name(self) -> str:
        self._names += 1
        return f"a{self._names}"


class TeamModel(FickleModel):
    """A model for teams: mentions agents, ends conversations, transfers, calls agents, picks."""

    def _text(self, request: ModelRequest) -> str:
        rng = self._mood.rng
        fields = (request.output_schema or {}).get("properties", {})
        if "passed" in fields and rng.random() < 0.9:
            return json.dumps(verdict(rng))
        if "degrees" in fields and rng.random() < 0.8:
            return '{"degrees": 3}'
        if "agent" in fields:
            names = fields["agent"]["enum"]
            if rng.random() < 0.9:
                return json.dumps({"agent": rng.choice(names), "final": rng.random() < 0.6})
        if request.instructions.startswith(PLANNER) and rng.random() < 0.8:
            return request.instructions.removeprefix(PLANNER)
        said = ["An answer of some length."] * 6 + [CLOSED, STOP, *(f"a{i} knows." for i in range(1, 6))]
        return " ".join(rng.choices(said, k=rng.choice((1, 1, 2))))

    def _calls(self, request: ModelRequest) -> tuple[ToolCallPart, ...]:
        rng = self._mood.rng
        if not request.tools or rng.random() < (0.4 if self._mood.chaos else 0.7):
            return ()
        return tuple(
            ToolCallPart(f"c{i}", spec.name, _arguments(rng, spec.input_schema))
            for i, spec in enumerate(rng.choices(request.tools, k=rng.choice((1, 1, 2))))
        )


def _arguments(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema["properties"]
    if rng.random() < 0.04:
        return {name: [] for name in fields}  # does not fit
    return {name: rng.randrange(9) if name == "amount" else f"Do {rng.randrange(9)}." for name in fields}


def decided(rng: random.Random, function: str, names: tuple[str, ...], *, chaos: bool) -> Any:
    """The result of a function of a team: mostly what was agreed."""
    if chaos and rng.random() < 0.03:
        return {"agent": "nobody"}
    if function == "@router":
        return {"agent": rng.choice((*names, "DONE")), "final": rng.random() < 0.6}
    if function in ("@gate", "@stop_when") or function.startswith("@handoff."):
        field = {"@gate": "open", "@stop_when": "stop"}.get(function, "handoff")
        return {field: rng.random() < 0.5}
    return said_beside(rng, function)
