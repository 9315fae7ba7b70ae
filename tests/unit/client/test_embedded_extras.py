"""Messages, calls before the first turn, masked fields and semantic memory, through the public door in embedded mode."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Agent,
    AgentRuntime,
    DefinitionError,
    ExecutionError,
    SemanticMemory,
    SemanticMemoryError,
    tool,
)
from perdure.agents.definitions import agent_definition
from perdure.compiler.compile import compile_definition
from perdure.core.definition import PrefilledCall
from perdure.memory.stores.in_process import InProcessStore
from perdure.testing import MockModel, call, text

SECRET = "123-45-6789"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[AgentRuntime]:
    """An embedded runtime with a directory of its own."""
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as opened:
        yield opened


def slow_tool() -> tuple[Any, threading.Event, threading.Event]:
    """A tool that waits until it is let go, with its two events: it has begun, it may end."""
    begun, let_go = threading.Event(), threading.Event()

    @tool
    def look() -> str:
        """Looks."""
        begun.set()
        let_go.wait(10)
        return "seen"

    return look, begun, let_go


def test_a_message_is_sent_by_a_handle_and_by_a_runtime(runtime: AgentRuntime):
    """Both are in the next turn; the same id again changes nothing; after the end it is refused."""
    look, begun, let_go = slow_tool()
    agent = Agent("helper", MockModel([call("look"), text("Done.")]), tools=[look])
    handle = runtime.start(agent, "Look.")
    assert begun.wait(10)
    handle.send("Quickly!", id="m1")
    handle.send("Quickly!", id="m1")
    runtime.signal(handle.execution_id, "And quietly.")
    let_go.set()
    handle.join(20)
    said = [e.content for e in handle.events() if e.kind == "message_received"]
    assert said == ["Quickly!", "And quietly."]
    with pytest.raises(ExecutionError) as refused:
        handle.send("Too late.")
    assert refused.value.code == "E0402"


def test_a_stop_ends_it_after_the_turn(runtime: AgentRuntime):
    """The tool's result is recorded, and no further turn begins."""
    look, begun, let_go = slow_tool()
    agent = Agent(
        "helper",
        MockModel(
            [
                text(
                    "Looking.",
                ),
                text("never"),
            ]
        ),
        tools=[look],
        prefill_tools=[look.call()],
    )
    handle = runtime.start(agent, "Look.")
    assert begun.wait(10)
    asyncio.run(_stop(handle))
    let_go.set()
    result = handle.join(20)
    assert result.output == "Looking."


async def _stop(handle: Any) -> None:
    await handle.stop_async("enough")


def test_calls_before_the_first_turn(runtime: AgentRuntime):
    """They are made once, the model sees their results in its first turn, and its script is not shifted."""
    made = []

    @tool
    def now(zone: str) -> str:
        """The time."""
        made.append(zone)
        return f"12:00 {zone}"

    agent = Agent(
        "clock", MockModel([text("It is {result:now}.")]), tools=[now], prefill_tools=[now.call(zone="UTC")]
    )
    result = runtime.run(agent, "What time is it?", timeout=20)
    assert (result.output, made) == ("It is 12:00 UTC.", ["UTC"])


@pytest.mark.parametrize(
    "wrong", [PrefilledCall("nothing"), PrefilledCall("now", {"zone": 5}), PrefilledCall("now")]
)
def test_a_prefilled_call_that_cannot_be_made_is_refused(wrong: PrefilledCall):
    """No such tool, or arguments that do not fit: E0106 before anything begins, whoever sent the definition."""

    @tool
    def now(zone: str) -> str:
        """The time."""
        return zone

    definition = agent_definition(Agent("clock", "mock/echo", tools=[now]))
    changed = type(definition)(
        **{f: getattr(definition, f) for f in definition.__struct_fields__} | {"prefill": (wrong,)}
    )
    with pytest.raises(DefinitionError) as refused:
        compile_definition(changed)
    assert refused.value.code == "E0106"


def test_masked_fields_are_shown_to_no_reader(runtime: AgentRuntime):
    """The tool has the value, over an approval as well; events, approval, status and result have not."""
    paid = []

    @tool(approval_required=True)
    def pay(ssn: str, amount: int) -> dict[str, Any]:
        """Pays."""
        paid.append((ssn, amount))
        return {"ssn": ssn, "done": True}

    model = MockModel([call("pay", ssn=SECRET, amount=5), text("Paid.", chunks=3)])
    agent = Agent("payer", model, tools=[pay], masked_fields=["ssn"])
    handle = runtime.start(agent, "Pay.")
    stream = handle.stream()
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "waiting":
            (wait,) = handle.get_status().waiting_for
            assert (wait.arguments or {})["ssn"] == "[masked]"
            handle.approve(arguments={"ssn": "[masked]", "amount": 3})
    assert handle.join(20).output == "Paid."
    assert paid == [(SECRET, 3)]
    told = repr(seen) + repr(handle.events()) + repr(handle.get_status())
    assert SECRET not in told
    assert "[masked]" in told
    assert not [e for e in seen if e.type == "token"]


class BrokenStore(InProcessStore):
    """A store that cannot be reached."""

    async def search(self, *_args: Any, **_options: Any) -> Any:
        raise SemanticMemoryError("E0803", "The store cannot be reached")

    async def put(self, *_args: Any, **_options: Any) -> Any:
        raise SemanticMemoryError("E0803", "The store cannot be reached")


@pytest.mark.parametrize("required", [False, True])
def test_a_memory_that_fails_is_done_without_unless_it_is_required(runtime: AgentRuntime, required: bool):
    """By default the execution goes on; a required memory fails it with E0417."""
    memory = SemanticMemory(BrokenStore(), required=required)
    agent = Agent("helper", MockModel([text("Done.")]), semantic_memory=memory)
    result = runtime.run(agent, "Hello.", timeout=30)
    assert result.is_success != required
    if required:
        assert result.error is not None
        assert result.error.code == "E0417"
