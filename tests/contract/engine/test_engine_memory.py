"""What a model is shown of a conversation: windows, system messages, condensation; and that its prefix is stable (B14)."""

import itertools
from typing import Any

import msgspec
import pytest

from perdure.core import events as ev
from perdure.core.definition import MemoryDefinition
from perdure.core.errors import ModelError
from perdure.core.messages import Message
from perdure.core.model import ModelReply, ModelRequest
from tests.contract.engine.engine_harness import Gate, Harness, call, reply
from tests.contract.engine.guard_harness import working
from tests.contract.engine.tree_harness import TalkingModel, agent, at_every_commit, begin, texts
from tests.unit.core.invariants import calls_are_answered
from tests.unit.core.plans import tool

LOOK = dict([tool("look", {})])
LONG = "word " * 60
TURNS = 8


def looking(request: ModelRequest) -> ModelReply:
    """A call in each turn, then the answer; a summary when it is asked for one."""
    if not request.tools:
        return reply("SUMMARY")
    number = int(request.step.removeprefix("t").removesuffix(".m"))
    return reply("Done.") if number > TURNS else reply(f"Turn {number}.", call("look", f"c{number}"))


async def looked(h: Harness, **fields: Any) -> str:
    """An execution of many turns, run to its end."""
    async with working(h, look=lambda _: LONG):
        execution_id = await begin(
            h, agent("helper", tools=LOOK, max_turns=30, **fields), prompt="Look around."
        )
        await h.ended(execution_id)
    return execution_id


def turns(h: Harness) -> list[ModelRequest]:
    """The requests that are no summaries."""
    return [r for r in h.model.requests if r.tools]


async def test_the_messages_of_a_turn_are_a_byte_prefix_of_the_next_turns(h: Harness):
    """B14: without a window the serialised messages only grow, also over a restart."""
    h.model = TalkingModel(helper=looking)
    await h.open()
    await looked(h)
    raw = [msgspec.json.encode(r.messages) for r in turns(h)]
    assert len(raw) == TURNS + 1
    for before, after in itertools.pairwise(raw):
        assert after.startswith(before[:-1])
    assert len({msgspec.json.encode((r.instructions, r.tools)) for r in turns(h)}) == 1


@pytest.mark.parametrize("limits", [{"max_messages": 6}, {"max_tokens": 300}])
async def test_a_window_shows_the_end_of_the_conversation(h: Harness, limits: dict[str, int]):
    """Never a result without its call, and always what was asked; it moves on by jumps, so that most prefixes hold."""
    h.model = TalkingModel(helper=looking)
    await h.open()
    await looked(h, memory=MemoryDefinition(**limits))
    requests = turns(h)
    stable = 0
    for before, after in itertools.pairwise(requests):
        stable += after.messages[: len(before.messages)] == before.messages
    for request in requests:
        calls_are_answered(request.messages)
        assert request.messages[0].text == "Look around."
        assert len(request.messages) <= limits.get("max_messages", 99)
    assert len(requests[-1].messages) < 2 * TURNS
    assert 0 < stable < len(requests) - 1


async def test_what_is_remembered_stands_before_everything(h: Harness):
    """A system message is added to the instructions; the others are the first messages, and no window drops them."""
    memory = MemoryDefinition(
        (
            {"role": "system", "content": "Answer in French."},
            {"role": "user", "content": "I am Ann."},
            {"role": "assistant", "content": "Bonjour Ann."},
        ),
        max_messages=8,
    )
    h.model = TalkingModel(helper=looking)
    await h.open()
    await looked(h, memory=memory)
    for request in turns(h):
        assert request.instructions == "helper\n\nAnswer in French."
        assert texts(request)[:2] == ["I am Ann.", "Bonjour Ann."]


# Condensing -----------------------------------------------------------------------------------------------

WINDOW = 700


def told(messages: list[Message]) -> int:
    """How many summaries stand in a conversation."""
    return sum(m.text.startswith("Summary of the conversation") for m in messages)


async def test_a_conversation_that_fills_the_window_is_condensed(h: Harness):
    """The summary takes the place of the old part; no call is cut from its result, and the question stays."""
    h.model = TalkingModel(helper=looking)
    await h.open()
    execution_id = await looked(h, context_window=WINDOW)
    assert await h.found(execution_id, ev.CondenseRequested)
    for request in turns(h):
        calls_are_answered(request.messages)
        assert "Look around." in texts(request)
    last = turns(h)[-1].messages
    assert told(last) == 1
    assert len(last) < 2 * TURNS


