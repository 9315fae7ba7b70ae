"""The plan: a definition with everything resolved and validated; executions are pinned to its hash."""

from typing import Any

import msgspec

from perdure.core.definition import OnUnknown, OutputDefinition, RetryPolicy
from perdure.core.model import ModelRef, ModelSettings, ToolSpec

PLAN_VERSION = 1


class ToolPlan(msgspec.Struct, frozen=True):
    """A tool of the plan's table; the fields mean what they mean in `ToolDefinition`."""

    spec: ToolSpec
    approval_required: bool = False
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()
    max_calls: int | None = None
    on_unknown: OnUnknown = "retry"


class Plan(msgspec.Struct, frozen=True):
    """A compiled definition.

    Attributes:
        definition_hash: SHA-256 (hex) of the definition's canonical JSON.
        agent: the agent's name.
        tools: by name; the order is the definition's.
        model_retry: attempts and waits of a failing model call.
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

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """The tools as the model sees them."""
        return tuple(t.spec for t in self.tools.values())
