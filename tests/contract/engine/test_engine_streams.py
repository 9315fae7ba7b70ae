"""The stream of an execution: I10, from the journal and live, for quick readers and slow ones."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.core.events import ModelCompleted, Recorded
from perdure.core.model import Delta, ModelReply, ModelRequest
from perdure.engine.ports import StreamDelta
from tests.contract.engine.engine_harness import (
    Gate,
    Harness,
    call,
    collect,
    refused,
    reply,
    result_of,
    seqs,
    soon,
)


def texts(items: list[Any]) -> dict[tuple[str, int, str], str]:
    """The deltas of each attempt, joined at their offsets."""
    said: dict[tuple[str, int, str], str] = {}
    for item in items:
        if isinstance(item, StreamDelta):
            key = (item.step, item.attempt, item.kind)
            before = said.get(key, "")
            assert item.offset <= len(before), f"a gap in {key}: {item}"
            said[key] = before[: item.offset] + item.text
    return said


async def test_from_the_start_to_the_end(h: Harness):
    """A reader that is there from the start sees every event once, and the answer as it grows."""
    gate = Gate(reply("Hello world."), "Hello", " ", "world.")
    await h.open(gate)
    execution_id = await h.start()
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    await gate.reached.wait()
    await soon(lambda: texts(items))
    gate.opened.set()
    await reading
    assert [i for i in items if isinstance(i, Recorded)] == await h.records(execution_id)
    assert texts(items) == {("t1.m", 1, "text"): "Hello world."}
    assert h.gauge("streams") == 0


async def test_from_any_position(h: Harness):
    """What is after the position, no more and no less, of a running and of an ended execution."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await h.hand_in(await h.take())
    await h.ended(execution_id)
    last = len(await h.records(execution_id))
    for after in range(last + 3):
        items: list[Any] = []
        await collect(h.executions.stream(execution_id, after), items)
        assert seqs(items) == list(range(after + 1, last + 1))


async def test_from_beyond_the_end(h: Harness):
    """A position that does not exist yet ends with the execution; it is not waited for for ever."""
    gate = Gate(reply("Done."))
    await h.open(gate)
    execution_id = await h.start()
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 1_000), items))
    await asyncio.sleep(0.02)
    gate.opened.set()
    await asyncio.wait_for(reading, 5)
    assert items == []


async def test_nobody_streams_what_is_not_there(h: Harness):
    """E0401 at the first item."""
    await h.open()
    assert (await refused(anext(h.executions.stream("xnone", 0)))).code == "E0401"
    assert h.gauge("streams") == 0


async def test_a_late_reader_gets_what_was_said_before(h: Harness):
    """The first piece is all of the answer so far; the next ones join it."""
    first, rest = asyncio.Event(), asyncio.Event()

    async def turn(_request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        on_delta(Delta("reasoning", "Hm. "))
        on_delta(Delta("text", "One, "))
        on_delta(Delta("text", "two, "))
        first.set()
        await rest.wait()
        on_delta(Delta("text", "three."))
        return reply("One, two, three.")

    await h.open(turn)
    execution_id = await h.start()
    await first.wait()
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    await soon(lambda: any(isinstance(i, StreamDelta) for i in items))
    assert texts(items)["t1.m", 1, "text"] == "One, two, "
    rest.set()
    await reading
    assert texts(items) == {
        ("t1.m", 1, "text"): "One, two, three.",
        ("t1.m", 1, "reasoning"): "Hm. ",
    }


async def test_the_text_of_a_failed_attempt_is_not_shown_to_a_late_reader(h: Harness):
    """What the first attempt said is void; the second begins at nought under its own number."""

    async def breaks_off(_request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        on_delta(Delta("text", "The answer is fi"))
        raise RuntimeError("the line is dead")

    gate = Gate(reply("Six."), "Six.")
    await h.open([breaks_off, gate])
    execution_id = await h.start()
    await gate.reached.wait()
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    await soon(lambda: texts(items))
    gate.opened.set()
    await reading
    assert texts(items) == {("t1.m", 2, "text"): "Six."}


async def test_a_reader_that_hangs_up_leaves_nothing(h: Harness):
    """Readers come and go in mid-stream; the others notice nothing."""
    gate = Gate(reply("Done."))
    await h.open(gate)
    execution_id = await h.start()
    items: list[Any] = []
    staying = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    for _ in range(10):
        going = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), []))
        await asyncio.sleep(0.005)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    await soon(lambda: h.gauge("streams") == 1)
    gate.opened.set()
    await staying
    assert seqs(items) == list(range(1, len(await h.records(execution_id)) + 1))


