"""Streams of agents with an output type, through the real server and engine: the answer is seen while it grows."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import Agent, AgentEvent, AgentHandle, AgentRuntime, EventType, tool
from perdure.testing import MockModel, call, text


class Trip(BaseModel):
    """What an answer is to be."""

    city: str
    days: list[str]
    price: float


ANSWER = {"city": "Oslo", "days": ["Fjord", "Museum"], "price": 99.5}
SLOW: dict[str, Any] = {"chunks": 20, "chunk_delay_ms": 10, "delay_ms": 300}


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[AgentRuntime]:
    """An embedded runtime with a directory of its own."""
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as opened:
        yield opened


def planner(*script: Any, **options: Any) -> Agent:
    """An agent that answers so."""
    return Agent("planner", MockModel(list(script)), output_type=Trip, **options)


def partials(events: list[AgentEvent]) -> list[Any]:
    """Those that there are; only tokens have them."""
    assert all(event.type == EventType.TOKEN for event in events if event.partial is not None)
    return [event.partial for event in events if event.partial is not None]


def grows(found: list[Any]) -> bool:
    """Whether each has the keys of the one before."""
    return all(set(before) <= set(after) for before, after in pairwise(found))


@pytest.mark.parametrize("fenced", [False, True])
def test_the_answer_grows_to_the_output(runtime: AgentRuntime, fenced: bool):
    """Its reasoning has no partial; the last is the output; of the events that are kept none has one."""
    whole = Trip(**ANSWER).model_dump_json(indent=1)
    said = f"```json\n{whole}\n```" if fenced else whole
    stream = runtime.stream(planner(text(said, reasoning='{"city": "Rome"}', **SLOW)), "A trip")
    events = list(stream)
    found = partials(events)
    assert len(found) > 5
    assert found[0].get("city", "") in "Oslo"
    assert grows(found)
    assert found[-1] == stream.result.output.model_dump() == ANSWER
    assert partials(stream.events) == []
    assert len(stream.events) == len(events)


async def test_the_same_in_a_running_loop(tmp_path: Path):
    """`stream_async` gives them, too."""
    async with AgentRuntime(embedded=True, data_dir=tmp_path / "data", home=tmp_path) as runtime:
        stream = await runtime.stream_async(planner({"json": ANSWER, **SLOW}), "A trip")
        found = partials([event async for event in stream])
    assert grows(found)
    assert found[-1] == ANSWER


def test_a_reader_that_comes_again_in_mid_answer(runtime: AgentRuntime):
    """The server tells a new connection what was said so far; the partials go on from there."""
    stream = runtime.stream(planner({"json": ANSWER, **SLOW, "chunk_delay_ms": 40}), "A trip")
    before = []
    for event in stream:
        if event.partial:
            before.append(event.partial)
            if len(before) == 3:
                break
    after = partials(list(stream))
    assert grows([*before, *after])
    assert after[-1] == stream.result.output.model_dump()


def test_an_answer_that_is_sent_back_and_repaired(runtime: AgentRuntime):
    """The answers of both steps grow, each from its own beginning."""
    wrong = {"city": "Rome", "days": "many"}
    stream = runtime.stream(planner({"json": wrong, **SLOW}, {"json": ANSWER, **SLOW}), "A trip")
    events = list(stream)
    steps = list(dict.fromkeys(event.step for event in events if event.partial is not None))
    first, second = (partials([event for event in events if event.step == step]) for step in steps)
    assert first[-1] == wrong
    assert grows(first)
    assert grows(second)
    assert second[0].get("city", "") in "Oslo"
    assert second[-1] == ANSWER


@tool
def look_up(city: str) -> str:
    """Look a city up."""
    return f"{city} is nice"


def test_an_agent_below_one_without_an_output_type(runtime: AgentRuntime):
    """In a team each agent is read as its own type says; words before a tool call are no value."""
    script = [call("look_up", city="Oslo") | {"text": "Let me see."}, {"json": ANSWER, **SLOW}]
    teller = Agent("teller", MockModel([text('{"city": "Rome"}', **SLOW)]))
    team = teller >> planner(*script, tools=[look_up])
    events = list(runtime.stream(team, "A trip"))
    assert {event.agent for event in events if event.partial is not None} == {"planner"}
    assert partials(events)[-1] == ANSWER


def test_without_the_agent_or_an_output_type_there_are_none(runtime: AgentRuntime):
    """An id does not say what the output type is; given the agent it is known."""
    agent = planner({"json": ANSWER, **SLOW}, {"json": ANSWER, **SLOW})
    handle = runtime.start(agent, "A trip")
    events = list(AgentHandle(handle.execution_id, runtime).stream())
    assert any(event.type == EventType.TOKEN for event in events)
    assert partials(events) == []
    handle = runtime.start(agent, "A trip")
    assert partials(list(AgentHandle(handle.execution_id, runtime, agent=agent).stream()))[-1] == ANSWER
    plain = Agent("plain", MockModel([{"json": ANSWER, **SLOW}]))
    assert partials(list(runtime.stream(plain, "A trip"))) == []
