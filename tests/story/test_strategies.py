"""Teams, strategy by strategy, as a user has them: what comes out, and the whole log of what happened.

Everything runs in this process through the front door; the models are scripts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Agent,
    AgentHandle,
    AgentResult,
    AgentRuntime,
    OnCondition,
    OnTextMention,
    OnToolResult,
    Strategy,
    TextGate,
    agent_tool,
    scatter_gather,
    tool,
)
from perdure.testing import MockModel, call, calls, text
from tests.story.golden_log import hold
from tests.story.stage import SOON_S, until


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentRuntime]:
    """An embedded runtime for the whole file."""
    home: Path = tmp_path_factory.mktemp("home")
    with AgentRuntime(embedded=True, data_dir=home / "data", home=home) as opened:
        yield opened


def says(name: str, *said: Any, **options: Any) -> Agent:
    """An agent that says these things, one a turn."""
    return Agent(name, MockModel(said), **options)


def played(runtime: AgentRuntime, agent: Agent, name: str, prompt: str = "Tell me of tea.") -> AgentResult:
    """The result of an agent, whose log is as the golden one."""
    result = runtime.run(agent, prompt, timeout=SOON_S)
    hold(runtime, result.execution_id, name)
    return result


@tool(retry_count=0)
def look(what: str) -> str:
    """Look something up."""
    return f"{what} is a plant"


# Handoff ----------------------------------------------------------------------------------------------------


def test_handoff_and_a_sum_of_it(runtime: AgentRuntime):
    """The lead hands over to one of its agents, hears its answer, and speaks last."""
    lead = says(
        "lead",
        call("transfer_to_botanist", note="What is tea?"),
        "The botanist says: {result:transfer_to_botanist}",
        agents=[says("botanist", "a plant"), says("trader", "a good")],
    )
    assert played(runtime, lead, "handoff").output == "The botanist says: a plant"


def test_handoff_without_a_sum(runtime: AgentRuntime):
    """With `synthesize=False` the agent that was handed over to has the last word."""
    lead = says(
        "lead", call("transfer_to_botanist"), "never", agents=[says("botanist", "a plant")], synthesize=False
    )
    result = played(runtime, lead, "handoff_alone")
    assert (result.output, result.finish_reason) == ("a plant", "handoff")


def test_handoff_with_tools_of_its_own(runtime: AgentRuntime):
    """Tools and agents of one lead, in one turn."""
    lead = says(
        "lead",
        calls(call("look", what="tea"), call("transfer_to_trader")),
        "{result:look}, and {result:transfer_to_trader}",
        tools=[look],
        agents=[says("trader", "a good")],
    )
    assert played(runtime, lead, "handoff_with_tools").output == "tea is a plant, and a good"


def test_required_tools(runtime: AgentRuntime):
    """An answer before the tool was called is not taken: the model is told, and calls it."""
    agent = says(
        "careful",
        "I know it.",
        call("look", what="tea"),
        "{result:look}",
        tools=[look],
        required_tools=[look],
    )
    result = played(runtime, agent, "required_tools")
    assert result.output == "tea is a plant"
    assert "you must call: look" in str(result.messages)


# Pipelines --------------------------------------------------------------------------------------------------


def test_sequential(runtime: AgentRuntime):
    """Each stage is given the request and what the stage before made of it; the last one's answer is the team's."""
    team = Agent(
        "pipeline",
        agents=[says("draft", "tea is wet"), Agent("echo_stage", "mock/echo")],
        strategy=Strategy.SEQUENTIAL,
    )
    output = played(runtime, team, "sequential").output
    assert output == "Tell me of tea.\n\nWhat draft made of it so far:\ntea is wet"


def test_a_pipeline_by_arrows(runtime: AgentRuntime):
    """`a >> b >> c` is the same in short."""
    pipeline = says("one", "first") >> says("two", "second") >> says("three", "third")
    assert played(runtime, pipeline, "pipeline").output == "third"


def test_a_gate_that_is_a_text(runtime: AgentRuntime):
    """The text in a stage's output ends the pipeline with it."""
    pipeline = says("one", "STOP: no tea", gate=TextGate("STOP")) >> says("two", "never")
    result = played(runtime, pipeline, "gate_text")
    assert (result.output, result.finish_reason) == ("STOP: no tea", "gate")


