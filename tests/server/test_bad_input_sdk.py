"""Bad input through the SDK, against a real server: tools that give back anything, and callers who ask for anything.

The worker runs in this process, the server in one of its own. Whatever a tool does, the model is told and the
execution ends; whatever a caller does wrong, a coded error says so before anything begins.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.core.errors import PerdureError
from perdure.testing import MockModel, call, text
from tests.story.stage import Stage, until


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    """A stage whose server runs, for all of this file."""
    with Stage(tmp_path_factory.mktemp("sdk"), lease_ms=2_000) as found:
        found.start_server()
        yield found
        found.stop_server()


@pytest.fixture(scope="module")
def runtime(stage: Stage) -> Iterator[AgentRuntime]:
    """A runtime on that server."""
    with stage.runtime() as found:
        yield found


class Odd:
    """An object without a JSON form."""


class BadTextError(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


def cycle() -> Any:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def nested(depth: int) -> Any:
    """A list in a list."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def shared() -> Any:
    """A small value that would be 2**60 items written out."""
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    return value


def fail(error: BaseException) -> Any:
    """Raise it."""
    raise error


def nested_for_ever() -> Any:
    """Call itself."""
    return nested_for_ever()


BAD_RESULTS: list[tuple[str, Callable[[], Any], str]] = [
    ("a cycle", cycle, "E0303"),
    ("bytes", lambda: b"\x00\xff", "E0303"),
    ("NaN", lambda: {"x": float("nan")}, "E0303"),
    ("infinity", lambda: float("inf"), "E0303"),
    ("2**70", lambda: 2**70, "E0303"),
    ("an object", Odd, "E0303"),
    ("a function", lambda: len, "E0303"),
    ("a generator", lambda: (n for n in range(3)), "E0303"),
    ("depth 10,000", lambda: nested(10_000), "E0303"),
    ("keys that become one", lambda: {1: "a", "1": "b"}, "E0303"),
    ("a lone surrogate", lambda: {"deep": ["\ud800"]}, "E0611"),
    ("a lone surrogate as key", lambda: {"\udfff": 1}, "E0611"),
    ("a NUL", lambda: "a\0b", "E0303"),
    ("12 MB", lambda: "x" * 12 * 1024 * 1024, "E0310"),
    ("64 MB", lambda: ["y" * 1024 * 1024] * 64, "E0310"),
    ("an error", lambda: fail(ValueError("no luck")), "E0301"),
    ("an error with a surrogate", lambda: fail(ValueError("\ud800\0")), "E0301"),
    ("an error without a text", lambda: fail(BadTextError()), "E0301"),
    ("an error of 1 MB", lambda: fail(ValueError("z" * 1_000_000)), "E0301"),
    ("an exit", lambda: sys.exit(3), "E0301"),
    ("endless recursion", nested_for_ever, "E0301"),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("made", "code"), [r[1:] for r in BAD_RESULTS], ids=[r[0] for r in BAD_RESULTS])
def test_what_a_tool_gives_back_that_cannot_be_stored(
    runtime: AgentRuntime, made: Callable[[], Any], code: str, *, is_async: bool
):
    """The model is told, with a code, and goes on; one attempt, since the next would end in the same way."""
    attempts = []

    if is_async:

        @tool(name="odd", retry_count=0)
        async def odd() -> Any:
            """Give back something odd."""
            attempts.append(1)
            return made()
    else:

        @tool(name="odd", retry_count=0)
        def odd() -> Any:
            """Give back something odd."""
            attempts.append(1)
            return made()

    agent = Agent("odd", MockModel([call("odd"), text("I went on.")]), tools=[odd])
    result = runtime.run(agent, "go", timeout=30)
    assert (result.output, len(attempts)) == ("I went on.", 1)
    (made_call,) = result.tool_calls
    assert code in str(made_call["error"]), made_call


def test_a_result_of_ten_megabytes_is_whole(runtime: AgentRuntime):
    """Just under the limit: stored once, and what the model is shown."""
    size = 10_000_000

    @tool
    def large() -> str:
        """Give back a lot."""
        return "x" * size

    result = runtime.run(
        Agent("large", MockModel([call("large"), text("ok")]), tools=[large]), "go", timeout=60
    )
    assert result.output == "ok"
    assert len(result.tool_calls[0]["result"]) == size


def test_a_small_value_that_would_be_endless_when_written(runtime: AgentRuntime):
    """E0310, in bounded time and memory."""

    @tool(retry_count=0)
    def explode() -> Any:
        """Give back a list that holds the same list twice, and so on."""
        return shared()

    agent = Agent("explode", MockModel([call("explode"), text("ok")]), tools=[explode])
    result = runtime.run(agent, "go", timeout=60)
    assert "E0310" in str(result.tool_calls[0]["error"])


def test_state_that_cannot_be_stored(runtime: AgentRuntime):
    """As a result: the attempt fails with a code, and the state stays as it was."""

    @tool(retry_count=0)
    def spoil(context: ToolContext) -> str:
        """Put an object into the state."""
        context.state["odd"] = Odd()
        return "done"

    @tool
    def show(context: ToolContext) -> dict[str, Any]:
        """Show the state."""
        return dict(context.state)

    script = [call("spoil"), call("show"), text("{result:show}")]
    result = runtime.run(Agent("state", MockModel(script), tools=[spoil, show]), "go", timeout=30)
    assert result.output == "{}"
    assert "E0303" in str(result.tool_calls[0]["error"])


