"""The agent: what a user writes. A description and nothing else: making one contacts nobody and starts nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from perdure.agents.budget import Budget
from perdure.agents.callbacks import CallbackHandler, checked_callbacks
from perdure.agents.calling import Callee
from perdure.agents.checks import (
    MAX_COUNT,
    MAX_NAME_LENGTH,
    MAX_SECONDS,
    MAX_TEMPERATURE,
    MAX_TURNS,
    check_choice,
    check_name,
    check_number,
    invalid_option,
)
from perdure.agents.guardrails import Guardrail, checked_guardrails
from perdure.agents.handoffs import HandoffCondition, OnCondition, TextGate, name_of
from perdure.agents.memory import ConversationMemory
from perdure.agents.models import ModelLike
from perdure.agents.options import (
    Instructions,
    NamedModel,
    check_guard_names,
    check_member,
    checked_instructions,
    checked_model,
    checked_plan,
    checked_planner_context,
    checked_prefill,
    checked_required,
    checked_tools,
    checked_transitions,
    json_object,
    names,
    optional,
    plain_text,
)
from perdure.agents.output import output_definition
from perdure.agents.plan_steps import Context, Plan
from perdure.agents.strategy import DONE, TAKES_TURNS, Strategy
from perdure.agents.termination import TerminationCondition
from perdure.agents.tools import PrefillToolCall, ToolDef
from perdure.core.definition import OnChildFailure, OutputDefinition
from perdure.core.errors import DefinitionError
from perdure.core.model_name import parse_model

ReasoningEffort = Literal["minimal", "low", "medium", "high"]
EFFORTS: tuple[ReasoningEffort, ...] = ("minimal", "low", "medium", "high")
ON_CHILD_FAILURE: tuple[OnChildFailure, ...] = ("fail", "skip", "wait")


class Agent:
    """An agent: a model with instructions and tools, or a team. Treat it as a value: make it, pass it around, do not change it.

    Without a model, instructions, tools and agents it is external: only its name counts, and whatever is deployed
    under that name does the work. `a >> b >> c` is a pipeline.

    Args:
        name: letters, digits, `_` and `-`, not beginning with a digit.
        model: `provider/model`, or an object that stands for one, such as `perdure.testing.MockModel`. A sub-agent
            without one has that of its team.
        instructions: what the model is told first: a text; a `PromptTemplate`; a function without parameters that
            returns a text, called each time the agent is started or deployed; or one that takes a `ToolContext` (and
            the input, if it has a second parameter), called by a worker at the beginning of each execution.
        tools: functions made into tools by `@tool`, `agent_tool(...)`, `human_tool(...)`, ...
        agents: sub-agents.
        strategy: how they work together; see `Strategy`.
        router: of the strategy `router`: an agent, or a function that returns an agent or its name. One that takes only
            the prompt picks once; `(prompt, conversation)` or `(prompt, conversation, turn)` is asked again after each
            answer until it says `"DONE"` or None.
        output_type: the type of the answer: a Pydantic model, dataclass, TypedDict, `list[Model]`, ...; a text when
            it is None.
        guardrails: checks on the agent's input and output.
        memory: messages to begin with, and a window on the conversation.
        dependencies: objects of this process for `ToolContext.dependencies`; they never leave it.
        max_turns: model calls (of a team: turns of its members) before the execution fails with E0403.
        max_tokens: limit of one answer, in tokens; None: the provider's.
        timeout_seconds: limit of the whole execution, waiting included; 0: no limit.
        temperature: 0 to 2; None: the provider's.
        reasoning_effort: minimal, low, medium or high, for models that reason.
        stop_when: a function of `{"result": text, "messages": [...], "iteration": n}` that returns whether to end.
        termination: conditions that end the loop, decided in the server.
        handoffs: of the strategy `swarm`: who takes over when, the first that is met.
        allowed_transitions: who may follow whom: `{"writer": ["editor"]}`.
        introduction: what the agent says of itself at the beginning of a conversation.
        metadata: JSON values of your own, kept with the plan.
        callbacks: see `CallbackHandler`.
        include_contents: `none`: it sees its own input only, not the conversation before; None is `default`.
        thinking_budget_tokens: tokens that the model may think, where the provider takes a number.
        required_tools: tools that must have been called before an answer is taken.
        gate: of a stage of a pipeline: a `TextGate`, or a function of `{"result": text}`, or of the text when its
            parameter is a `str`, that returns whether to go on.
        base_url: another address of the provider's server.
        context_window_budget: tokens of the conversation at which it is condensed; None: never.
        prefill_tools: calls made before the model is first asked: `[the_tool.call(x=1)]`.
        synthesize: whether the team's own model sums up what its members said; None: as the strategy does by itself,
            which is yes for handoff and no for all others.
        masked_fields: names of fields whose values are shown to no reader of the journal.
        planner: of `plan_execute`: the agent that writes the plan.
        fallback: of `plan_execute`: the agent that goes on when the plan fails.
        fallback_max_turns: its limit of turns.
        planner_context: texts that the planner goes by.
        plan: of `plan_execute`: a fixed plan, instead of a planner.
        budget: what an execution and all below it may use.
        on_child_failure: of `parallel`: `fail` with the first that fails, `skip` it, or `wait` for all and fail then.
        description: what the agent is for, as other agents are told.
        semantic_memory: what it remembers over conversations.
        model_settings: JSON values that only the provider understands.

    Raises:
        DefinitionError: E0101 to E0107.
    """

    def __init__(
        self,
        name: str,
        model: str | ModelLike = "",
        instructions: Instructions = "",
        tools: Sequence[ToolDef[..., Any]] | None = None,
        agents: "Sequence[Agent] | None" = None,
        strategy: Strategy | str = Strategy.HANDOFF,
        *,
        router: "Agent | Callable[..., Any] | None" = None,
        output_type: Any = None,
        guardrails: Sequence[Guardrail] | None = None,
        memory: ConversationMemory | None = None,
        dependencies: Mapping[str, Any] | None = None,
        max_turns: int = 25,
        max_tokens: int | None = None,
        timeout_seconds: float = 0,
        temperature: float | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        stop_when: Callable[..., Any] | None = None,
        termination: TerminationCondition | None = None,
        handoffs: Sequence[HandoffCondition] | None = None,
        allowed_transitions: Mapping[str, Sequence[str]] | None = None,
        introduction: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        callbacks: Sequence[CallbackHandler] | None = None,
        include_contents: Literal["default", "none"] | None = None,
        thinking_budget_tokens: int | None = None,
        required_tools: Sequence[str | ToolDef[..., Any]] | None = None,
        gate: TextGate | Callable[..., Any] | None = None,
        base_url: str | None = None,
        context_window_budget: int | None = None,
        prefill_tools: Sequence[PrefillToolCall] | None = None,
        synthesize: bool | None = None,
        masked_fields: Sequence[str] | None = None,
        planner: "Agent | None" = None,
        fallback: "Agent | None" = None,
        fallback_max_turns: int | None = None,
        planner_context: Sequence[str | Context] | None = None,
        plan: Plan | Mapping[str, Any] | None = None,
        budget: Budget | None = None,
        on_child_failure: OnChildFailure = "fail",
        description: str = "",
        semantic_memory: Any = None,
        model_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = check_name(name, "agent")
        self.where = where = f"agent {name!r}"
        self.model_choice: NamedModel = checked_model(model, where)
        self.model, self.base_url = self.model_choice.model, base_url
        self.model_settings = json_object("model_settings", model_settings, where)
        self.instructions, self.instructions_callee = checked_instructions(instructions, where)
        self.tools = checked_tools(tools, where)
        self.output_type = output_type
        self.output: OutputDefinition | None = None if output_type is None else output_definition(output_type)
        self._set_limits(max_turns, max_tokens, timeout_seconds, temperature, thinking_budget_tokens)
        self._set_context(include_contents, context_window_budget, memory, semantic_memory, budget)
        self._set_texts(description, introduction, metadata, dependencies, masked_fields)
        self._set_checks(guardrails, stop_when, termination, callbacks, required_tools, prefill_tools)
        self._set_effort(reasoning_effort)
        self._set_gate(gate)
        self._set_team(agents, strategy, router, synthesize, on_child_failure)
        self._set_turns(handoffs, allowed_transitions)
        self._set_plan(planner, fallback, fallback_max_turns, planner_context, plan)
        self._check_tree()

    @property
    def external(self) -> bool:
        """Whether only the name counts: something deployed under it does the work."""
        says = (self.model, self.instructions, self.tools, self.agents, self.planner, self.plan)
        return not any(says)

    def tree(self) -> "list[Agent]":
        """This agent and all below it, each once: sub-agents, router, planner, fallback, agents that are tools."""
        found: dict[int, Agent] = {}
        open_ = [self]
        while open_:
            agent = open_.pop()
            if id(agent) not in found:
                found[id(agent)] = agent
                open_.extend(reversed(agent.children()))
        return list(found.values())

    def children(self) -> "list[Agent]":
        """The agents directly below: sub-agents, router, planner, fallback, agents that are tools."""
        beside = (self.router, self.planner, self.fallback, *(tool.agent for tool in self.tools))
        return [*self.agents, *(agent for agent in beside if isinstance(agent, Agent))]

    def __rshift__(self, other: object) -> "Agent":
        """The pipeline of both: what this one makes goes to the other."""
        if not isinstance(other, Agent):
            return NotImplemented
        return Pipeline(self, other)

    def __repr__(self) -> str:
        shown = [repr(self.name)]
        if self.model:
            shown.append(f"model={self.model!r}")
        if self.tools:
            shown.append(f"tools=[{', '.join(t.name for t in self.tools)}]")
        if self.agents:
            shown.append(f"agents=[{', '.join(a.name for a in self.agents)}]")
            shown.append(f"strategy={self.strategy.value!r}")
        if self.output is not None:
            shown.append(f"output_type={self.output.name}")
        return f"Agent({', '.join(shown)})"

    def _set_limits(
        self,
        max_turns: int,
        max_tokens: int | None,
        timeout_seconds: float,
        temperature: float | None,
        thinking_budget_tokens: int | None,
    ) -> None:
        check_number("max_turns", max_turns, 1, MAX_TURNS, where=self.where)
        check_number("timeout_seconds", timeout_seconds, 0, MAX_SECONDS, whole=False, where=self.where)
        if max_tokens is not None:
            check_number("max_tokens", max_tokens, 1, MAX_COUNT, where=self.where)
        if temperature is not None:
            check_number("temperature", temperature, 0, MAX_TEMPERATURE, whole=False, where=self.where)
        if thinking_budget_tokens is not None:
            check_number("thinking_budget_tokens", thinking_budget_tokens, 0, MAX_COUNT, where=self.where)
        if self.model:
            parse_model(self.model, self.base_url)
        self.max_turns = max_turns
        self.max_tokens = max_tokens
        self.timeout_seconds = timeout_seconds
        self.temperature = temperature
        self.thinking_budget_tokens = thinking_budget_tokens

    def _set_effort(self, effort: ReasoningEffort | None) -> None:
        if effort is not None:
            check_choice("reasoning_effort", effort, EFFORTS, self.where)
        self.reasoning_effort = effort

    def _set_context(
        self,
        include_contents: Literal["default", "none"] | None,
        context_window_budget: int | None,
        memory: ConversationMemory | None,
        semantic_memory: Any,
        budget: Budget | None,
    ) -> None:
        check_choice("include_contents", include_contents or "default", ("default", "none"), self.where)
        if context_window_budget is not None:
            check_number("context_window_budget", context_window_budget, 1, MAX_COUNT, where=self.where)
        self.include_contents: Literal["default", "none"] = include_contents or "default"
        self.context_window_budget = context_window_budget
        self.memory: ConversationMemory | None = optional("memory", memory, ConversationMemory, self.where)
        self.semantic_memory = semantic_memory
        self.budget: Budget | None = optional("budget", budget, Budget, self.where)

    def _set_texts(
        self,
        description: str,
        introduction: str | None,
        metadata: Mapping[str, Any] | None,
        dependencies: Mapping[str, Any] | None,
        masked_fields: Sequence[str] | None,
    ) -> None:
        self.description = plain_text("description", description, self.where)
        self.introduction = plain_text("introduction", introduction, self.where)
        self.metadata = json_object("metadata", metadata, self.where)
        self.dependencies = dict(optional("dependencies", dependencies, Mapping, self.where) or {})
        self.masked_fields = names("masked_fields", masked_fields, self.where)

    def _set_checks(
        self,
        guardrails: Sequence[Guardrail] | None,
        stop_when: Callable[..., Any] | None,
        termination: TerminationCondition | None,
        callbacks: Sequence[CallbackHandler] | None,
        required_tools: Sequence[str | ToolDef[..., Any]] | None,
        prefill_tools: Sequence[PrefillToolCall] | None,
    ) -> None:
        self.guardrails = checked_guardrails(guardrails, self.where)
        check_guard_names(self.guardrails, self.tools, self.where)
        if stop_when is not None:
            Callee.read(stop_when, "stop_when", self.where, most=1)
        self.stop_when = stop_when
        self.termination: TerminationCondition | None = optional(
            "termination", termination, TerminationCondition, self.where
        )
        self.callbacks = checked_callbacks(callbacks, self.where)
        self.required_tools = checked_required(required_tools, self.tools, self.where)
        self.prefill_tools = checked_prefill(prefill_tools, self.tools, self.where)

    def _set_gate(self, gate: TextGate | Callable[..., Any] | None) -> None:
        if gate is not None and not isinstance(gate, TextGate):
            Callee.read(gate, "gate", self.where, most=1)
        self.gate = gate

    def _set_team(
        self,
        agents: "Sequence[Agent] | None",
        strategy: Strategy | str,
        router: "Agent | Callable[..., Any] | None",
        synthesize: bool | None,  # noqa: FBT001 - private
        on_child_failure: OnChildFailure,
    ) -> None:
        check_choice("strategy", strategy, tuple(Strategy), self.where)
        self.strategy = Strategy(strategy)
        self.agents = _checked_agents(agents, self.where)
        if not self.agents and self.strategy not in {Strategy.HANDOFF, Strategy.PLAN_EXECUTE}:
            raise _invalid(
                f"The strategy {self.strategy.value} needs agents", self.where, "Give agents=[...]."
            )
        if (router is not None) != (self.strategy is Strategy.ROUTER):
            raise _invalid(
                "router and the strategy router belong together",
                self.where,
                'Give both: strategy="router", router=an agent or a function.',
            )
        if router is not None and not isinstance(router, Agent):
            Callee.read(router, "router", self.where, most=3)
        optional("synthesize", synthesize, bool, self.where)
        check_choice("on_child_failure", on_child_failure, ON_CHILD_FAILURE, self.where)
        if on_child_failure != "fail" and self.strategy is not Strategy.PARALLEL:
            raise invalid_option("on_child_failure", on_child_failure, "it to a parallel team", self.where)
        self.router = router
        self.synthesize = synthesize
        self.on_child_failure = on_child_failure

    def _set_turns(
        self,
        handoffs: Sequence[HandoffCondition] | None,
        allowed_transitions: Mapping[str, Sequence[str]] | None,
    ) -> None:
        members = [agent.name for agent in self.agents]
        if self.strategy is Strategy.SWARM:
            members.append(self.name)
        if handoffs and self.strategy is not Strategy.SWARM:
            raise _invalid("handoffs belong to the strategy swarm", self.where, 'Say strategy="swarm".')
        if allowed_transitions and self.strategy not in TAKES_TURNS:
            raise _invalid(
                f"The strategy {self.strategy.value} has no transitions", self.where, "Leave them out."
            )
        self.handoffs = _checked_handoffs(handoffs, members, self.where)
        self.allowed_transitions = checked_transitions(allowed_transitions, members, self.where)

    def _set_plan(
        self,
        planner: "Agent | None",
        fallback: "Agent | None",
        fallback_max_turns: int | None,
        planner_context: Sequence[str | Context] | None,
        plan: Plan | Mapping[str, Any] | None,
    ) -> None:
        self.planner: Agent | None = optional("planner", planner, Agent, self.where)
        self.fallback: Agent | None = optional("fallback", fallback, Agent, self.where)
        self.planner_context = checked_planner_context(planner_context, self.where)
        self.plan = checked_plan(plan, self.tools, self.where)
        self.fallback_max_turns = fallback_max_turns
        if fallback_max_turns is not None:
            check_number("fallback_max_turns", fallback_max_turns, 1, MAX_TURNS, where=self.where)
            if fallback is None:
                raise _invalid("fallback_max_turns needs a fallback", self.where, "Give fallback=an agent.")
        given = any(x is not None for x in (planner, fallback, plan)) or bool(self.planner_context)
        if self.strategy is not Strategy.PLAN_EXECUTE:
            if given:
                raise _invalid(
                    "planner, fallback, planner_context and plan belong to the strategy plan_execute",
                    self.where,
                    'Say strategy="plan_execute".',
                )
            return
        if planner is None and plan is None:
            raise _invalid("plan_execute needs a planner or a plan", self.where, "Give planner=an agent.")
        if not self.tools:
            raise _invalid("plan_execute needs tools for its plan", self.where, "Give tools=[...].")

    def _check_tree(self) -> None:
        """Queues of workers are named by agent, so that two agents of one name would mix."""
        seen: dict[str, Agent] = {}
        for agent in self.tree():
            if not agent.external and seen.setdefault(agent.name, agent) is not agent:
                raise _twice(agent.name, self.where)


class Pipeline(Agent):
    """What `>>` makes: a sequential team of its stages. Its name is theirs, joined by `_`."""

    def __init__(self, *parts: Agent) -> None:
        stages = [s for part in parts for s in (part.agents if isinstance(part, Pipeline) else (part,))]
        name = "_".join(stage.name for stage in stages)
        if len(name) > MAX_NAME_LENGTH:
            raise DefinitionError(
                "E0104",
                f"The name of the pipeline, {name!r:.80}, is longer than {MAX_NAME_LENGTH} characters",
                where=f"agent {stages[0].name!r}",
                fix='Give it one: Agent("name", agents=[...], strategy="sequential").',
            )
        first = next((part for part in parts if part.model), parts[0])
        super().__init__(
            name,
            first.model_choice,
            agents=stages,
            strategy=Strategy.SEQUENTIAL,
            base_url=first.base_url,
        )


def _checked_agents(given: Any, where: str) -> tuple[Agent, ...]:
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option("agents", given, "a list of agents", where)
    seen: set[str] = set()
    for item in given:
        if not isinstance(item, Agent):
            raise _invalid(f"{item!r:.80} is not an Agent", where, "Give Agents, or functions below @agent.")
        if item.name in seen:
            raise _twice(item.name, where)
        if item.name.upper() == DONE:
            raise DefinitionError(
                "E0104",
                f"{item.name!r} cannot be the name of an agent in a team",
                where=where,
                why="It is how a router says that nobody goes on.",
                fix="Give it another name.",
            )
        seen.add(item.name)
    return tuple(given)


def _checked_handoffs(given: Any, members: Sequence[str], where: str) -> tuple[HandoffCondition, ...]:
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option("handoffs", given, "a list of conditions", where)
    functions: dict[str, Any] = {}
    for item in given:
        if not isinstance(item, HandoffCondition):
            raise _invalid(
                f"{item!r:.80} is not a handoff condition",
                where,
                "Give OnToolResult, OnTextMention or OnCondition.",
            )
        check_member(name_of(item.target), members, "handoffs", where)
        if isinstance(item, OnCondition):
            Callee.read(item.condition, f"handoff to {item.target}", where, most=1)
            if item.target in functions:
                raise DefinitionError(
                    "E0103",
                    f"Two functions decide on the handoff to {item.target!r}",
                    where=where,
                    fix="Write one function that asks both.",
                )
            functions[item.target] = item.condition
    return tuple(cast("Sequence[HandoffCondition]", given))


def _invalid(what: str, where: str, fix: str) -> DefinitionError:
    return DefinitionError("E0101", what, where=where, fix=fix)


def _twice(name: str, where: str) -> DefinitionError:
    return DefinitionError(
        "E0103",
        f"Two agents have the name {name!r}",
        where=where,
        why="Handoffs and the queues of workers go by name.",
        fix="Give one of them another name.",
    )
