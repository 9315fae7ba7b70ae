"""What users meet every day: outcomes with a name, retries, limits, cancelling and pausing.

The server is a process; the runtime, and with it the worker, is in this one.
"""

import asyncio
import threading
import time
from collections.abc import Iterator

import pydantic
import pytest

from perdure import (
    Agent,
    AgentHandle,
    AgentRuntime,
    ClientError,
    EventType,
    ExecutionError,
    FinishReason,
    Status,
    ToolContext,
    tool,
)
from perdure.testing import MockModel, call, text
from tests.story.stage import SOON_S, Stage, until


@pytest.fixture(scope="module")
def runtime(served_stage: Stage) -> Iterator[AgentRuntime]:
    """A runtime over the file's server."""
    with served_stage.runtime() as found:
        yield found


class Slow:
    """A tool that runs until it is let go or sees that nobody wants its result any more."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.saw_cancelled = threading.Event()

    @tool(retry_count=0)
    def work(self, context: ToolContext) -> str:
        """Work for long."""
        self.begun.set()
        give_up_at = time.monotonic() + SOON_S
        while not self.let_go.is_set() and time.monotonic() < give_up_at:
            if context.is_cancelled:
                self.saw_cancelled.set()
                return "too late"
            time.sleep(0.01)
        return "worked"


def slow_agent(name: str, slow: Slow, **options: float) -> Agent:
    """An agent that calls the slow tool, then answers."""
    return Agent(name, MockModel([call("work"), text("I {result:work}.")]), tools=[slow.work], **options)


def test_the_same_key_starts_one_execution(runtime: AgentRuntime):
    """A second start with the same idempotency key is the first; with another prompt it is refused (E0413)."""
    agent = Agent("echo", "mock/echo")
    first = runtime.start(agent, "Hello", idempotency_key="order-17")
    second = runtime.start(agent, "Hello", idempotency_key="order-17")
    assert second.execution_id == first.execution_id
    assert second.join(SOON_S).output == "Hello"
    with pytest.raises(ExecutionError) as caught:
        runtime.start(agent, "Bye", idempotency_key="order-17")
    assert caught.value.code == "E0413"


class Line(pydantic.BaseModel):
    """A line of an invoice."""

    item: str
    cents: int = pydantic.Field(gt=0)


class Invoice(pydantic.BaseModel):
    """An invoice."""

    customer: str
    lines: list[Line]


def test_a_typed_answer_after_malformed_ones(runtime: AgentRuntime):
    """Two answers that do not fit are sent back with what is wrong; the third is a value of the type, everywhere."""
    good = {"customer": "Ada", "lines": [{"item": "tea", "cents": 300}]}
    script = [
        "It is three euros.",
        {"json": good | {"lines": [{"item": "tea", "cents": -3}]}},
        {"json": good},
    ]
    agent = Agent("biller", MockModel(script), output_type=Invoice)
    result = runtime.run(agent, "Bill Ada")
    assert result.output == Invoice(customer="Ada", lines=[Line(item="tea", cents=300)])
    complaints = [e.content for e in result.events if e.type == EventType.RETRY]
    assert len(complaints) == 2
    assert "cents" in complaints[1]
    by_id = AgentHandle(result.execution_id, runtime)
    assert by_id.join().output == good  # without the agent its type is not known: plain JSON
    assert AgentHandle(result.execution_id, runtime, agent=agent).join().output == result.output


def test_an_answer_that_never_fits_has_a_named_outcome(runtime: AgentRuntime):
    """After the last try the execution fails with E0410 and says what did not fit."""
    result = runtime.run(Agent("stubborn", MockModel(["no"], repeat_last=True), output_type=Invoice), "Bill")
    assert (result.status, result.finish_reason) == (Status.FAILED, FinishReason.OUTPUT_INVALID)
    assert result.error is not None
    assert result.error.code == "E0410"


def test_running_out_of_turns_is_not_a_success(runtime: AgentRuntime):
    """An agent that only calls tools ends with E0403 after max_turns model calls."""

    @tool
    def again() -> int:
        """Do it again."""
        return 1

    result = runtime.run(
        Agent("loop", MockModel([call("again")], repeat_last=True), tools=[again], max_turns=3), "Go"
    )
    assert (result.status, result.finish_reason) == (Status.FAILED, FinishReason.MAX_TURNS)
    assert not result.is_success
    assert "[E0403]" in str(result.error)
    assert len(result.tool_calls) == 3


def test_an_execution_that_runs_out_of_time(runtime: AgentRuntime):
    """After timeout_seconds it has failed with E0404, and the tool that was running learns that nobody waits."""
    slow = Slow()
    began = time.monotonic()
    result = runtime.run(slow_agent("late", slow, timeout_seconds=0.7), "Work")
    assert time.monotonic() - began < 5
    assert (result.status, result.finish_reason) == (Status.FAILED, FinishReason.TIMEOUT)
    assert result.error is not None
    assert result.error.code == "E0404"
    assert slow.saw_cancelled.wait(SOON_S)


def test_a_tool_that_fails_is_tried_again_with_growing_waits(runtime: AgentRuntime):
    """Two failures cost one and two delays (jitter of a fifth); state and key are the same at each attempt."""
    seen: list[tuple[float, int, str]] = []

    @tool(retry_count=3, retry_delay_seconds=0.3, retry_policy="linear_backoff")
    def shaky(context: ToolContext) -> str:
        """Fail twice."""
        seen.append((time.monotonic(), context.attempt, context.idempotency_key))
        if len(seen) < 3:
            raise ConnectionError("not yet")
        return "at last"

    result = runtime.run(
        Agent("shaker", MockModel([call("shaky"), text("{result:shaky}")]), tools=[shaky]), "Go"
    )
    assert result.output == "at last"
    times, attempts, keys = zip(*seen, strict=True)
    assert attempts == (1, 2, 3)
    assert len(set(keys)) == 1
    assert times[1] - times[0] >= 0.24
    assert times[2] - times[1] >= 0.48
    retries = [e for e in result.events if e.type == EventType.RETRY]
    assert [e.attempt for e in retries] == [1, 2]
    assert "not yet" in retries[0].content


def test_a_tool_that_keeps_failing_is_told_to_the_model(runtime: AgentRuntime):
    """After the last retry the error is the call's result, with the place in the user's code, and the agent goes on."""

    @tool(retry_count=1, retry_delay_seconds=0.01)
    def broken() -> str:
        """Never work."""
        raise ValueError("no such order")

    result = runtime.run(Agent("goer", MockModel([call("broken"), text("Sorry.")]), tools=[broken]), "Go")
    assert result.output == "Sorry."
    (made,) = result.tool_calls
    assert made["error"]["code"] == "E0301"
    assert "ValueError: no such order" in made["error"]["what"]
    assert "test_everyday.py" in made["error"]["where"]


def test_a_tool_that_takes_too_long(runtime: AgentRuntime):
    """After the tool's timeout_seconds its context says so, and the model is told (E0302)."""
    saw = threading.Event()

    @tool(timeout_seconds=0.3, retry_count=0)
    def long(context: ToolContext) -> str:
        """Take too long."""
        if context.cancelled.wait(SOON_S):
            saw.set()
        return "too late"

    result = runtime.run(Agent("waiter", MockModel([call("long"), text("Too slow.")]), tools=[long]), "Go")
    assert result.output == "Too slow."
    assert result.tool_calls[0]["error"]["code"] == "E0302"
    assert saw.wait(SOON_S)


