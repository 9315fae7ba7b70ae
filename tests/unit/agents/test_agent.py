"""Agents: what is checked when they are made, and what their definitions say."""

import dataclasses
from typing import Any, Literal, TypedDict

import pydantic
import pytest

from perdure.agents import (
    Agent,
    ModelLike,
    ToolDef,
    agent_definition,
    output_definition,
    parse_output,
    tool,
    tool_functions,
)
from perdure.core.definition import AgentDefinition, OutputDefinition, RetryPolicy, ToolDefinition
from perdure.core.errors import DefinitionError, ExecutionError, PerdureError


@tool(
    retry_count=3,
    retry_delay_seconds=90,
    retry_policy="exponential_backoff",
    timeout_seconds=2.5,
    max_calls=4,
)
def search(text: str) -> list[str]:
    """Search."""
    return [text]


@tool(external=True, approval_required=True, on_unknown="ask")
def refund(order_id: str) -> None:
    """Refund."""


class Answer(pydantic.BaseModel):
    text: str
    score: int = 0


@dataclasses.dataclass
class Scripted:
    """A model with settings of its own."""

    model: str = "mock/script"
    settings: Any = dataclasses.field(default_factory=lambda: {"script": ["hello"], "delay_ms": 1})


def refused(code: str, *arguments, **options) -> PerdureError:
    """The error with which an agent of these arguments is refused."""
    with pytest.raises(PerdureError) as caught:
        Agent(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def test_a_whole_definition():
    """Everything that an agent says is in its definition, in the definition's units."""
    agent = Agent(
        "support",
        "openai/gpt-5-mini",
        "Be kind.",
        [search, refund],
        output_type=Answer,
        max_turns=3,
        max_tokens=100,
        temperature=0.5,
        reasoning_effort="low",
        thinking_budget_tokens=1000,
        timeout_seconds=1.5,
        base_url="http://127.0.0.1:8080/v1",
        metadata={"team": ("a", "b")},
        model_settings={"seed": 1},
    )
    assert agent_definition(agent) == AgentDefinition(
        name="support",
        model="openai/gpt-5-mini",
        base_url="http://127.0.0.1:8080/v1",
        instructions="Be kind.",
        tools=(
            ToolDefinition(
                name="search",
                description="Search.",
                input_schema=search.input_schema,
                timeout_ms=2500,
                retry=RetryPolicy(
                    max_attempts=4, delay_ms=90_000, backoff="exponential", max_delay_ms=90_000
                ),
                max_calls=4,
            ),
            ToolDefinition(
                name="refund",
                description="Refund.",
                input_schema=refund.input_schema,
                approval_required=True,
                retry=RetryPolicy(max_attempts=3, delay_ms=2000, backoff="linear", max_delay_ms=60_000),
                on_unknown="ask",
            ),
        ),
        output=OutputDefinition("Answer", output_definition(Answer).schema),
        max_turns=3,
        max_tokens=100,
        temperature=0.5,
        reasoning_effort="low",
        thinking_budget_tokens=1000,
        model_settings={"seed": 1},
        timeout_ms=1500,
        metadata={"team": ["a", "b"]},
    )


def test_the_smallest_agent():
    """Only a name and a model are needed; the rest has defaults."""
    assert agent_definition(Agent("a", "mock/echo")) == AgentDefinition(name="a", model="mock/echo")


def test_a_timeout_that_is_too_small_for_a_unit_is_still_a_limit():
    """A tenth of a millisecond is rounded up: zero would mean no limit."""
    assert agent_definition(Agent("a", "mock/echo", timeout_seconds=0.0001)).timeout_ms == 1


def test_tool_functions_are_those_of_this_process():
    """External tools have no function here."""
    assert tool_functions(Agent("a", tools=[search, refund])) == {"search": search}


def test_model_objects():
    """An object that stands for a model brings its settings; the agent's own win."""
    agent = Agent("a", Scripted(), model_settings={"delay_ms": 5})
    assert isinstance(Scripted(), ModelLike)
    assert agent.model == "mock/script"
    assert agent_definition(agent).model_settings == {"script": ["hello"], "delay_ms": 5}


@pytest.mark.parametrize("model", [5, object(), Scripted(settings=3), Scripted(model=3)])
def test_what_is_no_model(model):
    """E0107 for anything that is neither a text nor a model object."""
    assert refused("E0107", "a", model).where == "agent 'a'"


@pytest.mark.parametrize("model", ["gpt-5", "/x", "openai/"])
def test_models_are_written_as_provider_and_model(model):
    """E0107 at construction for a text that is not provider/model."""
    refused("E0107", "a", model)
    refused("E0107", "a", "openai/x", base_url="ftp://x")


def test_an_agent_without_a_model_has_no_definition():
    """The model may be left out of the agent, but not out of its definition."""
    with pytest.raises(DefinitionError) as caught:
        agent_definition(Agent("a"))
    assert caught.value.code == "E0107"


@pytest.mark.parametrize("name", ["", "1a", "a b", "a\n", None, "a" * 65, "é"])
def test_names(name):
    """E0104 for a name of other characters."""
    refused("E0104", name)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_turns", 0),
        ("max_turns", 1.5),
        ("max_turns", None),
        ("max_turns", True),
        ("max_tokens", 0),
        ("max_tokens", 2**40),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("reasoning_effort", "huge"),
        ("thinking_budget_tokens", -1),
        ("timeout_seconds", -1),
        ("timeout_seconds", None),
        ("metadata", [1]),
        ("metadata", {"a": object()}),
        ("model_settings", {"a": b"x"}),
        ("tools", "search"),
        ("tools", {search}),
        ("instructions", 5),
    ],
)
def test_options_out_of_range(option, value):
    """E0106 at construction, naming the option."""
    assert option in str(refused("E0106", "a", **{option: value}))


