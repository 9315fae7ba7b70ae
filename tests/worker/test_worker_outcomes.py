"""What becomes of a call: values, state, errors and time limits, one attempt at a time."""

import asyncio
import contextvars
import threading
from typing import Any

import msgspec
import pytest

from perdure.agents.context import ToolContext
from perdure.agents.tools import ToolDef, tool
from perdure.clock import SystemClock
from perdure.core.errors import ModelError
from perdure.wire.types import ResultRecord
from perdure.worker.attempt import CLEAN_UP_S, Attempt, changed_state
from perdure.worker.threads import Threads
from tests.worker.fakes import task

THREADS = Threads("test-tool")


async def outcome(served: ToolDef[..., Any] | None, **fields: Any) -> ResultRecord:
    """What one attempt hands in, as the server reads it."""
    name = served.name if served is not None else "gone"
    attempt = Attempt(task(name, **fields), served, THREADS, SystemClock())
    await attempt.perform()
    assert attempt.record is not None
    return msgspec.json.decode(msgspec.json.encode(attempt.record), type=ResultRecord)


async def test_the_context_tells_the_call():
    """A tool learns its ids, its attempt and its key."""

    @tool
    def tell(context: ToolContext) -> list[Any]:
        """Tells."""
        c = context
        return [c.execution_id, c.step, c.attempt, c.idempotency_key, c.agent_name, c.tool_name, c.session_id]

    record = await outcome(tell, epoch=3, session_id="s1")
    assert record.result == ["x1", "t1.c0", 3, "ik_1", "a", "tell", "s1"]


async def test_the_context_has_what_the_worker_was_given():
    """Dependencies of the process and the agent's metadata are there."""

    @tool
    def tell(context: ToolContext) -> list[Any]:
        """Tells."""
        return [context.dependencies["answer"](), context.metadata]

    attempt = Attempt(
        task("tell"),
        tell,
        THREADS,
        SystemClock(),
        dependencies={"answer": lambda: 42},
        metadata={"team": "x"},
    )
    await attempt.perform()
    assert attempt.record is not None
    assert msgspec.json.decode(attempt.record.result) == [42, {"team": "x"}]


async def test_only_changed_state_is_sent_back():
    """Changed and new keys go back, a removed one as null; a change deep inside of a value counts."""

    @tool
    def change(context: ToolContext) -> None:
        """Changes the state."""
        context.state["list"].append(2)
        context.state["new"] = {"a": (1, 2)}
        del context.state["gone"]

    record = await outcome(change, state={"same": {"b": 1}, "list": [1], "gone": True})
    assert record.state == {"list": [1, 2], "new": {"a": [1, 2]}, "gone": None}
    assert (await outcome(change, state={"list": [], "gone": 1})).error is None
    assert changed_state({"a": b"1"}, {"a": 1}, "") is None


async def test_an_exception_is_told_with_its_place():
    """E0301 names the type, the message and the user's own line; another attempt may succeed."""

    @tool
    def fails() -> None:
        """Fails."""
        int("x")

    record = await outcome(fails)
    assert record.error is not None
    assert record.error["code"] == "E0301"
    assert "ValueError: invalid literal" in record.error["what"]
    assert "test_worker_outcomes.py:" in record.error["where"]
    assert "in fails" in record.error["where"]
    assert record.retryable


async def test_errors_of_ours_keep_their_code():
    """A `PerdureError` that a tool raises goes to the server with its code and text."""

    @tool
    async def fails() -> None:
        """Fails."""
        raise ModelError("E0206", "too many", fix="wait", retry=object())

    record = await outcome(fails)
    assert record.error is not None
    assert (record.error["code"], record.error["fix"], record.retryable) == ("E0206", "wait", False)
    assert "fields" not in record.error


async def test_an_exception_may_say_that_it_is_final():
    """`retryable = False` on any exception ends the attempts."""

    class TerminalError(Exception):
        retryable = False

    @tool
    def fails() -> None:
        """Fails for good."""
        raise TerminalError("no account")

    assert (await outcome(fails)).retryable is False


