"""The definition: an agent as plain data, as it crosses the wire.

`DEFINITION_VERSION` counts up when a field is added or changes its meaning. A server refuses a newer
version (E0102) and a field that it does not know (E0101): a guardrail that is dropped in silence would be
worse than an error.
"""

from typing import Any, Literal, Optional

import msgspec

from perdure.core.conditions import Condition, Gate, Handoff

DEFINITION_VERSION = 2

OnUnknown = Literal["retry", "ask", "fail"]
Backoff = Literal["fixed", "linear", "exponential"]
StrategyName = Literal[
    "handoff",
    "sequential",
    "parallel",
    "router",
    "round_robin",
    "random",
    "swarm",
    "manual",
    "plan_execute",
]
Position = Literal["input", "output"]
OnFail = Literal["retry", "raise", "fix", "human"]
HookName = Literal[
    "before_agent",
    "after_agent",
    "before_model",
    "after_model",
    "before_tool",
    "after_tool",
    "recall",
    "remember",
]
# The two that an agent's semantic memory stands behind.
MEMORY_HOOKS: tuple[HookName, ...] = ("recall", "remember")
HOOKS: tuple[HookName, ...] = (
    "before_agent",
    "after_agent",
    "before_model",
    "after_model",
    "before_tool",
    "after_tool",
)
OnChildFailure = Literal["fail", "skip", "wait"]
OnBreach = Literal["stop", "ask", "downgrade", "finish"]


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a failed tool call is tried again.

    Attributes:
        max_attempts: attempts in all, the first included; 1 means never again.
        delay_ms: the wait before the second attempt.
        backoff: how the wait grows: fixed, linear (n times), exponential (doubles).
        max_delay_ms: the wait never grows over this.
        jitter: the share of the wait that is random, 0 to 1.
    """

    max_attempts: int = 3
    delay_ms: int = 1_000
    backoff: Backoff = "exponential"
    max_delay_ms: int = 60_000
    jitter: float = 0.2


class GuardrailDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A check on what goes into an agent or a tool, or comes out.

    Attributes:
        kind: `function` and `external` run on a worker (function `@guard.NAME`), `regex` in the core, `llm` asks a
            model in the server.
        on_fail: `retry` (the model is told why, and tries again), `raise` (the execution fails), `fix` (the
            check's own text takes the place), `human` (a person decides).
        max_retries: how often `retry` is done before it counts as `raise`.
        patterns: of `regex`, in RE2 syntax: mode `block` fails when one is found, `allow` when none is.
        message: what the model or the caller is told.
        model: of `llm`: `provider/model`, with its `base_url` if any; `policy` is what it judges by.
    """

    name: str
    kind: Literal["function", "external", "regex", "llm"] = "function"
    position: Position = "output"
    on_fail: OnFail = "retry"
    max_retries: int = 3
    patterns: tuple[str, ...] = ()
    mode: Literal["block", "allow"] = "block"
    message: str = ""
    model: str = ""
    base_url: str | None = None
    policy: str = ""
    max_tokens: int | None = None


class MemoryDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an agent remembers of the conversation.

    Attributes:
        messages: `{"role": "user" | "assistant" | "system", "content": text}`, before everything else.
        max_messages: how many messages of the conversation a model is shown at most; None: all.
        max_tokens: how many tokens of them; None: no limit.
    """

    messages: tuple[dict[str, Any], ...] = ()
    max_messages: int | None = None
    max_tokens: int | None = None


class BudgetDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an execution and all below it may use. None: no limit.

    Attributes:
        max_cost_usd: money, by the price table.
        on_breach: `stop`, `ask` a person, `downgrade` to `downgrade_model`, or `finish` with what there is.
        prices: US dollars a million tokens, `{"provider/model": {"input": 1.0, "output": 2.0}}`, over the
            built-in table.
    """

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_model_calls: int | None = None
    max_tool_calls: int | None = None
    on_breach: OnBreach = "stop"
    downgrade_model: str | None = None
    prices: dict[str, dict[str, float]] = {}


class ToolDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tool as data.

    Attributes:
        kind: `worker`: a function in a worker of the user's; `agent`: a child execution of `agent`; `human`: a person
            answers; `message`: the next message that is sent to the execution.
        batch_size: of `message`: how many messages are taken at once, at most.
        blocking: of `message`: whether to wait for one; otherwise none is an answer too.
        input_schema: JSON Schema of type object.
        approval_required: a person must agree to each call.
        timeout_ms: limit of one attempt; None: no limit.
        max_calls: calls allowed in one execution; None: no limit.
        on_unknown: what happens when an attempt may or may not have taken effect (its worker died):
            `retry` (with the same idempotency key; ten lost attempts are as `fail`), `ask` a person, or `fail`.
    """

    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    kind: Literal["worker", "agent", "human", "message"] = "worker"
    approval_required: bool = False
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()
    max_calls: int | None = None
    on_unknown: OnUnknown = "retry"
    agent: Optional["AgentDefinition"] = None
    guardrails: tuple[GuardrailDefinition, ...] = ()
    batch_size: int = 1
    blocking: bool = True


class PrefilledCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call that is made before the model is first asked."""

    tool: str
    arguments: dict[str, Any] = {}


class OutputDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The type that the answer must have: `name` for people, `schema` a JSON Schema."""

    name: str
    schema: dict[str, Any]


class AgentDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An agent as data. Units: `_ms` milliseconds; `max_tokens` tokens of one answer.

    Attributes:
        v: version of this format; see `DEFINITION_VERSION`. Always written.
        model: `provider/model`.
        model_settings: what only the provider understands (the mock model's script among it).
        timeout_ms: limit of the whole execution, waiting included; 0: no limit.
        output_retries: how often a malformed answer is asked for again.
        model_timeout_ms: limit of one model call.
        external: only the name counts: what is deployed under it when it is needed.
        description: what the agent is for, as other agents are told.
        agents: sub-agents, and `strategy` how they work together.
        router: of the strategy router: the agent that picks; or `router_function`, the function `@router`.
        synthesize: whether the team's own model sums up what its agents said; None: as the strategy does by itself,
            which is yes for handoff and no for all others.
        on_child_failure: of parallel: `fail` with the first, `skip` it, or `wait` for all and then fail.
        transitions: who may follow whom, by name.
        handoffs: conditions of swarm, in order.
        gate: of a stage of sequential: whether the next stage begins.
        introduction: what the agent says of itself at the beginning of a conversation.
        planner, fallback: of plan_execute; `fallback_max_turns` limits the latter, `planner_context` are texts for
            the former, `plan` is a fixed plan (see `core.machines.plan_steps`).
        guardrails: on the agent's input and output.
        termination: data that ends the loop; `stop_when` says that the function `@stop_when` is asked too.
        required_tools: tools that must have been called before an answer is taken.
        include_contents: `none`: the agent sees its own input only, not the conversation before.
        hooks: which of the functions `@before_agent`, ... are there; `@recall` gives what a memory has about the input,
            `@remember` keeps the exchange.
        instructions_function: the function `@instructions` is asked for them at the beginning of each execution.
        context_window: tokens of the conversation at which it is condensed; None: never.
        prefill: calls made before the first turn.
        masked_fields: names of fields of JSON objects whose values no reader of executions, events and approvals is
            shown; the journal, the model and the workers have them.
        budget: what the execution and all below it may use.
    """

    name: str
    model: str = ""
    v: int = DEFINITION_VERSION
    base_url: str | None = None
    instructions: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    output: OutputDefinition | None = None
    max_turns: int = 25
    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = None
    thinking_budget_tokens: int | None = None
    model_settings: dict[str, Any] = {}
    timeout_ms: int = 0
    model_timeout_ms: int = 600_000
    model_max_attempts: int = 5
    output_retries: int = 3
    metadata: dict[str, Any] = {}
    external: bool = False
    description: str = ""
    agents: tuple["AgentDefinition", ...] = ()
    strategy: StrategyName = "handoff"
    router: Optional["AgentDefinition"] = None
    router_function: bool = False
    synthesize: bool | None = None
    on_child_failure: OnChildFailure = "fail"
    transitions: dict[str, tuple[str, ...]] = {}
    handoffs: tuple[Handoff, ...] = ()
    gate: Gate | None = None
    introduction: str = ""
    planner: Optional["AgentDefinition"] = None
    fallback: Optional["AgentDefinition"] = None
    fallback_max_turns: int | None = None
    planner_context: tuple[str, ...] = ()
    plan: dict[str, Any] | None = None
    guardrails: tuple[GuardrailDefinition, ...] = ()
    memory: MemoryDefinition | None = None
    termination: Condition | None = None
    stop_when: bool = False
    required_tools: tuple[str, ...] = ()
    include_contents: Literal["default", "none"] = "default"
    hooks: tuple[HookName, ...] = ()
    instructions_function: bool = False
    context_window: int | None = None
    prefill: tuple[PrefilledCall, ...] = ()
    masked_fields: tuple[str, ...] = ()
    budget: BudgetDefinition | None = None