async def test_a_slow_reader_is_served_from_the_journal(h: Harness):
    """More happens than a live queue holds while a reader sleeps: it misses nothing and gets nothing twice."""
    calls = [call("look", f"c{n}") for n in range(700)]
    begin = asyncio.Event()

    async def talk(_request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        await begin.wait()
        for _ in range(25):
            for _ in range(100):
                on_delta(Delta("text", "word "))
            await asyncio.sleep(0.001)
        return reply("word " * 2_500, *calls)

    await h.open(talk, reply("Done."))
    execution_id = await h.start()
    slow: list[Any] = []

    async def read_slowly() -> None:
        async for item in h.executions.stream(execution_id, 0):
            slow.append(item)
            if len(slow) in (1, 400, 900):
                await asyncio.sleep(0.2)

    reading = asyncio.ensure_future(read_slowly())
    quick: list[Any] = []
    others = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), quick))
    await soon(lambda: seqs(quick) and seqs(slow))
    begin.set()
    for _ in range(11):
        tasks = await h.tasks.poll("w1", ["helper.look"], 64, 2_000)
        await h.tasks.complete([result_of(t) for t in tasks])
    await h.ended(execution_id, 30)
    await asyncio.gather(reading, others)
    last = len(await h.records(execution_id))
    assert last > 2_000
    assert seqs(slow) == seqs(quick) == list(range(1, last + 1))
    texts(slow)
    assert texts(quick)["t1.m", 1, "text"] == "word " * 2_500


async def test_a_commit_that_is_longer_than_a_live_queue(h: Harness):
    """More events at once than a queue holds, while its reader waits for them: none is missing."""
    gate = Gate(reply(*(call("nothing", f"c{n}") for n in range(1_500))))
    await h.open(gate, reply("Done."))
    execution_id = await h.start()
    items: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), items))
    await soon(lambda: len(seqs(items)) == 2)
    gate.opened.set()
    await reading
    assert seqs(items) == list(range(1, len(await h.records(execution_id)) + 1))
    assert len(items) > 1_500


async def test_many_readers_of_one_busy_execution(h: Harness):
    """Twenty readers that come at different moments see the same events, each from where it came."""
    await h.open(
        *(reply(*(call("look", f"{turn}-{n}") for n in range(5))) for turn in range(8)), reply("Done.")
    )
    execution_id = await h.start(changed={"max_turns": 20})
    readers: list[tuple[int, list[Any], asyncio.Future[None]]] = []
    while (await h.executions.get(execution_id)).status == "running":
        after = (await h.executions.get(execution_id)).last_seq // 2
        items: list[Any] = []
        reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, after), items))
        readers.append((after, items, reading))
        tasks = await h.tasks.poll("w1", ["helper.look"], 2, 200)
        await h.tasks.complete([result_of(t) for t in tasks])
    await asyncio.gather(*(reading for _, _, reading in readers))
    last = len(await h.records(execution_id))
    assert len(readers) >= 10
    for after, items, _ in readers:
        assert seqs(items) == list(range(after + 1, last + 1))


async def test_a_stream_goes_on_after_a_restart(h: Harness):
    """The position is the journal's: another engine carries on behind it."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    await h.until(execution_id, "waiting:worker")
    first: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 0), first))
    await soon(lambda: len(seqs(first)) == 4)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await h.restart(reply("x"), reply("Done."))
    second: list[Any] = []
    reading = asyncio.ensure_future(collect(h.executions.stream(execution_id, 4), second))
    await h.hand_in(await h.take())
    await reading
    assert [i for i in (*first, *second) if isinstance(i, Recorded)] == await h.records(execution_id)


@pytest.mark.parametrize("readers", [1, 30])
async def test_what_is_streamed_is_durable(h: Harness, readers: int):
    """E2: whoever sees an event can read it in the journal."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()

    async def read() -> None:
        async for item in h.executions.stream(execution_id, 0):
            if isinstance(item, Recorded):
                (stored,) = await h.executions.events(execution_id, item.seq - 1, 1)
                assert stored == item

    reading = [asyncio.ensure_future(read()) for _ in range(readers)]
    await h.hand_in(await h.take())
    await asyncio.gather(*reading)
    assert len(await h.found(execution_id, ModelCompleted)) == 2