def test_a_tool_that_kills_its_thread_of_workers(runtime: AgentRuntime):
    """Twenty bad calls in one turn, good ones among them: each has its own outcome."""

    @tool(retry_count=0)
    def mixed(n: int) -> Any:
        """Good for even numbers."""
        return n if n % 2 == 0 else cycle()

    turn = {"tool_calls": [{"tool": "mixed", "arguments": {"n": n}} for n in range(20)]}
    result = runtime.run(Agent("mixed", MockModel([turn, text("ok")]), tools=[mixed]), "go", timeout=30)
    outcomes = [c.get("error") is None for c in result.tool_calls]
    assert outcomes == [n % 2 == 0 for n in range(20)]


# Callers --------------------------------------------------------------------------------------------------


def refusal(work: Callable[[], Any]) -> PerdureError:
    """The coded error that *work* ends in."""
    with pytest.raises(PerdureError) as caught:
        work()
    assert caught.value.what
    return caught.value


@tool
def harmless() -> str:
    """Do nothing."""
    return "nothing"


def echo(**options: Any) -> Agent:
    """An agent that says what it is told."""
    return Agent("echo", "mock/echo", **options)


CALLERS: list[tuple[str, Callable[[AgentRuntime], Any], str]] = [
    ("unknown provider", lambda r: r.run(Agent("a", "opnai/gpt-5"), "hi"), "E0201"),
    ("missing key", lambda r: r.run(Agent("a", "openai/gpt-5-mini"), "hi"), "E0202"),
    ("no provider", lambda _: Agent("a", "gpt-5"), "E0107"),
    ("a name", lambda _: Agent("a b", "mock/echo"), "E0104"),
    ("two tools of one name", lambda _: echo(tools=[harmless, harmless]), "E0103"),
    ("an option", lambda _: echo(max_turns=0), "E0106"),
    ("settings", lambda _: echo(model_settings={"x": Odd()}), "E0106"),
    ("an empty prompt", lambda r: r.run(echo(), ""), "E0704"),
    ("blanks", lambda r: r.run(echo(), " \n "), "E0704"),
    ("a surrogate", lambda r: r.run(echo(), "a \ud800 b"), "E0611"),
    ("a NUL", lambda r: r.run(echo(), "a \0 b"), "E0611"),
    ("a surrogate in the instructions", lambda r: r.run(echo(instructions="\ud800"), "hi"), "E0611"),
    ("a surrogate in the context", lambda r: r.run(echo(), "hi", context={"x": "\ud800"}), "E0611"),
    ("a deep context", lambda r: r.run(echo(), "hi", context={"x": nested(10_000)}), "E0605"),
    ("an agent that is nowhere", lambda r: r.run("nobody", "hi"), "E0412"),
    ("an execution that is nowhere", lambda r: r.resume("xnone"), "E0401"),
    ("a prompt of 64 MB", lambda r: r.run(echo(), "x" * 64 * 1024 * 1024), "E0604"),
]


@pytest.mark.parametrize(("wrong", "code"), [c[1:] for c in CALLERS], ids=[c[0] for c in CALLERS])
def test_a_caller_who_asks_for_what_cannot_be(stage: Stage, runtime: AgentRuntime, wrong: Any, code: str):
    """A coded error at once; no execution has begun; the runtime works on."""
    before = stage.get("/api/v1/executions?limit=500")
    error = refusal(lambda: wrong(runtime))
    assert error.code == code, error
    if code == "E0202":
        assert "OPENAI_API_KEY" in error.fix
    assert stage.get("/api/v1/executions?limit=500") == before
    assert runtime.run(echo(), "still there?", timeout=30).output == "still there?"


@tool(approval_required=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        ({"amount": "\ud800"}, {"E0611", "E0305"}),
        ({"amount": float("nan")}, {"E0605", "E0305"}),
        ({"amount": Odd()}, {"E0605", "E0305", "E0106"}),
        ({"amount": nested(10_000)}, {"E0605", "E0305"}),
        ({"amount": "all"}, {"E0305"}),
        ({}, {"E0305"}),
    ],
    ids=["surrogate", "NaN", "object", "depth", "type", "missing"],
)
def test_edited_arguments_that_cannot_be(runtime: AgentRuntime, arguments: dict[str, Any], codes: set[str]):
    """The approval waits on; a good decision is taken afterwards."""
    agent = Agent("payer", MockModel([call("pay", amount=1), text("{result:pay}")]), tools=[pay])
    handle = runtime.start(agent, "pay")
    until(lambda: handle.get_status().is_waiting, "the approval")
    error = refusal(lambda: handle.approve(arguments=arguments))
    assert error.code in codes, error
    assert handle.get_status().is_waiting
    handle.approve(arguments={"amount": 2})
    assert handle.join(30).output == "paid 2"


def test_a_reason_with_a_surrogate(runtime: AgentRuntime):
    """E0611, and nothing was decided."""
    agent = Agent("payer2", MockModel([call("pay", amount=1), text("ok")]), tools=[pay])
    handle = runtime.start(agent, "pay")
    until(lambda: handle.get_status().is_waiting, "the approval")
    assert refusal(lambda: handle.reject("\ud800")).code == "E0611"
    handle.reject("no")
    assert handle.join(30).output == "ok"


def test_the_same_through_the_embedded_runtime(tmp_path):
    """In process the same wire is spoken: the same codes for the same mistakes."""
    with contextlib.ExitStack() as stack:
        embedded = stack.enter_context(AgentRuntime(embedded=True, data_dir=tmp_path / "home"))
        for _, wrong, code in CALLERS:
            assert refusal(lambda wrong=wrong: wrong(embedded)).code == code

        @tool(retry_count=0)
        def odd() -> Any:
            """Give back a cycle."""
            return cycle()

        agent = Agent("odd", MockModel([call("odd"), text("I went on.")]), tools=[odd])
        assert embedded.run(agent, "go", timeout=30).output == "I went on."
