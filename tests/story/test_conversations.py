"""Teams that talk in turns, and what ends them: limits, conditions, functions of the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Agent,
    AgentRuntime,
    MaxMessageTermination,
    StopMessageTermination,
    TerminationCondition,
    TextMentionTermination,
    TokenUsageTermination,
    tool,
)
from perdure.testing import MockModel, call
from tests.story.golden_log import hold
from tests.story.stage import SOON_S


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentRuntime]:
    """An embedded runtime for the whole file."""
    home: Path = tmp_path_factory.mktemp("home")
    with AgentRuntime(embedded=True, data_dir=home / "data", home=home) as opened:
        yield opened


def talker(name: str, **options: Any) -> Agent:
    """An agent that numbers what it says."""
    return Agent(name, MockModel([f"{name}{n}" for n in range(1, 9)]), **options)


def table(strategy: str = "round_robin", **options: Any) -> Agent:
    """Three that talk."""
    return Agent("table", agents=[talker("a"), talker("b"), talker("c")], strategy=strategy, **options)


def test_round_robin(runtime: AgentRuntime):
    """In turn, the first one first, until the limit of turns; the last thing that was said is the answer."""
    result = runtime.run(table(max_turns=4), "Talk.", timeout=SOON_S)
    assert (result.output, result.finish_reason) == ("a2", "max_turns")
    hold(runtime, result.execution_id, "round_robin")


def test_random(runtime: AgentRuntime):
    """Each turn is drawn and recorded; another execution draws otherwise."""
    outputs = {str(runtime.run(table("random", max_turns=3), "Talk.").output) for _ in range(8)}
    assert len(outputs) > 1
    alone = Agent("solo", agents=[talker("a")], strategy="random", max_turns=2)
    result = runtime.run(alone, "Talk.", timeout=SOON_S)
    assert result.output == "a2"
    hold(runtime, result.execution_id, "random")


def test_who_may_follow_whom(runtime: AgentRuntime):
    """The next in turn who may follow goes on; when nobody may, it is over."""
    allowed = {"a": ["c"], "c": ["b"], "b": []}
    result = runtime.run(table(allowed_transitions=allowed), "Talk.", timeout=SOON_S)
    assert (result.output, result.finish_reason) == ("b1", "done")
    hold(runtime, result.execution_id, "transitions")


ENDS: list[tuple[TerminationCondition, str]] = [
    (TextMentionTermination("b2"), "b2"),
    (TextMentionTermination("B2", case_sensitive=True) | MaxMessageTermination(6), "c2"),
    (StopMessageTermination("c1"), "c1"),
    (MaxMessageTermination(2), "b1"),
    (TextMentionTermination("a2") | MaxMessageTermination(2), "b1"),
    (TextMentionTermination("a") & MaxMessageTermination(2), "a2"),
    ((TextMentionTermination("b1") & MaxMessageTermination(3)) | TextMentionTermination("c2"), "c2"),
    (TokenUsageTermination(max_completion_tokens=1), "a1"),
    (TokenUsageTermination(max_total_tokens=10_000) | StopMessageTermination("a2"), "a2"),
]


@pytest.mark.parametrize(("condition", "last"), ENDS, ids=lambda value: str(value)[:60])
def test_conditions_end_a_conversation(runtime: AgentRuntime, condition: TerminationCondition, last: str):
    """After the turn that meets them, alone and put together, with no worker asked."""
    result = runtime.run(table(termination=condition), "Talk.", timeout=SOON_S)
    assert (result.output, result.finish_reason) == (last, "termination")


def test_the_log_of_a_condition(runtime: AgentRuntime):
    """Nothing but the turns is in it: the condition is data."""
    condition = TextMentionTermination("b1") | MaxMessageTermination(9)
    result = runtime.run(table(termination=condition), "Talk.", timeout=SOON_S)
    hold(runtime, result.execution_id, "termination")


def test_a_function_ends_a_conversation(runtime: AgentRuntime):
    """`stop_when` is asked after each turn, with what was said; its yes ends it."""
    seen: list[dict[str, Any]] = []

    def enough(given: dict[str, Any]) -> bool:
        seen.append(given)
        return given["iteration"] == 2

    result = runtime.run(table(stop_when=enough), "Talk.", timeout=SOON_S)
    assert (result.output, result.finish_reason) == ("b1", "termination")
    assert [(given["result"], given["iteration"]) for given in seen] == [("a1", 1), ("b1", 2)]
    assert seen[1]["messages"][-1] == {"author": "b", "text": "b1"}
    hold(runtime, result.execution_id, "stop_when")


@tool(retry_count=0)
def count(n: int) -> int:
    """Count on."""
    return n + 1


def test_a_function_ends_the_loop_of_one_agent(runtime: AgentRuntime):
    """It is asked after each turn of tools, and sees their results."""
    seen: list[dict[str, Any]] = []

    def enough(given: dict[str, Any]) -> bool:
        seen.append(given)
        return given["iteration"] == 2

    counter = Agent(
        "counter",
        MockModel([{**call("count", n=n), "text": f"at {n}"} for n in range(5)]),
        tools=[count],
        stop_when=enough,
    )
    result = runtime.run(counter, "Count.", timeout=SOON_S)
    assert (result.output, result.finish_reason) == ("at 1", "termination")
    assert seen[0]["messages"][-1] == {"role": "tool", "text": "count: 1"}
    hold(runtime, result.execution_id, "stop_when_alone")


def test_a_stop_function_that_fails(runtime: AgentRuntime):
    """What it cannot say is no yes and no no: the execution fails and names it."""

    def enough(given: dict[str, Any]) -> Any:
        return "perhaps"

    result = runtime.run(table(stop_when=enough), "Talk.", timeout=SOON_S)
    assert result.error is not None
    assert result.error.code == "E0417"
    assert "@stop_when" in str(result.error)


def test_introductions(runtime: AgentRuntime):
    """Who is there is told to all who take part, before the first word."""
    team = Agent(
        "table",
        agents=[Agent("a", "mock/echo", introduction="I write."), talker("b", introduction="I read.")],
        strategy="round_robin",
        max_turns=1,
    )
    output = str(runtime.run(team, "Talk.", timeout=SOON_S).output)
    assert output == "Taking part in this conversation:\n[a]: I write.\n[b]: I read.\n\nTalk."


def test_a_conversation_summed_up(runtime: AgentRuntime):
    """With `synthesize=True` the team's own model has the last word, over all that was said."""
    team = Agent(
        "table",
        MockModel(["in short"]),
        agents=[talker("a"), talker("b")],
        strategy="round_robin",
        max_turns=2,
        synthesize=True,
    )
    result = runtime.run(team, "Talk.", timeout=SOON_S)
    assert result.output == "in short"
    hold(runtime, result.execution_id, "round_robin_sum")
