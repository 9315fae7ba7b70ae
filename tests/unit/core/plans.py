"""Plans for the tests of the core: an agent with a few tools whose policies differ."""

from typing import Any

from perdure.core.definition import OutputDefinition, RetryPolicy
from perdure.core.model import ModelRef, ModelSettings, ToolSpec
from perdure.core.plan import Plan, ToolPlan

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
AMOUNT = {"type": "object", "properties": {"amount": {"type": ["number", "boolean"]}}, "required": ["amount"]}
TWICE = RetryPolicy(max_attempts=2, delay_ms=1_000, jitter=0)
FORECAST = OutputDefinition(
    "Forecast",
    {"type": "object", "properties": {"degrees": {"type": "integer"}}, "required": ["degrees"]},
)


def tool(name: str, schema: dict[str, Any] = CITY, **policy: Any) -> tuple[str, ToolPlan]:
    """A row of the plan's table of tools."""
    policy.setdefault("retry", TWICE)
    return name, ToolPlan(ToolSpec(name, f"The tool {name}.", schema), **policy)


TOOLS = dict(
    [
        tool("weather"),
        tool("once", max_calls=1),
        tool("refund", AMOUNT, approval_required=True),
        tool("refund_once", AMOUNT, approval_required=True, max_calls=1),
        tool("email", on_unknown="ask"),
        tool("charge", on_unknown="fail"),
        tool("transfer", AMOUNT, approval_required=True, on_unknown="ask"),
    ]
)


def plan(**changed: Any) -> Plan:
    """The plan of the tests; *changed* are fields of `Plan` that differ."""
    fields: dict[str, Any] = {
        "agent": "helper",
        "definition_hash": "d0",
        "model": ModelRef("mock", "m"),
        "settings": ModelSettings(temperature=0.0),
        "instructions": "Be brief.",
        "tools": TOOLS,
        "output": None,
        "max_turns": 5,
        "timeout_ms": 0,
        "output_retries": 1,
        "model_retry": RetryPolicy(max_attempts=3, delay_ms=1_000, jitter=0),
    }
    return Plan(**{**fields, **changed})