async def test_a_large_result_is_counted_before_it_is_shown(h: Harness):
    """What the tools have just given counts: the conversation is condensed before the model sees it, not a turn later."""
    h.model = TalkingModel(helper=looking)
    await h.open()
    sizes = iter(["word " * 400, "word " * 150])
    async with working(h, look=lambda _: next(sizes, "small")):
        execution_id = await begin(
            h, agent("helper", tools=LOOK, max_turns=30, context_window=1_000), prompt="Look."
        )
        await h.ended(execution_id)
    first = (await h.found(execution_id, ev.CondenseRequested))[0]
    assert first.turn == 3, "the second result would have passed the window"


async def test_a_summary_is_made_once_whatever_happens(h: Harness):
    """A crash at every commit: the conversation goes on from the recorded summary, and all results are there."""
    h.model = TalkingModel(helper=looking)

    async def client(name: str) -> None:
        async with working(h, look=lambda _: LONG):
            root = agent("helper", tools=LOOK, max_turns=30, context_window=WINDOW)
            execution_id = await begin(h, root, prompt="Look around.", idempotency_key=name)
            assert (await h.ended(execution_id)).output == "Done."
        asked = await h.found(execution_id, ev.CondenseRequested)
        answered = [e.step for e in await h.found(execution_id, ev.ModelCompleted) if e.step.endswith(".z")]
        assert sorted({e.step for e in asked}) == sorted(answered), "each is answered once"
        calls_are_answered(turns(h)[-1].messages)

    assert await at_every_commit(h, client) >= 20


async def test_a_restart_in_the_middle_of_a_summary_asks_for_it_again(h: Harness):
    """The lost attempt is marked; the conversation is whole until there is a summary."""
    gate = Gate(reply("never"))
    h.model = TalkingModel(helper=lambda r: looking(r) if r.tools else reply(""), summary=looking)
    h.model.voices[""] = lambda r: gate(r, lambda _: None)
    await h.open()
    async with working(h, look=lambda _: LONG):
        root = agent("helper", tools=LOOK, max_turns=30, context_window=WINDOW)
        execution_id = await begin(h, root, prompt="Look around.")
        await gate.reached.wait()
        h.model = TalkingModel(helper=looking)
        h.model.voices[""] = looking
        await h.restart()
        await h.ended(execution_id)
    (lost,) = await h.found(execution_id, ev.ModelLost)
    assert lost.step.endswith(".z")
    assert told(turns(h)[-1].messages) == 1


async def test_an_empty_summary_is_asked_for_again(h: Harness):
    """Nothing in the place of everything would be worse than no summary."""
    said = iter([reply(""), reply("  "), reply("SUMMARY")])
    h.model = TalkingModel(helper=looking)
    h.model.voices[""] = lambda r: next(said, reply("SUMMARY"))
    await h.open()
    execution_id = await looked(h, context_window=WINDOW)
    assert [e.error.code for e in await h.found(execution_id, ev.ModelFailed)] == ["E0209", "E0209"]
    assert "SUMMARY" in "".join(texts(turns(h)[-1]))


async def test_a_summary_that_cannot_be_made_ends_the_execution(h: Harness):
    """It fails with the model's error, and says so: a conversation is never cut in silence."""
    h.model = TalkingModel(helper=looking)

    async def broken(_: ModelRequest) -> ModelReply:
        raise ModelError("E0206", "The key is wrong", retryable=False)

    h.model.voices[""] = broken
    await h.open()
    execution_id = await looked(h, context_window=WINDOW)
    view = await h.executions.get(execution_id)
    assert (view.status, (view.error or {})["code"]) == ("failed", "E0206")


async def test_a_condensed_conversation_is_what_a_session_goes_on_from(h: Harness):
    """The next execution is shown the summary, not what it stands for, also after a restart."""
    h.model = TalkingModel(helper=looking)
    await h.open()
    root = agent("helper", tools=LOOK, max_turns=30, context_window=WINDOW)
    async with working(h, look=lambda _: LONG):
        await h.ended(await begin(h, root, prompt="Look around.", session_id="s"))
        await h.restart()
        h.model.requests.clear()
        await h.ended(await begin(h, root, prompt="Again.", session_id="s"))
    assert told(turns(h)[0].messages) == 1


async def test_a_long_session_is_condensed_before_its_next_execution_asks(h: Harness):
    """What earlier executions said fills the window as well: it is summed up before the first turn."""
    h.model = TalkingModel(helper=lambda r: reply("SUMMARY" if r.step.endswith(".z") else "word " * 60))
    await h.open()
    for number in range(8):
        execution_id = await begin(
            h, agent("helper", context_window=600), prompt=f"Question {number}.", session_id="s"
        )
        await h.ended(execution_id)
    asked = [r for r in h.model.requests if r.step == "t1.m"]
    assert max(len(r.messages) for r in asked) < 12  # uncondensed there would be 15
    assert [r.messages[-1].text for r in asked] == [f"Question {n}." for n in range(8)]
    assert any(r.step == "t1.z" for r in h.model.requests)
