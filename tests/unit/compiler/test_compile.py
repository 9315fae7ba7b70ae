"""From a definition to a plan."""

from typing import Any

import msgspec
import pydantic
import pytest

from perdure.agents import Agent, agent_definition, tool
from perdure.compiler import compile_definition, decode_definition, plan_hash
from perdure.compiler.compile import MAX_INSTRUCTIONS_BYTES, MAX_TOOLS
from perdure.core.definition import AgentDefinition, OutputDefinition, RetryPolicy, ToolDefinition
from perdure.core.errors import PerdureError
from perdure.core.ids import content_hash
from perdure.core.model import ModelRef, ModelSettings, ToolSpec
from perdure.core.plan import Plan, ToolPlan

SMALL = AgentDefinition(name="a", model="mock/echo")
ANY_OBJECT = {"type": "object", "properties": {"x": {"type": "integer"}}}


class Answer(pydantic.BaseModel):
    text: str


@tool(approval_required=True, timeout_seconds=3, max_calls=2, on_unknown="fail")
def refund(order_id: str, cents: int = 0) -> str:  # noqa: D417 - one parameter without a description
    """Refund.

    Args:
        order_id: As printed.
    """
    return order_id


def with_tool(**fields: Any) -> AgentDefinition:
    """A definition with one tool of these fields."""
    return msgspec.structs.replace(SMALL, tools=(ToolDefinition(**{"name": "t"} | fields),))


def refused(code: str, definition: AgentDefinition) -> PerdureError:
    """The error with which a definition is refused."""
    with pytest.raises(PerdureError) as caught:
        compile_definition(definition)
    assert caught.value.code == code
    return caught.value


def test_a_whole_plan():
    """Every field of the definition has its place in the plan."""
    definition = AgentDefinition(
        name="support",
        model="OpenAI/gpt-5-mini",
        base_url="http://127.0.0.1:1/v1",
        instructions="Be kind.",
        tools=(
            ToolDefinition(
                name="t",
                description="T.",
                input_schema=ANY_OBJECT,
                output_schema={"type": "string"},
                approval_required=True,
                timeout_ms=5,
                retry=RetryPolicy(max_attempts=1),
                max_calls=7,
                on_unknown="ask",
            ),
            ToolDefinition(name="plain"),
        ),
        output=OutputDefinition("o", {"type": "array", "items": {"type": "string"}}),
        max_turns=3,
        max_tokens=9,
        temperature=0.5,
        reasoning_effort="high",
        thinking_budget_tokens=10,
        model_settings={"seed": 1},
        timeout_ms=11,
        model_timeout_ms=12,
        model_max_attempts=2,
        output_retries=1,
        metadata={"team": "a"},
    )
    assert compile_definition(definition).plan == Plan(
        agent="support",
        definition_hash=content_hash(definition),
        model=ModelRef("openai", "gpt-5-mini", "http://127.0.0.1:1/v1"),
        settings=ModelSettings(
            temperature=0.5,
            max_tokens=9,
            reasoning_effort="high",
            thinking_budget_tokens=10,
            timeout_ms=12,
            extra={"seed": 1},
        ),
        instructions="Be kind.",
        tools={
            "t": ToolPlan(ToolSpec("t", "T.", ANY_OBJECT), True, 5, RetryPolicy(max_attempts=1), 7, "ask"),
            "plain": ToolPlan(ToolSpec("plain", "", {"type": "object", "properties": {}})),
        },
        output=OutputDefinition("o", {"type": "array", "items": {"type": "string"}}),
        max_turns=3,
        timeout_ms=11,
        output_retries=1,
        model_retry=RetryPolicy(max_attempts=2),
        metadata={"team": "a"},
    )


def test_from_agent_over_the_wire_to_plan():
    """What the SDK writes is read and compiled, and means the same."""
    agent = Agent("a", "mock/echo", "Do it.", [refund], output_type=Answer)
    plan = compile_definition(decode_definition(msgspec.json.encode(agent_definition(agent)))).plan
    assert plan.tools["refund"].approval_required
    assert plan.tools["refund"].timeout_ms == 3000
    assert plan.tool_specs[0].input_schema == refund.input_schema
    assert plan.output == agent.output


