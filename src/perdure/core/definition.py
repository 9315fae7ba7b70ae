"""The definition: an agent as plain data, as it crosses the wire.

`DEFINITION_VERSION` counts up when a field is added or changes its meaning. A server refuses a newer
version (E0102) and a field that it does not know (E0101): a guardrail that is dropped in silence would be
worse than an error.
"""

from typing import Any, Literal

import msgspec

DEFINITION_VERSION = 1

OnUnknown = Literal["retry", "ask", "fail"]
Backoff = Literal["fixed", "linear", "exponential"]


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


class ToolDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tool as data.

    Attributes:
        kind: `worker`: a function in a worker of the user's.
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
    kind: Literal["worker"] = "worker"
    approval_required: bool = False
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()
    max_calls: int | None = None
    on_unknown: OnUnknown = "retry"


class OutputDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The type that the answer must have: `name` for people, `schema` a JSON Schema."""

    name: str
    schema: dict[str, Any]


class AgentDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent as data. Units: `_ms` milliseconds; `max_tokens` tokens of one answer.

    Attributes:
        v: version of this format; see `DEFINITION_VERSION`. Always written.
        model: `provider/model`.
        model_settings: what only the provider understands (the mock model's script among it).
        timeout_ms: limit of the whole execution, waiting included; 0: no limit.
        output_retries: how often a malformed answer is asked for again.
        model_timeout_ms: limit of one model call.
    """

    name: str
    model: str
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
