"""Teams through the client: one id decides, tells and streams for everything below it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Agent,
    AgentHandle,
    AgentRuntime,
    EventType,
    ExecutionError,
    Guardrail,
    GuardrailResult,
    Status,
    agent_tool,
    human_tool,
    tool,
)
from perdure.testing import MockModel, call, text


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[AgentRuntime]:
    """An embedded runtime with a directory of its own."""
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as opened:
        yield opened


@tool(approval_required=True)
def refund(cents: int) -> str:
    """Give money back."""
    return f"refunded {cents}"


def writer(name: str = "writer") -> Agent:
    """Says one thing, in pieces."""
    return Agent(name, MockModel([text(f"{name} has written it", chunks=3)]))


def payer(name: str = "payer") -> Agent:
    """Needs a person's leave."""
    return Agent(name, MockModel([call("refund", cents=5), text("paid: {result:refund}")]), tools=[refund])


def until_waiting(handle: AgentHandle) -> Any:
    """The status, once everything waits."""
    for _ in range(1_000):
        if (status := handle.get_status()).is_waiting:
            return status
        threading.Event().wait(0.01)
    raise AssertionError(handle.get_status())


def test_a_roots_id_is_enough_to_decide(runtime: AgentRuntime):
    """Two levels down a call waits: the status of the root says so, and approving the root lets it run."""
    inner = Agent("inner", agents=[writer("second"), payer()], strategy="sequential")
    team = Agent("team", agents=[writer(), inner], strategy="sequential")
    handle = runtime.start(team, "do it")
    status = until_waiting(handle)
    assert status.status is Status.WAITING_CHILD
    chain = [(w.kind, w.agent, w.child_status) for w in status.waiting_for]
    assert chain == [
        ("child", "inner", "waiting:child"), ("child", "payer", "waiting:approval"), ("approval", "payer", None),
    ]  # fmt: skip
    pending = status.pending_tool
    assert (pending["name"], pending["args"], pending["agent"]) == ("refund", {"cents": 5}, "payer")
    assert pending["execution_id"] == status.waiting_for[1].child_id
    with pytest.raises(ExecutionError) as caught:
        handle.respond({"answer": "yes"})
    assert caught.value.code == "E0415"
    handle.approve(by="ada")
    result = handle.join(timeout=20)
    assert result.output == "paid: refunded 5"
    assert result.sub_results == {"writer": "writer has written it", "inner": "paid: refunded 5"}
    assert [m.get("agent") for m in result.messages] == [None, "writer", "inner"]
    below = runtime.session.call(runtime.session.connection()).api
    usages = [
        e.usage.total_tokens
        for e in runtime.session.call(below.executions()).executions
        if e.agent in {"writer", "second", "payer"}
    ]
    assert result.token_usage.total_tokens == sum(usages) > 0


def test_several_that_wait_must_be_told_apart(runtime: AgentRuntime):
    """Two agents in parallel wait: E0416 lists both with agent and execution; each is decided by its id."""
    team = Agent("team", agents=[payer("one"), payer("two")], strategy="parallel")
    handle = runtime.start(team, "do it")
    status = until_waiting(handle)
    while len(waits := [w for w in status.waiting_for if w.kind == "approval"]) < 2:
        status = until_waiting(handle)
    with pytest.raises(ExecutionError) as caught:
        handle.approve()
    assert caught.value.code == "E0416"
    for wait in waits:
        assert f"of {wait.agent} in {wait.execution_id}" in caught.value.why
    stranger = runtime.start(payer("stranger"), "go")
    foreign = until_waiting(stranger).pending_tool["approval_id"]
    with pytest.raises(ExecutionError) as caught:
        handle.approve(foreign)
    assert caught.value.code == "E0407"
    handle.approve(waits[0].approval_id)
    handle.reject("too much")  # the only one that is left
    assert handle.join(timeout=20).is_success
    with pytest.raises(ExecutionError) as caught:
        handle.approve()
    assert caught.value.code == "E0402"


