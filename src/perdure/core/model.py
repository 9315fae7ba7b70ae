"""What is asked of a model and what comes back, in no provider's words."""

from typing import Any, Literal

import msgspec

from perdure.core.messages import Message

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class ModelRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model by provider and name, as `provider/model` says it.

    Attributes:
        provider: canonical provider name, e.g. `openai`, `anthropic`, `mock`.
        name: the provider's own name of the model; may hold slashes.
        base_url: another address of an OpenAI-compatible server.
    """

    provider: str
    name: str
    base_url: str | None = None

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


class ModelSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the model is to answer. None means: the provider's own default.

    Attributes:
        max_tokens: limit of the answer, in tokens.
        timeout_ms: limit of one call.
        extra: what only one provider understands; the mock model reads its script here.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = None
    thinking_budget_tokens: int | None = None
    timeout_ms: int | None = None
    extra: dict[str, Any] = {}


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model sees it; `input_schema` is a JSON Schema of type object."""

    name: str
    description: str
    input_schema: dict[str, Any]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and money of one call, or of a sum of calls. Cached tokens are part of `input_tokens`.

    `cost_micro` is whole micro-dollars (millionths of a US dollar), by the prices of the day of the call: the engine sets
    it when an answer comes in, and what is recorded is never worked out again. `unpriced_calls` is how many calls were of
    a model without a known price; their cost is missing in `cost_micro`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_micro: int = 0
    unpriced_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cost_micro + other.cost_micro,
            self.unpriced_calls + other.unpriced_calls,
        )


class ModelRequest(msgspec.Struct, frozen=True):
    """One call of a model: assembled from the journal by `core.transcript.assemble`.

    `messages` is shared with the assembler and must not be changed; the first `earlier` of them are of earlier executions
    of the session. `attempt` counts from 1.
    `output_schema` is set when the answer must be JSON of that schema; the adapter uses the provider's own
    mode where there is one, and otherwise says it in the instructions. The core validates in any case.
    """

    execution_id: str
    step: str
    attempt: int
    model: ModelRef
    instructions: str
    messages: list[Message]
    tools: tuple[ToolSpec, ...]
    settings: ModelSettings
    output_schema: dict[str, Any] | None = None
    output_name: str | None = None
    earlier: int = 0


class ModelReply(msgspec.Struct, frozen=True):
    """A model's whole answer. `model` is the name that the provider reported."""

    message: Message
    usage: Usage
    finish_reason: FinishReason
    model: str = ""
    response_id: str | None = None


class Delta(msgspec.Struct, frozen=True):
    """A piece of an answer while it streams: text or reasoning text."""

    kind: Literal["text", "reasoning"]
    text: str
