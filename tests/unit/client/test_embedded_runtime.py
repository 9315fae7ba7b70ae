"""The runtime in embedded mode: the real server and engine in this process, over the wire protocol."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import (
    Agent,
    AgentEvent,
    AgentHandle,
    AgentRuntime,
    ClientError,
    DefinitionError,
    EventType,
    ExecutionError,
    ModelError,
    Status,
    ToolContext,
    tool,
)
from perdure.testing import MockModel, call, calls, text


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[AgentRuntime]:
    """An embedded runtime with a directory of its own."""
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as opened:
        yield opened


@tool
def lookup(order: str, context: ToolContext) -> dict[str, Any]:
    """Looks an order up."""
    context.state["seen"] = [*context.state.get("seen", []), order]
    return {"order": order, "seen": context.state["seen"]}


@tool(approval_required=True)
async def refund(order: str, amount: float) -> str:
    """Pays money back."""
    return f"refunded {amount:g} for {order}"


SUPPORT = Agent(
    "support",
    MockModel(
        [call("lookup", order="A"), call("lookup", order="B"), text("seen {result:lookup.seen.1}", chunks=3)]
    ),
    tools=[lookup],
)
REFUNDER = Agent(
    "refunder", MockModel([call("refund", order="A", amount=5), text("{result:refund}")]), tools=[refund]
)


def waiting(handle: AgentHandle) -> Any:
    """The status, once the execution waits."""
    for _ in range(500):
        if (status := handle.get_status()).is_waiting:
            return status
        threading.Event().wait(0.01)
    raise AssertionError(handle.get_status())


def test_run_gives_the_answer_and_what_led_to_it(runtime: AgentRuntime):
    """Output, calls, messages, usage and events of an execution with two turns and shared state."""
    seen: list[AgentEvent] = []
    result = runtime.run(SUPPORT, "where is it?", on_event=seen.append)
    assert (result.output, result.status, result.error) == ("seen B", Status.COMPLETED, None)
    assert [c["result"]["seen"] for c in result.tool_calls] == [["A"], ["A", "B"]]
    assert [m["role"] for m in result.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert result.usage.total_tokens > 0
    assert "".join(e.content for e in seen if e.type == EventType.TOKEN) == "seen B"
    assert [e.seq for e in seen if e.seq] == [e.seq for e in result.events]
    assert runtime.run(SUPPORT, "again").output == "seen B"


def test_a_synchronous_call_works_inside_a_running_loop(runtime: AgentRuntime):
    """As in a notebook: the worker serves in its own thread while the caller's loop stands still."""

    async def cell() -> Any:
        return runtime.run(SUPPORT, "hi").output

    assert asyncio.run(cell()) == "seen B"


def test_asynchronous_tools_run_in_the_callers_loop(runtime: AgentRuntime):
    """With `run_async` a tool may use what belongs to the caller's loop; each loop gets its own connection."""
    loops: list[Any] = []

    @tool
    async def where() -> str:
        """Tells its loop."""
        loops.append(asyncio.get_running_loop())
        return "here"

    agent = Agent("loops", MockModel([call("where"), "ok"]), tools=[where])

    async def main() -> None:
        results = await asyncio.gather(*(runtime.run_async(agent, "go") for _ in range(3)))
        assert [r.output for r in results] == ["ok"] * 3
        assert loops == [asyncio.get_running_loop()] * 3

    asyncio.run(main())
    loops.clear()
    asyncio.run(main())
    loops.clear()
    assert runtime.run(agent, "go").output == "ok"
    assert len(loops) == 1


async def test_the_asynchronous_half_alone(tmp_path: Path):
    """Everything from one loop: start, stream, approve, join, shut down."""
    async with AgentRuntime(embedded=True, data_dir=tmp_path) as runtime:
        stream = await runtime.stream_async(REFUNDER, "pay")
        kinds = []
        async for event in stream:
            kinds.append(str(event.type))
            if event.type == EventType.WAITING:
                await AgentHandle(stream.execution_id, runtime).approve_async(event.approval_id)
        assert [k for k in kinds if k != "token"] == [
            "state", "waiting", "approval", "tool_call", "tool_result", "message", "done",
        ]  # fmt: skip
        assert stream.result.output == "refunded 5 for A"
        assert (await stream.get_result_async()).output == "refunded 5 for A"


