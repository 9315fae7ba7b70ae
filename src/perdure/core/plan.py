"""The plan: a definition with everything resolved and validated; executions are pinned to its hash."""

from typing import Any, Literal

import msgspec

from perdure.core.conditions import Condition, FunctionGate, Gate, Handoff, OnFunction, OnToolResult
from perdure.core.definition import (
    BudgetDefinition,
    GuardrailDefinition,
    HookName,
    MemoryDefinition,
    OnChildFailure,
    OnUnknown,
    OutputDefinition,
    PrefilledCall,
    RetryPolicy,
    StrategyName,
)
from perdure.core.model import ModelRef, ModelSettings, ToolSpec
from perdure.core.model_name import parse_model

PLAN_VERSION = 1

ToolKind = Literal["worker", "agent", "transfer", "handover", "human", "message"]


class Member(msgspec.Struct, frozen=True):
    """An agent of a team, or one that a tool calls.

    Attributes:
        plan_hash: its plan; None: whatever is deployed under its name when it begins.
        gate: of a stage of sequential: whether the next one begins.
    """

    name: str
    plan_hash: str | None = None
    description: str = ""
    introduction: str = ""
    gate: Gate | None = None


class TeamPlan(msgspec.Struct, frozen=True):
    """How the agents of a team work together; the fields mean what they mean in `AgentDefinition`.

    Attributes:
        members: in their order.
        router: the agent that picks; None with `router_function`.
    """

    strategy: StrategyName
    members: tuple[Member, ...]
    router: Member | None = None
    router_function: bool = False
    synthesize: bool = False
    on_child_failure: OnChildFailure = "fail"
    transitions: dict[str, tuple[str, ...]] = {}
    handoffs: tuple[Handoff, ...] = ()
    planner: Member | None = None
    fallback: Member | None = None
    plan: dict[str, Any] | None = None
    planner_context: tuple[str, ...] = ()

    def member(self, name: str) -> Member | None:
        """The agent of this name."""
        return next((m for m in self.members if m.name == name), None)


class ToolPlan(msgspec.Struct, frozen=True):
    """A tool of the plan's table; the fields mean what they mean in `ToolDefinition`.

    `answer_schema` is what a person's answer must fit, for a tool that a person answers.
    """

    spec: ToolSpec
    approval_required: bool = False
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()
    max_calls: int | None = None
    on_unknown: OnUnknown = "retry"
    kind: ToolKind = "worker"
    agent: Member | None = None
    answer_schema: dict[str, Any] | None = None
    guards: tuple[GuardrailDefinition, ...] = ()
    batch_size: int = 1
    blocking: bool = True


# A function of the agent's, such as a router, has no options of its own: three attempts, tried again when it is lost.
FUNCTION = ToolPlan(ToolSpec("@", "", {}))


class Plan(msgspec.Struct, frozen=True):
    """A compiled definition.

    Attributes:
        definition_hash: SHA-256 (hex) of the definition's canonical JSON.
        agent: the agent's name.
        tools: by name; the order is the definition's.
        model_retry: attempts and waits of a failing model call.
        team: how its agents work together; None: it has none, or only calls them as tools (handoff).
        model: of a team that never calls one: the provider is empty.
        watches: results of its tools after which another agent goes on in its place.
    """

    agent: str
    definition_hash: str
    model: ModelRef
    settings: ModelSettings
    instructions: str
    tools: dict[str, ToolPlan]
    output: OutputDefinition | None
    max_turns: int
    timeout_ms: int
    output_retries: int
    model_retry: RetryPolicy
    metadata: dict[str, Any] = {}
    v: int = PLAN_VERSION
    team: TeamPlan | None = None
    termination: Condition | None = None
    stop_when: bool = False
    required_tools: tuple[str, ...] = ()
    include_contents: Literal["default", "none"] = "default"
    synthesize: bool = True
    watches: tuple[OnToolResult, ...] = ()
    guards: tuple[GuardrailDefinition, ...] = ()
    hooks: tuple[HookName, ...] = ()
    instructions_function: bool = False
    budget: BudgetDefinition | None = None
    memory: MemoryDefinition | None = None
    context_window: int | None = None
    prefill: tuple[PrefilledCall, ...] = ()
    masked_fields: tuple[str, ...] = ()

    def tool(self, name: str) -> ToolPlan:
        """The tool of this name, or the options of a function (`@...`)."""
        return FUNCTION if name.startswith("@") else self.tools[name]

    @property
    def functions(self) -> list[tuple[str, str]]:
        """What workers run for this agent besides its tools: whose function it is, and its name."""
        found = [(self.agent, t.spec.name) for t in self.tools.values() if t.kind == "worker"]
        found += [(self.agent, f"@{hook}") for hook in self.hooks]
        found += [(self.agent, "@instructions")] if self.instructions_function else []
        found += [
            (self.agent, f"@guard.{g.name}") for g in self.all_guards if g.kind in ("function", "external")
        ]
        if self.stop_when:
            found.append((self.agent, "@stop_when"))
        team = self.team
        if team is not None:
            found += [(self.agent, "@router")] if team.router_function else []
            found += [
                (self.agent, f"@handoff.{h.target}") for h in team.handoffs if isinstance(h, OnFunction)
            ]
            found += [(m.name, "@gate") for m in team.members if isinstance(m.gate, FunctionGate)]
        return found

    @property
    def all_guards(self) -> tuple[GuardrailDefinition, ...]:
        """The guardrails of the agent and of its tools."""
        return (*self.guards, *(g for tool in self.tools.values() for g in tool.guards))

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """Every model that an execution of this plan may call itself."""
        judges = (parse_model(g.model, g.base_url) for g in self.all_guards if g.kind == "llm")
        cheaper = self.budget.downgrade_model if self.budget is not None else None
        return (
            *((self.model,) if self.model.provider else ()),
            *judges,
            *((parse_model(cheaper),) if cheaper else ()),
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """Every agent that this one may call."""
        team = self.team
        found = list(team.members) if team is not None else []
        if team is not None:
            found += [m for m in (team.router, team.planner, team.fallback) if m is not None]
        return (*found, *(t.agent for t in self.tools.values() if t.agent is not None))

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the model sees them: none where a plan calls them."""
        if self.team is not None and self.team.strategy == "plan_execute":
            return ()
        return tuple(t.spec for t in self.tools.values())


class Bundle(msgspec.Struct, frozen=True):
    """A compiled definition with all agents below it: `members` are their plans, by hash."""

    plan: Plan
    members: dict[str, Plan] = {}

    @property
    def all_plans(self) -> tuple[Plan, ...]:
        """The plan and those of its members."""
        return (self.plan, *self.members.values())