def test_a_gate_that_is_a_function(runtime: AgentRuntime):
    """A function of yours says whether to go on: here it does after the first stage, and not after the second."""
    opens = iter([True, False])
    gates: list[Any] = []

    def gate(given: dict[str, Any]) -> bool:
        gates.append(given["result"])
        return next(opens)

    pipeline = says("one", "a", gate=gate) >> says("two", "b", gate=gate) >> says("three", "never")
    result = played(runtime, pipeline, "gate_function")
    assert (result.output, result.finish_reason, gates) == ("b", "gate", ["a", "b"])


# All at once ------------------------------------------------------------------------------------------------


def test_parallel(runtime: AgentRuntime):
    """All get the request at once; the answers stand by name, in the order of the team and not of the clock."""
    team = Agent(
        "panel",
        agents=[says("slow", text("one", delay_ms=60)), says("fast", "two")],
        strategy=Strategy.PARALLEL,
    )
    assert played(runtime, team, "parallel").output == "[slow]: one\n\n[fast]: two"


def test_parallel_and_a_sum_of_it(runtime: AgentRuntime):
    """With `synthesize=True` the team's own model makes one answer of them."""
    team = says(
        "panel",
        "one and two",
        agents=[says("slow", text("one", delay_ms=60)), says("fast", "two")],
        strategy=Strategy.PARALLEL,
        synthesize=True,
    )
    assert played(runtime, team, "parallel_sum").output == "one and two"


@pytest.mark.parametrize(
    ("choice", "status"), [("skip", "completed"), ("wait", "failed"), ("fail", "failed")]
)
def test_parallel_when_one_fails(runtime: AgentRuntime, choice: Any, status: str):
    """The team's choice: leave it out, wait for the others and fail, or fail at once."""
    broken = says("broken", {"fail": {"code": "E0204", "times": 99}})
    team = Agent("panel", agents=[broken, says("fine", "two")], strategy="parallel", on_child_failure=choice)
    result = runtime.run(team, "Go", timeout=SOON_S)
    assert result.status.value == status
    if choice == "skip":
        assert result.output == "[fine]: two"
    if status == "failed":
        assert result.error is not None
        assert result.error.code == "E0418"


def test_scatter_gather(runtime: AgentRuntime):
    """One agent divides the problem; each part is an execution of the worker; it joins what they found."""
    parts = [call("reader", request=f"part {n}") for n in range(3)]
    team = scatter_gather("divider", Agent("reader", "mock/echo"), model=MockModel([calls(*parts), "joined"]))
    result = played(runtime, team, "scatter_gather")
    assert result.output == "joined"
    assert all(f"part {n}" in str(result.messages) for n in range(3))


def test_an_agent_as_a_tool(runtime: AgentRuntime):
    """A call of it is an execution of its own, below the caller's, which sees nothing but the request."""
    expert = agent_tool(Agent("expert", "mock/echo", description="Knows."))
    lead = says("lead", call("expert", request="What is tea?"), "{result:expert}!", tools=[expert])
    assert played(runtime, lead, "agent_tool").output == "What is tea?!"


# Routers ----------------------------------------------------------------------------------------------------


def test_a_router_that_is_an_agent(runtime: AgentRuntime):
    """It is held to the names of the agents, and says whether one answer is enough."""
    picker = says("picker", {"json": {"agent": "trader", "final": True}})
    team = Agent(
        "desk",
        agents=[says("botanist", "a plant"), says("trader", "a good")],
        strategy="router",
        router=picker,
    )
    assert played(runtime, team, "router_agent").output == "a good"


def test_a_router_that_is_a_function_of_the_prompt(runtime: AgentRuntime):
    """It picks once, by the prompt alone."""
    team = Agent(
        "desk",
        agents=[says("botanist", "a plant"), says("trader", "a good")],
        strategy="router",
        router=lambda prompt: "trader" if "sell" in prompt else "botanist",
    )
    assert played(runtime, team, "router_function").output == "a plant"


def test_a_router_that_is_a_function_of_the_conversation(runtime: AgentRuntime):
    """It is asked again after each answer, until it says that it is done."""
    seen: list[str] = []

    def route(prompt: str, conversation: str, turn: int) -> str | None:
        seen.append(conversation)
        return {1: "botanist", 2: "trader"}.get(turn)

    team = Agent(
        "desk",
        agents=[says("botanist", "a plant"), says("trader", "a good")],
        strategy="router",
        router=route,
    )
    result = played(runtime, team, "router_conversation")
    assert (result.output, result.finish_reason) == ("a good", "done")
    assert "[botanist]: a plant" in seen[1]
    assert "[trader]: a good" in seen[2]