def test_two_tools_of_one_name():
    """E0103 says where both of them are."""
    other = tool(lambda text: text, name="search")
    error = refused("E0103", "a", tools=[search, other])
    assert search.where in error.why
    assert other.where in error.why


def test_what_is_no_tool():
    """Functions without @tool, and other values, are refused with what to do."""
    assert "@tool" in refused("E0101", "a", tools=[len]).fix
    assert "@tool" in refused("E0101", "a", tools=["search"]).fix


def test_a_method_needs_its_object():
    """A method decorated in its class must be given through an object."""

    class Shop:
        @tool
        def find(self, text: str) -> str:
            """Find."""
            return text

    assert "obj.find" in refused("E0101", "a", tools=[Shop.find]).fix
    assert Agent("a", tools=[Shop().find]).tools[0].name == "find"


def test_instructions_may_be_a_function():
    """A function is called each time the definition is made."""
    calls = []

    def instructions() -> str:
        calls.append(1)
        return f"call {len(calls)}"

    agent = Agent("a", "mock/echo", instructions)
    assert not calls
    assert agent_definition(agent).instructions == "call 1"
    assert agent_definition(agent).instructions == "call 2"


@pytest.mark.parametrize("function", [lambda: 1 / 0, lambda: None, lambda: 5])
def test_instructions_that_fail(function):
    """E0101 when the function fails or returns something else than a text."""
    with pytest.raises(DefinitionError) as caught:
        agent_definition(Agent("a", "mock/echo", function))
    assert caught.value.code == "E0101"


def test_instructions_of_half_characters():
    """E0611 at construction."""
    refused("E0611", "a", instructions="\ud800")


def test_an_output_type_without_a_schema():
    """E0105 at construction."""
    refused("E0105", "a", output_type=object.__call__)


def test_repr():
    """The representation says what tells agents apart."""
    assert repr(Agent("a")) == "Agent('a')"
    agent = Agent("a", "mock/echo", tools=[search], output_type=Answer)
    assert repr(agent) == "Agent('a', model='mock/echo', tools=[search], output_type=Answer)"


def test_typing_of_tools():
    """A tool is generic in what it takes and gives."""
    assert isinstance(search, ToolDef)


class Row(TypedDict):
    id: int


OUTPUTS: list[tuple[Any, str, Any, Any]] = [
    (Answer, "Answer", {"text": "a"}, Answer(text="a")),
    (list[Answer], "list_Answer", [{"text": "a", "score": 1}], [Answer(text="a", score=1)]),
    (Row, "Row", {"id": 1}, {"id": 1}),
    (Literal["yes", "no"], "Literal_yes_no", "no", "no"),
    (int | None, "int_None", None, None),
    (dict[str, Row], "dict_str_Row", {"a": {"id": 1}}, {"a": {"id": 1}}),
    (str, "str", "a", "a"),
    (
        type("Ü2", (pydantic.BaseModel,), {"__annotations__": {"x": int}, "__module__": __name__}),
        "answer",
        {"x": 1},
        ...,
    ),
]


@pytest.mark.parametrize(("tp", "name", "value", "expected"), OUTPUTS)
def test_output_types(tp, name, value, expected):
    """An output type has a name that providers take, a schema, and reads its JSON."""
    assert output_definition(tp).name == name
    parsed = parse_output(tp, value)
    assert parsed == expected or expected is ...


def test_output_that_does_not_fit():
    """E0410 lists what is wrong by path."""
    with pytest.raises(ExecutionError) as caught:
        parse_output(list[Answer], [{"score": "x"}])
    assert caught.value.code == "E0410"
    assert caught.value.fields["problems"][0] == {"path": "[0].text", "problem": "Field required"}
    with pytest.raises(ExecutionError, match="does not fit"):
        parse_output(int, "x")
