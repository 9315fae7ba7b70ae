"""Histories through the handle and the runtime, on an embedded server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Agent, AgentRuntime, ApiError, ExecutionDiff, ExecutionError, Status, tool
from perdure.testing import MockModel, call, text

RAN: list[str] = []


@tool(retry_count=0)
def look(order: str) -> dict[str, str]:
    """Looks an order up."""
    RAN.append(order)
    return {"order": order, "status": "sent"}


AGENT = Agent(
    "support", MockModel([call("look", order="A"), text("It is {result:look.status}")]), tools=[look]
)
CURIOUS = Agent(
    "support", MockModel([call("look", order="Z"), text("Told: {result:look.code}")]), tools=[look]
)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[AgentRuntime]:
    """An embedded runtime with a directory of its own."""
    RAN.clear()
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as opened:
        yield opened


def test_a_fork_with_an_edited_result(runtime: AgentRuntime):
    """The handle of the new execution gives its answer; the tool is not run again."""
    handle = runtime.start(AGENT, "Where is A?")
    assert handle.join(20).output == "It is sent"
    new = handle.fork(at="t1.c0", edit={"result": {"status": "lost"}})
    assert new.execution_id != handle.execution_id
    assert new.agent is AGENT
    assert new.join(20).output == "It is lost"
    assert RAN == ["A"]
    found = runtime.diff(handle, new)
    assert isinstance(found, ExecutionDiff)
    assert (found.first, found.same_output, found.identical) == ("t1.c0", False, False)
    told = str(found)
    for words in (
        "= t1.m",
        "- t1.c0",
        "+ t1.c0",
        "lost",
        "They part at t1.c0.",
        f"fork of {handle.execution_id}",
    ):
        assert words in told
    assert found.to_dict()["rows"][1]["right"]["outcome"] == {"status": "lost"}


def test_a_replay_with_another_agent_reports_what_was_not_recorded(runtime: AgentRuntime):
    """No tool runs; the model is told E0431; the difference names the call."""
    old = runtime.run(AGENT, "Where is A?", timeout=20)
    handle = runtime.start(AGENT, "Where is A?")
    handle.join(20)
    same = handle.replay()
    assert same.join(20).output == "It is sent"
    assert runtime.diff(handle, same).identical
    RAN.clear()
    new = handle.replay(agent=CURIOUS)
    assert new.join(20).output == "Told: E0431"
    assert RAN == []
    found = runtime.diff(old, new.execution_id)
    assert found.not_recorded == ("t1.c0",)
    assert "Not recorded: t1.c0." in str(found)
    live = handle.replay(agent=CURIOUS, on_missing="live")
    live.join(20)
    assert RAN == ["Z"]


def test_a_rerun_asks_again(runtime: AgentRuntime):
    """The same request, another prompt, another agent, what is deployed now."""
    handle = runtime.start(AGENT, "Where is A?")
    handle.join(20)
    assert handle.rerun().join(20).output == "It is sent"
    assert handle.rerun("And B?").join(20).messages[0]["parts"][0]["text"] == "And B?"
    assert RAN == ["A", "A", "A"]
    runtime.deploy(Agent("support", MockModel([text("New.")])))
    assert handle.rerun(plan="current").join(20).output == "New."
    assert handle.rerun(agent=Agent("other", MockModel([text("Other.")]))).join(20).output == "Other."


def test_a_retry_of_what_was_cancelled(runtime: AgentRuntime):
    """It goes on; what has not failed is refused."""
    slow = Agent("slow", MockModel([call("look", order="A"), text("Done.", delay_ms=500)]), tools=[look])
    handle = runtime.start(slow, "Go")
    while not any(e.kind == "tool_completed" for e in handle.events()):
        asyncio.run(asyncio.sleep(0.01))
    handle.cancel("by mistake")
    assert handle.join(20).status == Status.CANCELLED
    assert handle.retry().join(20).output == "Done."
    assert RAN == ["A"]
    done = runtime.start(AGENT, "Where is A?")
    done.join(20)
    with pytest.raises(ExecutionError) as refused:
        done.retry()
    assert refused.value.code == "E0433"


def test_an_edit_that_is_none_is_refused(runtime: AgentRuntime):
    """E0605 says what an edit may have."""
    handle = runtime.start(AGENT, "Where is A?")
    handle.join(20)
    with pytest.raises(ApiError, match="The edit is not one"):
        handle.fork(edit={"colour": "red"})
    with pytest.raises(ExecutionError) as refused:
        handle.fork(at="t9.m")
    assert refused.value.code == "E0432"


def test_the_asynchronous_twins(tmp_path: Path):
    """Each method has one."""

    async def work() -> None:
        async with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as runtime:
            handle = await runtime.start_async(AGENT, "Where is A?")
            await handle.join_async(20)
            for made in (
                await handle.rerun_async(),
                await handle.fork_async(at=1),
                await handle.replay_async(),
            ):
                assert (await made.join_async(20)).output == "It is sent"
                assert (await runtime.diff_async(handle, made)).identical
            with pytest.raises(ExecutionError):
                await handle.retry_async()

    asyncio.run(work())