# Swarm --------------------------------------------------------------------------------------------------------


def test_swarm_by_tools(runtime: AgentRuntime):
    """Whoever speaks hands over by a tool; who does not has the last word."""
    team = Agent(
        "floor",
        agents=[
            says("front", {**call("transfer_to_back", note="a refund"), "text": "One moment."}),
            says("back", "It is refunded."),
        ],
        strategy="swarm",
    )
    assert played(runtime, team, "swarm_tool").output == "It is refunded."


def test_swarm_by_a_mention(runtime: AgentRuntime):
    """A text in what was said last brings in another agent."""
    team = Agent(
        "floor",
        agents=[says("front", "That is a REFUND."), says("back", "It is refunded.")],
        strategy="swarm",
        handoffs=[OnTextMention("back", "refund")],
        allowed_transitions={"front": ["back"], "back": []},
    )
    assert played(runtime, team, "swarm_mention").output == "It is refunded."


def test_swarm_by_the_result_of_a_tool(runtime: AgentRuntime):
    """A tool's result with the text brings in another agent when its caller has spoken."""
    team = Agent(
        "floor",
        agents=[
            says("front", call("look", what="tea"), "I looked.", tools=[look]),
            says("back", "It is a plant."),
        ],
        strategy="swarm",
        handoffs=[OnToolResult("back", "look", "a plant")],
    )
    assert played(runtime, team, "swarm_result").output == "It is a plant."


def test_swarm_by_a_function(runtime: AgentRuntime):
    """A function of yours is asked after each turn who may take over."""
    asked: list[str] = []

    def wants_back(given: dict[str, Any]) -> bool:
        asked.append(given["agent"])
        return given["agent"] == "front"

    team = Agent(
        "floor",
        agents=[says("front", "Hm."), says("back", "Done.")],
        strategy="swarm",
        handoffs=[OnCondition("back", wants_back)],
    )
    assert played(runtime, team, "swarm_function").output == "Done."
    assert asked == ["front"]


# A person -----------------------------------------------------------------------------------------------------


def pick(handle: AgentHandle, answer: str) -> None:
    """Wait until a person is asked, and answer for it."""
    until(lambda: handle.get_status().pending_tool, "a person to be asked")
    handle.respond({"agent": answer}, by="ann")


def test_manual(runtime: AgentRuntime):
    """A person picks who speaks, sees what was said, and says when it is enough."""
    team = Agent("table", agents=[says("a", "from a"), says("b", "from b")], strategy=Strategy.MANUAL)
    handle = runtime.start(team, "Talk.")
    pick(handle, "b")
    pick(handle, "a")
    pick(handle, "DONE")
    result = handle.join(SOON_S)
    assert (result.output, result.finish_reason) == ("from a", "done")
    hold(runtime, handle.execution_id, "manual")


# Agents elsewhere, and deep -----------------------------------------------------------------------------------


def test_an_agent_by_name(runtime: AgentRuntime):
    """Only its name is in the team: what is deployed under it does the work."""
    runtime.deploy(says("weather_desk", "sunny"))
    team = Agent("team", agents=[says("first", "hello"), Agent("weather_desk")], strategy="sequential")
    assert played(runtime, team, "external").output == "sunny"


def test_an_agent_by_a_name_that_nobody_has(runtime: AgentRuntime):
    """The team fails and says what to deploy."""
    team = Agent("team", agents=[says("first", "hello"), Agent("nobody_here")], strategy="sequential")
    result = runtime.run(team, "Go", timeout=SOON_S)
    assert result.error is not None
    assert result.error.code == "E0418"
    assert "nobody_here" in str(result.error)


def test_a_team_of_teams_ten_levels_deep(runtime: AgentRuntime):
    """Teams of all kinds within one another; the answer comes up through all of them."""
    team = says("deepest", "from the ground")
    for level, strategy in enumerate(["sequential", "parallel", "round_robin", "swarm", "random"] * 2):
        options: dict[str, Any] = {"max_turns": 1} if strategy in ("round_robin", "random") else {}
        team = Agent(f"level_{level}", agents=[team], strategy=strategy, **options)
    result = played(runtime, team, "ten_levels")
    assert str(result.output).endswith("from the ground")