@pytest.mark.parametrize("how", ["exit", "cancel", "stop", "text"])
async def test_odd_exceptions_are_failures_too(how: str):
    """sys.exit, a coroutine that cancels itself, StopIteration and an exception without a text end one call only."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @tool
    def sync() -> None:
        """Raises."""
        raise {"exit": SystemExit(3), "stop": StopIteration(), "text": MuteError()}[how]

    @tool
    async def own() -> None:
        """Cancels itself."""
        raise asyncio.CancelledError

    record = await outcome(own if how == "cancel" else sync)
    assert record.error is not None
    assert record.error["code"] == "E0301"


def cyclic() -> list[Any]:
    """A list that contains itself."""
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (cyclic(), "E0303"),
        (b"bytes", "E0303"),
        (float("nan"), "E0303"),
        ("\ud800", "E0611"),
        ("x" * (10 * 1024 * 1024 + 1), "E0310"),
    ],
    ids=["cycle", "bytes", "nan", "surrogate", "10 MB"],
)
async def test_a_result_that_cannot_be_stored_is_said_so(value: Any, code: str):
    """A value that is not JSON, or too large, is a final error with its own code, and nothing is lost in silence."""

    @tool
    def give() -> Any:
        """Gives."""
        return value

    record = await outcome(give)
    assert record.error is not None
    assert record.error["code"] == code
    assert record.retryable is False


async def test_state_that_is_not_json_is_an_error():
    """E0303 names the key of the state."""

    @tool
    def keep(context: ToolContext) -> None:
        """Keeps."""
        context.state["socket"] = object()

    record = await outcome(keep)
    assert record.error is not None
    assert record.error["code"] == "E0303"
    assert "state.socket" in record.error["what"]


async def test_arguments_that_do_not_fit_are_final():
    """E0305 does not come right by trying again; an unknown tool is E0309."""

    @tool
    def add(n: int) -> int:
        """Adds."""
        return n

    record = await outcome(add, arguments={"n": "many"})
    assert record.error is not None
    assert (record.error["code"], record.retryable) == ("E0305", False)
    record = await outcome(None)
    assert record.error is not None
    assert record.error["code"] == "E0309"


async def test_a_coroutine_that_is_too_slow_is_cancelled():
    """E0302 after the limit of the attempt; the coroutine may clean up."""
    cleaned = asyncio.Event()

    @tool
    async def slow() -> None:
        """Is slow."""
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.set()

    record = await outcome(slow, timeout_ms=50)
    assert record.error is not None
    assert (record.error["code"], record.retryable) == ("E0302", True)
    assert "0.05 s" in record.error["what"]
    assert cleaned.is_set()


async def test_a_thread_that_is_too_slow_is_not_waited_for(caplog: pytest.LogCaptureFixture):
    """E0302 at once; the thread sees in its context that nobody waits, and when it returns then, there is no warning."""
    told = threading.Event()

    @tool
    def slow(context: ToolContext) -> None:
        """Is slow."""
        if context.cancelled.wait(10) and context.is_cancelled:
            told.set()
        raise ConnectionError("for nobody")

    record = await outcome(slow, timeout_ms=50)
    assert record.error is not None
    assert record.error["code"] == "E0302"
    assert await asyncio.to_thread(told.wait, 5)
    await asyncio.sleep(CLEAN_UP_S + 0.2)
    assert "left behind" not in caplog.text


async def test_a_thread_that_does_not_return_is_said_to_be_left_behind(caplog: pytest.LogCaptureFixture):
    """A warning is written when it still runs a second after its time limit."""
    release = threading.Event()

    @tool
    def stuck() -> None:
        """Looks at nothing."""
        release.wait(10)

    record = await outcome(stuck, timeout_ms=50)
    assert record.error is not None
    assert record.error["code"] == "E0302"
    await asyncio.sleep(CLEAN_UP_S + 0.2)
    release.set()
    assert "left behind" in caplog.text


async def test_a_timeout_error_of_the_tools_own_is_no_time_limit():
    """TimeoutError raised by the user's code is E0301."""

    @tool
    async def fails() -> None:
        """Fails."""
        raise TimeoutError("upstream")

    record = await outcome(fails, timeout_ms=5_000)
    assert record.error is not None
    assert record.error["code"] == "E0301"


async def test_context_variables_reach_the_thread():
    """A synchronous function sees the context variables of the worker."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("seen")

    @tool
    def read() -> str:
        """Reads."""
        return variable.get()

    assert (await outcome(read)).result == "seen"


async def test_idle_threads_are_used_again():
    """A hundred calls one after the other need one thread."""
    threads = Threads("reused")
    names = {await threads.run(lambda: threading.current_thread().name) for _ in range(100)}
    assert len(names) <= 2
    threads.close()
