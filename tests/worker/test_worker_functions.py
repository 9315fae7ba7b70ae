"""Functions that are no tools: run by a worker, whether plain or coroutine functions."""

import asyncio
import functools
import threading
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.callbacks import CallbackHandler
from perdure.agents.context import ToolContext
from perdure.agents.guardrails import Guardrail, GuardrailResult
from perdure.agents.tools import tool
from perdure.client.api import ApiClient
from perdure.clock import SystemClock
from perdure.wire.types import ResultRecord
from perdure.worker.attempt import Attempt
from perdure.worker.functions import dependencies_of, metadata_of, queue_functions
from perdure.worker.threads import Threads
from perdure.worker.worker import Worker
from tests.worker.fakes import FakeServer, task

THREADS = Threads("test-function")


@tool
def search(text: str, context: ToolContext) -> list[Any]:
    """Search."""
    return [text, context.metadata, context.dependencies]


async def outcome(agent: Agent, name: str, **fields: Any) -> ResultRecord:
    """What one attempt at this function of the agent hands in, as the server reads it."""
    served = queue_functions(agent)[f"{agent.name}.{name}"]
    attempt = Attempt(task(name, **fields), served, THREADS, SystemClock())
    await attempt.perform()
    assert attempt.record is not None
    return msgspec.json.decode(msgspec.json.encode(attempt.record), type=ResultRecord)


def member(name: str, **options: Any) -> Agent:
    """An agent with a model."""
    return Agent(name, "mock/echo", **options)


def test_queues_are_named_by_agent_and_function():
    """The whole tree is served: tools and functions of every agent, with its own metadata and dependencies."""
    first = member("first", tools=[search], gate=lambda _: True, metadata={"n": 1}, dependencies={"db": 1})
    second = member("second", tools=[search], guardrails=[Guardrail(len, name="g")], metadata={"n": 2})
    pipeline = first >> second >> Agent("far")
    assert set(queue_functions(pipeline)) == {
        "first.search",
        "first.@gate",
        "second.search",
        "second.@guard.g",
    }
    assert metadata_of(pipeline) == {"first_second_far": {}, "first": {"n": 1}, "second": {"n": 2}}
    assert dependencies_of(pipeline) == {"first": {"db": 1}}


async def test_a_worker_gives_each_agent_its_own():
    """A tool that two agents have finds the metadata and dependencies of the one that asked."""
    server = FakeServer()
    api = ApiClient(server.transport(), SystemClock())
    first = member("first", tools=[search], metadata={"n": 1}, dependencies={"db": 1})
    pipeline = first >> member("second", tools=[search])
    worker = Worker(api, {}, SystemClock(), dependencies={"db": 0, "mail": 2})
    worker.serve(queue_functions(pipeline), metadata_of(pipeline), dependencies_of(pipeline))
    server.tasks += [
        task("search", number, agent=name, arguments={"text": name})
        for number, name in enumerate(("first", "second"), 1)
    ]
    worker.start()
    async with asyncio.timeout(10):
        while len(server.results) < 2:
            await asyncio.sleep(0.01)
    await worker.stop(1)
    await api.aclose()
    assert sorted((r.result for r in server.results), key=str) == [
        ["first", {"n": 1}, {"db": 1, "mail": 2}],
        ["second", {}, {"db": 0, "mail": 2}],
    ]


async def test_plain_functions_run_in_threads_and_coroutines_in_the_loop():
    """A chain of callbacks may mix them; each sees what the one before made."""
    seen: list[bool] = []

    class Plain(CallbackHandler):
        def on_agent_start(self, **values: Any) -> dict[str, Any]:
            seen.append(threading.current_thread() is threading.main_thread())
            return {"input": values["input"] + "1"}

    class Awaiting(CallbackHandler):
        async def on_agent_start(self, **values: Any) -> dict[str, Any]:
            await asyncio.sleep(0)
            seen.append(threading.current_thread() is threading.main_thread())
            return {"input": values["input"] + "2"}

    agent = member("a", callbacks=[Plain(), Awaiting(), Plain()])
    record = await outcome(agent, "@before_agent", arguments={"input": "0"})
    assert (record.result, seen) == ({"changes": {"input": "0121"}}, [False, True, False])


async def test_a_function_that_returns_something_to_await_is_awaited():
    """A coroutine function inside of a partial, or behind a lambda, is as good as the function itself."""

    async def later(text: str, wanted: str) -> bool:
        await asyncio.sleep(0)
        return text == wanted

    for function in (functools.partial(later, wanted="x"), lambda text: later(text, "x")):
        agent = member("a", guardrails=[Guardrail(function, name="g")])
        record = await outcome(agent, "@guard.g", arguments={"content": "x"})
        assert record.result == {"passed": True, "message": "", "fixed": None}


async def test_functions_may_change_the_state():
    """The state of the context is recorded with the answer, as with a tool."""

    def count(state: dict[str, Any], context: ToolContext) -> bool:
        context.state["asked"] = state["iteration"]
        return False

    record = await outcome(member("a", stop_when=count), "@stop_when", arguments={"iteration": 2})
    assert (record.result, record.state) == ({"stop": False}, {"asked": 2})


async def test_an_exception_is_an_error_and_no_answer():
    """What a function raises is told with its place; another attempt may succeed."""

    def broken(_: Any) -> bool:
        raise KeyError("x")

    record = await outcome(member("a", gate=broken), "@gate", arguments={"output": "x"})
    assert record.error is not None
    assert (record.error["code"], record.retryable, record.result) == ("E0301", True, None)
    assert "in broken" in record.error["where"]


async def test_an_answer_that_may_not_be_is_final():
    """E0313 is the same at each attempt, so that there is no other; a value that is not JSON is E0303."""
    record = await outcome(member("a", gate=lambda _: "yes"), "@gate", arguments={"output": "x"})
    assert record.error is not None
    assert (record.error["code"], record.retryable) == ("E0313", False)
    guard = Guardrail(lambda _: GuardrailResult(passed=False, fixed_output=object()), name="g")
    record = await outcome(member("a", guardrails=[guard]), "@guard.g", arguments={"content": "x"})
    assert record.error is not None
    assert record.error["code"] == "E0303"


async def test_a_function_has_its_time():
    """After its limit it is E0302, in the middle of a chain too."""

    async def forever(_: Any) -> bool:
        await asyncio.sleep(60)
        return True

    record = await outcome(member("a", gate=forever), "@gate", arguments={"output": "x"}, timeout_ms=50)
    assert record.error is not None
    assert record.error["code"] == "E0302"


async def test_a_function_that_exits_ends_nothing_else():
    """SystemExit in a function is its error, in a thread and in the loop."""

    def leave(_: Any) -> bool:
        raise SystemExit(3)

    async def leave_later(_: Any) -> bool:
        raise SystemExit(3)

    for function in (leave, leave_later):
        record = await outcome(member("a", gate=function), "@gate", arguments={"output": "x"})
        assert record.error is not None
        assert record.error["code"] == "E0301"