def test_a_tool_that_blocks_its_loop_runs_once(tmp_path: Path):
    """A blocking call in an asynchronous tool, longer than the lease, neither stops the server nor loses the lease."""
    ran: list[int] = []

    @tool
    async def blocks() -> str:
        """Blocks its loop."""
        ran.append(1)
        time.sleep(1.5)
        return "done"

    agent = Agent("blocking", MockModel([call("blocks"), "{result:blocks}"]), tools=[blocks])
    with AgentRuntime(embedded=True, data_dir=tmp_path, app_options={"lease_ms": 500}) as runtime:
        assert runtime.run(agent, "go").output == "done"
        assert asyncio.run(runtime.run_async(agent, "go")).output == "done"
    assert len(ran) == 2


def test_a_stream_can_be_left_and_taken_up(runtime: AgentRuntime):
    """Leaving the loop leaves the execution running; the next loop goes on after the last event."""
    stream = runtime.stream(SUPPORT, "hi")
    with pytest.raises(ClientError, match="not been read"):
        _ = stream.result
    first = []
    for event in stream:
        first.append(event)
        if event.type == EventType.TOOL_CALL:
            break
    rest = list(stream)
    assert rest[-1].type == EventType.DONE
    seqs = [e.seq for e in first + rest if e.seq]
    assert seqs == sorted(set(seqs))
    assert stream.result.output == "seen B"
    assert stream.events == first + rest
    assert stream.get_result() is stream.result


def test_approve_reject_and_edit(runtime: AgentRuntime):
    """The one approval that waits needs no id; edited arguments run; the agent sees a rejection and goes on."""
    handle = runtime.start(REFUNDER, "pay")
    status = waiting(handle)
    assert status.pending_tool["args"] == {"order": "A", "amount": 5}
    handle.approve(arguments={"order": "A", "amount": 2}, by="eva", reason="partly")
    assert handle.join(timeout=20).output == "refunded 2 for A"
    with pytest.raises(ExecutionError) as caught:
        handle.approve()
    assert caught.value.code == "E0402"

    refused = AgentHandle(runtime.start(REFUNDER, "pay").execution_id, runtime)
    waiting(refused)
    refused.reject("too much", by="bob")
    result = refused.join(timeout=20)
    assert (result.tool_calls[0]["rejected"], result.tool_calls[0]["reason"]) == (True, "too much")
    approval = next(e for e in refused.events() if e.type == EventType.APPROVAL)
    assert (approval.approved, approval.content) == (False, "too much")


def test_several_approvals_must_be_named(runtime: AgentRuntime):
    """E0416 lists them; by id each can be decided, and an id of another execution is refused."""
    both = calls(call("refund", order="A", amount=1), call("refund", order="B", amount=2))
    agent = Agent("two", MockModel([both, "done"]), tools=[refund])
    handle = runtime.start(agent, "pay")
    other = runtime.start(REFUNDER, "pay")
    waiting(other)
    for _ in range(200):
        if len(waiting(handle).waiting_for) == 2:
            break
    with pytest.raises(ExecutionError) as caught:
        handle.approve()
    assert caught.value.code == "E0416"
    ids = caught.value.fields["approvals"]
    with pytest.raises(ExecutionError, match="another execution"):
        other.approve(ids[0])
    handle.approve(ids[0])
    handle.reject("no", ids[1])
    assert handle.join(timeout=20).output == "done"
    other.cancel("enough")
    assert other.join(timeout=20).status is Status.CANCELLED


def test_nothing_to_approve(runtime: AgentRuntime):
    """E0415 while it runs on without asking."""
    handle = runtime.start(Agent("slow", MockModel([text("ok", delay_ms=500)])), "hi")
    with pytest.raises(ExecutionError) as caught:
        handle.approve()
    assert caught.value.code == "E0415"
    assert handle.join(timeout=20).output == "ok"


def test_a_wait_that_is_too_short_says_how_to_go_on(runtime: AgentRuntime):
    """E0705 names the execution, which goes on; from elsewhere it can be joined."""
    agent = Agent("slow", MockModel([text("slow answer", delay_ms=700)]))
    with pytest.raises(ClientError) as caught:
        runtime.run(agent, "hi", timeout=0.1)
    assert caught.value.code == "E0705"
    execution_id = caught.value.fields["execution_id"]
    assert execution_id in caught.value.fix
    assert AgentHandle(execution_id, runtime).join(timeout=20).output == "slow answer"
    with pytest.raises(ClientError) as caught:
        runtime.run(agent, "hi", timeout=0.1, on_event=lambda _: None)
    assert caught.value.code == "E0705"