def test_a_question_a_pick_and_a_guardrail_are_answered(runtime: AgentRuntime):
    """`respond` on the root answers all three; an answer that does not fit changes nothing."""
    ask = human_tool("ask_boss", "Ask the boss.")
    asker = Agent(
        "asker",
        MockModel([call("ask_boss", question="May I?"), text("Boss: {result:ask_boss}")]),
        tools=[ask],
    )

    def short(content: str) -> GuardrailResult:
        """Long answers are looked at."""
        return GuardrailResult(len(content) < 5, "too long")

    talker = Agent("talker", MockModel(["a long answer"]), guardrails=[Guardrail(short, on_fail="human")])
    team = Agent("team", agents=[asker, talker], strategy="manual")
    handle = runtime.start(team, "go")
    asked = []
    for answer in (
        {"agent": "asker"},
        {"answer": "yes"},
        {"agent": "talker"},
        {"content": "ok"},
        {"agent": "DONE"},
    ):
        pending = until_waiting(handle).pending_tool
        asked.append(pending["asks"])
        if pending["asks"] == "pick":
            with pytest.raises(ExecutionError) as caught:
                handle.respond({"agent": "nobody"})
            assert caught.value.code == "E0421"
        handle.respond(answer, by="ada")
    assert asked == ["pick", "question", "pick", "guardrail", "pick"]
    result = handle.join(timeout=20)
    assert (result.output, result.finish_reason) == ("ok", "done")
    assert "yes" in result.sub_results["asker"]


def test_a_stream_has_the_whole_tree(runtime: AgentRuntime):
    """Every event of every execution once, in order, with agent and execution, tokens of children too."""
    team = Agent("team", agents=[writer(), payer()], strategy="sequential")
    stream = runtime.stream(team, "do it")
    for event in stream:
        if event.type == EventType.WAITING:
            AgentHandle(stream.execution_id, runtime).approve()
    events = stream.events
    told = [(e.agent, str(e.type), e.target) for e in events if e.seq]
    assert told == [
        ("team", "state", None),
        ("team", "handoff", "writer"),
        ("writer", "state", None),
        ("writer", "message", None),
        ("writer", "done", None),
        ("team", "handoff", "payer"),
        ("payer", "state", None),
        ("payer", "waiting", None),
        ("payer", "approval", None),
        ("payer", "tool_call", None),
        ("payer", "tool_result", None),
        ("payer", "message", None),
        ("payer", "done", None),
        ("team", "done", None),
    ]
    pieces = [e.content for e in events if e.type == EventType.TOKEN and e.agent == "writer"]
    assert "".join(pieces) in ("writer has written it", "")  # a reader that came late has the message
    assert [e for e in events if e.seq] == stream.result.events
    for execution_id in {e.execution_id for e in events}:
        own = [e for e in events if e.execution_id == execution_id and e.seq]
        assert own == AgentHandle(execution_id, runtime).events()
    alone = AgentHandle(stream.execution_id, runtime).stream(tree=False)
    assert {e.execution_id for e in alone} == {stream.execution_id}
    assert alone.result.output == "paid: refunded 5"


def test_a_stream_goes_on_from_its_places(runtime: AgentRuntime):
    """Left anywhere and taken up by another handle at its places, it gives the rest, with tools and agents known."""
    team = Agent("team", agents=[writer(), payer()], strategy="sequential")
    handle = runtime.start(team, "do it")
    until_waiting(handle)
    handle.approve()
    whole = [e for e in handle.stream() if e.seq]
    for count in range(1, len(whole), 3):
        first = handle.stream()
        seen = []
        for event in first:
            seen += [event] if event.seq else []
            if len(seen) == count:
                break
        places = dict(first.places)
        rest = [e for e in AgentHandle(handle.execution_id, runtime).stream(places) if e.seq]
        assert seen + rest == whole


def test_a_cancelled_team_streams_to_its_end(runtime: AgentRuntime):
    """The children of a cancelled root are cancelled, and their ends come before the root's."""
    handle = runtime.start(Agent("team", agents=[payer()], strategy="sequential"), "do it")
    until_waiting(handle)
    handle.cancel("enough")
    began = time.monotonic()
    events = [e for e in handle.stream() if e.seq]
    assert time.monotonic() - began < 5
    assert [(e.agent, e.kind) for e in events[-2:]] == [
        ("payer", "execution_cancelled"), ("team", "execution_cancelled"),
    ]  # fmt: skip


def test_an_agent_as_a_tool_is_told_as_a_tool(runtime: AgentRuntime):
    """The parent's list of calls has it; its own execution is in the stream."""
    lead = Agent(
        "lead", MockModel([call("writer", request="write"), text("It says: {result:writer}")]),
        tools=[agent_tool(writer())],
    )  # fmt: skip
    seen: list[Any] = []
    result = runtime.run(lead, "go", on_event=seen.append)
    assert result.output == "It says: writer has written it"
    assert [(c["name"], c["result"]) for c in result.tool_calls] == [("writer", "writer has written it")]
    assert result.sub_results == {"writer": "writer has written it"}
    assert {e.agent for e in seen} == {"lead", "writer"}
    assert [e for e in seen if e.seq] == result.events