def test_the_hash_is_of_the_content():
    """Equal definitions have equal plans and hashes; any difference shows; the hash survives storage."""
    plan = compile_definition(SMALL).plan
    assert plan_hash(plan) == plan_hash(compile_definition(AgentDefinition(name="a", model="mock/echo")).plan)
    other = msgspec.structs.replace(SMALL, max_turns=24)
    assert plan_hash(plan) != plan_hash(compile_definition(other).plan)
    stored = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert plan_hash(stored) == plan_hash(plan)
    assert len(plan_hash(plan)) == 64


def test_the_order_of_tools_is_kept():
    """Tools reach the model in the order in which they were given."""
    names = ["c", "a", "b"]
    definition = msgspec.structs.replace(SMALL, tools=tuple(ToolDefinition(n) for n in names))
    assert list(compile_definition(definition).plan.tools) == names


@pytest.mark.parametrize(
    "fields",
    [
        {"max_turns": 0},
        {"max_turns": 10_001},
        {"timeout_ms": -1},
        {"model_timeout_ms": 0},
        {"model_max_attempts": 0},
        {"model_max_attempts": 101},
        {"output_retries": -1},
        {"max_tokens": 0},
        {"thinking_budget_tokens": -1},
        {"temperature": 2.5},
        {"temperature": float("nan")},
        {"reasoning_effort": "huge"},
        {"tools": tuple(ToolDefinition(f"t{n}") for n in range(MAX_TOOLS + 1))},
    ],
)
def test_options_out_of_range(fields):
    """E0106 for each number and choice outside of its range."""
    error = refused("E0106", msgspec.structs.replace(SMALL, **fields))
    assert next(iter(fields)) in error.what


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout_ms": 0},
        {"max_calls": 0},
        {"retry": RetryPolicy(max_attempts=0)},
        {"retry": RetryPolicy(max_attempts=101)},
        {"retry": RetryPolicy(delay_ms=-1)},
        {"retry": RetryPolicy(max_delay_ms=-1)},
        {"retry": RetryPolicy(jitter=1.1)},
    ],
)
def test_options_of_tools_out_of_range(fields):
    """E0106, naming the tool."""
    assert "tool 't'" in refused("E0106", with_tool(**fields)).where


def test_names_and_models():
    """E0104, E0103 and E0107, whatever client wrote the definition."""
    refused("E0104", msgspec.structs.replace(SMALL, name="no way"))
    refused("E0104", with_tool(name="a\n"))
    refused("E0104", msgspec.structs.replace(SMALL, output=OutputDefinition("a b", {})))
    refused("E0103", msgspec.structs.replace(SMALL, tools=(ToolDefinition("t"), ToolDefinition("t"))))
    refused("E0107", msgspec.structs.replace(SMALL, model="echo"))


def test_sizes():
    """E0101 for instructions, descriptions, schemas and JSON values over their limits; the limit itself is kept."""
    exact = "é" * (MAX_INSTRUCTIONS_BYTES // 2)
    assert compile_definition(msgspec.structs.replace(SMALL, instructions=exact)).plan.instructions == exact
    refused("E0101", msgspec.structs.replace(SMALL, instructions=exact + "a"))
    refused("E0101", with_tool(description="a" * 100_000))
    refused("E0101", msgspec.structs.replace(SMALL, metadata={"a": "b" * 2**21}))
    refused("E0101", msgspec.structs.replace(SMALL, model_settings={"a": "b" * 2**21}))
    large = {"type": "object", "description": "a" * 2**19}
    refused("E0101", with_tool(input_schema=large))
    refused("E0101", with_tool(output_schema=large))
    refused("E0101", msgspec.structs.replace(SMALL, output=OutputDefinition("o", large)))


def test_schemas_are_checked():
    """E0101 for a bad schema of arguments, of results or of the answer."""
    refused("E0101", with_tool(input_schema={"type": "array"}))
    refused("E0101", with_tool(input_schema={"type": "object", "$ref": "http://example.org/"}))
    refused("E0101", with_tool(output_schema={"type": "strin"}))
    refused("E0101", msgspec.structs.replace(SMALL, output=OutputDefinition("o", {"type": "strin"})))


@pytest.mark.parametrize(
    "definition",
    [
        msgspec.structs.replace(SMALL, instructions="\ud800"),
        msgspec.structs.replace(SMALL, metadata={"a": [{"b": "\ud800"}]}),
        msgspec.structs.replace(SMALL, model_settings={"\ud800": 1}),
        with_tool(description="\ud800"),
        with_tool(input_schema={"type": "object", "description": "\ud800"}),
    ],
)
def test_half_characters(definition):
    """E0611 wherever a text has lone surrogates."""
    refused("E0611", definition)