def test_typed_output(runtime: AgentRuntime):
    """With an `output_type` the result holds an object of it."""

    class Answer(BaseModel):
        city: str
        people: int

    script = [text("not json"), {"json": {"city": "Bonn", "people": 3}}]
    result = runtime.run(Agent("typed", MockModel(script), output_type=Answer), "where?")
    assert result.output == Answer(city="Bonn", people=3)


def test_what_cannot_begin_is_an_error_at_once(runtime: AgentRuntime):
    """An empty prompt, a model without a key, an agent that is not deployed, text that is no text."""
    for prompt in ("", "  "):
        with pytest.raises(ClientError) as empty:
            runtime.run(SUPPORT, prompt)
        assert empty.value.code == "E0704"
    with pytest.raises(ModelError) as provider:
        runtime.run(Agent("a", "nobody/model"), "hi")
    assert provider.value.code == "E0201"
    with pytest.raises(ExecutionError) as unknown:
        runtime.run("nobody", "hi")
    assert unknown.value.code == "E0412"


def test_idempotent_start(runtime: AgentRuntime):
    """The same key is the same execution; for another request it is a conflict."""
    first = runtime.start(SUPPORT, "hi", idempotency_key="k1")
    assert runtime.start(SUPPORT, "hi", idempotency_key="k1").execution_id == first.execution_id
    with pytest.raises(ExecutionError) as caught:
        runtime.start(SUPPORT, "other", idempotency_key="k1")
    assert caught.value.code == "E0413"
    assert first.join(timeout=20).output == "seen B"


def test_deploy_plan_serve_and_run_by_name(runtime: AgentRuntime, caplog: pytest.LogCaptureFixture):
    """A deployed agent runs by its name; while nobody serves its tools the wait says so, and serving lets it go on."""
    planned = runtime.plan(SUPPORT)
    assert planned["worker_tools"] == ["support.lookup"]
    (deployed,) = runtime.deploy(SUPPORT)
    assert (deployed.agent, deployed.version, deployed.plan_hash) == ("support", 1, planned["plan_hash"])
    handle = runtime.start("support", "hi")
    with caplog.at_level(logging.WARNING, "perdure.client"), pytest.raises(ClientError):
        handle.join(timeout=4)
    assert "E0312" in caplog.text
    assert "support.lookup" in caplog.text
    runtime.serve(SUPPORT, blocking=False)
    assert handle.join(timeout=20).output == "seen B"
    with pytest.raises(DefinitionError):
        runtime.serve()


def test_resume_in_another_runtime(tmp_path: Path):
    """An execution that one runtime began and left is gone on with by another one, over the same journal."""
    options: dict[str, Any] = {"embedded": True, "data_dir": tmp_path}
    with AgentRuntime(**options) as first:
        execution_id = first.start(REFUNDER, "pay").execution_id
        waiting(AgentHandle(execution_id, first))
    with AgentRuntime(**options) as second:
        with pytest.raises(ExecutionError, match="refunder"):
            second.resume(execution_id, SUPPORT)
        handle = second.resume(execution_id, REFUNDER)
        assert handle.get_status().is_waiting
        handle.approve()
        assert handle.join(timeout=20).output == "refunded 5 for A"


def test_pause_and_resume(runtime: AgentRuntime):
    """A paused execution begins no new step until it is resumed."""
    began, go_on = threading.Event(), threading.Event()

    @tool
    def step() -> str:
        """Waits for the test."""
        began.set()
        go_on.wait(10)
        return "ok"

    agent = Agent("pausing", MockModel([call("step"), "done"]), tools=[step])
    handle = runtime.start(agent, "go")
    assert began.wait(10)
    handle.pause("lunch")
    go_on.set()
    with pytest.raises(ClientError):
        handle.join(timeout=0.5)
    assert handle.get_status().status is Status.PAUSED
    assert runtime.resume(handle.execution_id, agent).join(timeout=20).output == "done"


def test_two_embedded_servers_cannot_share_a_directory(tmp_path: Path):
    """E0502 from the second one; the first is not harmed, and the second works once the first is closed."""
    options: dict[str, Any] = {"embedded": True, "data_dir": tmp_path}
    second = AgentRuntime(**options)
    with AgentRuntime(**options) as first:
        assert first.run(SUPPORT, "hi").output == "seen B"
        with pytest.raises(Exception, match="E0502"):
            second.run(SUPPORT, "hi")
        assert first.run(SUPPORT, "hi").output == "seen B"
    assert second.run(SUPPORT, "hi").output == "seen B"
    second.shutdown()
    second.shutdown()