def test_cancelling_while_a_tool_runs(runtime: AgentRuntime):
    """The execution is over at once, the tool sees it at its next look, and what it returns is not recorded."""
    slow = Slow()
    handle = runtime.start(slow_agent("cancelled", slow), "Work")
    assert slow.begun.wait(SOON_S)
    handle.cancel("changed my mind")
    result = handle.join(SOON_S)
    assert (result.status, result.finish_reason) == (Status.CANCELLED, FinishReason.CANCELLED)
    assert result.error is not None
    assert result.error.why == "changed my mind"
    assert slow.saw_cancelled.wait(SOON_S)
    assert [e.type for e in handle.events() if e.type == EventType.TOOL_RESULT] == []
    with pytest.raises(ExecutionError) as caught:
        handle.pause()
    assert caught.value.code == "E0402"


def test_pausing_and_resuming(runtime: AgentRuntime):
    """While it is paused the call in flight may end and nothing new begins; resumed, it goes on to its end."""
    slow = Slow()
    handle = runtime.start(slow_agent("paused", slow), "Work")
    assert slow.begun.wait(SOON_S)
    handle.pause("lunch")
    slow.let_go.set()
    until(lambda: any(e.type == EventType.TOOL_RESULT for e in handle.events()), "the tool's result")
    before = len(handle.events())
    time.sleep(0.3)
    assert len(handle.events()) == before
    assert handle.get_status().status is Status.PAUSED
    handle.resume()
    assert handle.join(SOON_S).output == "I worked."


def test_waiting_no_longer_than_one_wants(runtime: AgentRuntime):
    """`join(timeout)` ends with E0705 and says how to go on waiting; the execution is not touched."""
    slow = Slow()
    handle = runtime.start(slow_agent("slow", slow), "Work")
    with pytest.raises(ClientError) as caught:
        handle.join(0.2)
    assert caught.value.code == "E0705"
    assert handle.execution_id in caught.value.fix
    slow.let_go.set()
    assert handle.join(SOON_S).is_success


def test_the_same_from_a_running_loop(runtime: AgentRuntime):
    """Everything above has its asynchronous form; tools of the caller's loop run in it."""
    loops = []

    @tool
    async def where() -> str:
        """Say where."""
        loops.append(asyncio.get_running_loop())
        return "here"

    async def main() -> str:
        agent = Agent("async", MockModel([call("where"), text("{result:where}")]), tools=[where])
        stream = await runtime.stream_async(agent, "Go")
        kinds = [event.type async for event in stream]
        assert kinds[-1] == EventType.DONE
        assert loops == [asyncio.get_running_loop()]
        return (await stream.get_result_async()).output

    assert asyncio.run(main()) == "here"
