"""What a user does with the testing kit: record a run of a real server, and keep it as a regression test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Agent, AgentRuntime, tool
from perdure.testing import (
    CorrectnessEval,
    EvalCase,
    MockModel,
    call,
    crash_test,
    expect,
    gather,
    mock_run,
    record,
    replay,
    validate_strategy,
)
from tests.story.stage import Stage

asked: list[str] = []


@tool
def stock(item: str) -> int:
    """How many there are."""
    asked.append(item)
    return 3


@pytest.fixture(scope="module")
def runtime(served_stage: Stage) -> Iterator[AgentRuntime]:
    """A runtime over the file's server."""
    with served_stage.runtime() as found:
        yield found


def pipeline(**options: object) -> Agent:
    """A pipeline of two."""
    clerk = Agent(
        "clerk", MockModel([call("stock", item="lamp"), "{result:stock} lamps"]), tools=[stock], **options
    )
    writer = Agent("writer", MockModel(["There are three lamps."]), "Write it nicely.")
    return clerk >> writer


def test_a_run_of_a_server_becomes_a_regression_test(runtime: AgentRuntime, tmp_path: Path):
    """Recorded from a server process, the run is replayed in this one: nothing is called, and a change is found."""
    agent = pipeline()
    result = runtime.run(agent, "How many lamps?")
    whole = gather(result, runtime, agent)
    expect(whole).completed().used_tool("stock").agent_ran("writer")
    validate_strategy(agent, whole)

    for what in (result, result.execution_id, whole):
        record(what, tmp_path / "lamps.jsonl", runtime=runtime)
        before = list(asked)
        report = replay(tmp_path / "lamps.jsonl", agent)
        report.assert_same()
        assert asked == before
    assert not replay(tmp_path / "lamps.jsonl", pipeline(max_turns=1)).same


def test_cases_run_on_a_server(runtime: AgentRuntime):
    """An evaluation with a runtime runs there, teams and all."""
    case = EvalCase("lamps", pipeline(), "How many?", expect_tools=["stock"], expect_output_contains="three")
    suite = CorrectnessEval(runtime).run([case], repeats=2)
    assert suite.all_passed, suite.summary()


def test_the_same_agent_in_process_is_the_same_run(runtime: AgentRuntime):
    """In process and on a server, an agent says, calls and answers the same."""
    agent = pipeline()
    here, there = mock_run(agent, "How many?"), gather(runtime.run(agent, "How many?"), runtime)
    assert [(e.type, e.tool_name, e.content) for e in here.events] == [
        (e.type, e.tool_name, e.content) for e in there.events
    ]
    assert here.output == there.output
    crash_test(agent, "How many?", kill="process")
