"""Plans for the tests of the core: an agent with a few tools whose policies differ."""

from typing import Any

from perdure.core.definition import OutputDefinition, RetryPolicy, StrategyName
from perdure.core.model import ModelRef, ModelSettings, ToolSpec
from perdure.core.plan import Member, Plan, TeamPlan, ToolPlan

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


REQUEST = {"type": "object", "properties": {"request": {"type": "string"}}, "required": ["request"]}
NOTE = {"type": "object", "properties": {"note": {"type": "string"}}}
QUESTION = {"type": "object", "properties": {"question": {"type": "string"}}}
ANSWER = {"type": "object", "properties": {"answer": {"type": ["string", "null"]}}, "required": ["answer"]}
# Tools that are no function of a worker: another agent, a person.
TEAM_TOOLS = dict(
    [
        tool("research", REQUEST, kind="agent", agent=Member("researcher", "p-researcher")),
        tool(
            "publish",
            REQUEST,
            kind="agent",
            agent=Member("publisher", "p-publisher"),
            approval_required=True,
            max_calls=2,
        ),
        tool("transfer_to_sales", NOTE, kind="transfer", agent=Member("sales", "p-sales")),
        tool("over_to_billing", NOTE, kind="handover", agent=Member("billing")),
        tool("ask_person", QUESTION, kind="human", answer_schema=ANSWER),
        tool("ask_twice", QUESTION, kind="human", answer_schema=ANSWER, max_calls=2),
        tool("ask_boss", QUESTION, kind="human", answer_schema=ANSWER, approval_required=True),
    ]
)


MAILBOX = dict(
    [
        tool("listen", {}, kind="message"),
        tool("glance", {}, kind="message", blocking=False, batch_size=5),
    ]
)


def team(strategy: StrategyName, *members: str | Member, **changed: Any) -> Plan:
    """The plan of a team; *changed* are fields of `TeamPlan` or of `Plan`."""
    listed = tuple(m if isinstance(m, Member) else Member(m, f"p-{m}") for m in members)
    about = {
        k: changed.pop(k) for k in list(changed) if k in TeamPlan.__struct_fields__ and k != "synthesize"
    }
    about["synthesize"] = changed.pop("sums_up", False)
    made = TeamPlan(strategy, listed, **about)
    return plan(**{"agent": "team", "tools": {}, "team": made, "max_turns": 6} | changed)


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
