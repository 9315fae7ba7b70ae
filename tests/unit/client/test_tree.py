"""Following a tree of executions: order, places, children that never begin, readers that leave."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from perdure.client.following import StreamRecord
from perdure.client.tree import follow
from perdure.core.errors import ApiError, ExecutionError
from perdure.wire.types import EventRecord, EventsAnswer

DONE = {"kind": "execution_completed"}


def asks(step: str, child: str) -> dict[str, Any]:
    """A child is asked for."""
    return {"kind": "child_requested", "step": step, "child_id": child}


def ends(step: str) -> dict[str, Any]:
    """A child's end, as its parent records it."""
    return {"kind": "child_completed", "step": step}


class Journal:
    """Streams from lists of events; a float waits so many seconds, an error is raised once."""

    def __init__(self, **executions: list[Any]) -> None:
        self.executions = executions
        self.opened: list[tuple[str, int]] = []
        self.open = 0

    async def stream(self, execution_id: str, after: int = 0) -> AsyncGenerator[StreamRecord, None]:
        """One execution's records."""
        self.opened.append((execution_id, after))
        if execution_id not in self.executions:
            raise ExecutionError("E0401", "none")
        self.open += 1
        seq = 0
        try:
            for item in list(self.executions[execution_id]):
                if isinstance(item, float):
                    await asyncio.sleep(item)
                elif isinstance(item, Exception):
                    self.executions[execution_id].remove(item)
                    raise item
                else:
                    seq += 1
                    if seq > after:
                        yield EventRecord(execution_id, seq, 0, item)
        finally:
            self.open -= 1

    async def events(self, execution_id: str, after: int = 0, limit: int = 500) -> EventsAnswer:
        """A page of one execution's journal."""
        found = [e for e in self.executions[execution_id] if isinstance(e, dict)]
        records = [EventRecord(execution_id, seq, 0, e) for seq, e in enumerate(found, 1)]
        return EventsAnswer(records[after : after + limit][:2], len(found))  # two at a time


async def read(journal: Journal, places: dict[str, int] | None = None, **options: Any) -> list[Any]:
    """What a reader gets."""
    async with asyncio.timeout(10):
        return [(r.execution_id, r.seq) async for r in follow(journal, "root", places, **options)]  # type: ignore[union-attr]


def nested() -> Journal:
    """A root with two children in parallel, the first of which has one of its own."""
    return Journal(
        root=[asks("c1", "a"), asks("c2", "b"), ends("c2"), ends("c1"), DONE],
        a=[asks("c1", "deep"), 0.05, ends("c1"), DONE],
        b=[{"kind": "x"}, 0.02, DONE],
        deep=[0.05, {"kind": "x"}, DONE],
    )


async def test_a_childs_story_comes_between_its_request_and_its_end():
    """Everything comes once, in the order of each execution and of cause and effect."""
    found = await read(nested())
    assert sorted(found) == sorted(
        [("root", n) for n in range(1, 6)]
        + [("a", n) for n in range(1, 4)]
        + [("b", 1), ("b", 2), ("deep", 1), ("deep", 2)]
    )
    at = {place: index for index, place in enumerate(found)}
    assert (
        at["root", 1] < at["a", 1] < at["deep", 1] < at["deep", 2] < at["a", 2] < at["a", 3] < at["root", 4]
    )
    assert at["root", 2] < at["b", 1] < at["b", 2] < at["root", 3]
    assert found[-1] == ("root", 5)


async def test_without_the_tree_there_is_one_execution():
    """Children are not opened."""
    journal = nested()
    assert await read(journal, tree=False) == [("root", n) for n in range(1, 6)]
    assert journal.opened == [("root", 0)]


async def test_a_reader_goes_on_from_any_place():
    """Read up to each record, then from the places that were seen: the two parts together are the whole, once."""
    whole = sorted(await read(nested()))
    for count in range(len(whole)):
        seen: list[Any] = []
        places: dict[str, int] = {}
        async with aclosing(follow(nested(), "root")) as records:
            async for record in records:
                if len(seen) == count:
                    break
                assert isinstance(record, EventRecord)
                seen.append((record.execution_id, record.seq))
                places[record.execution_id] = record.seq
        learned: list[EventRecord] = []
        seen += await read(nested(), places, learn=learned.append)
        assert sorted(seen) == whole
        assert len(learned) == count - sum(n for who, n in places.items() if (who, n) in _over(places))


def _over(places: dict[str, int]) -> set[tuple[str, int]]:
    """Executions that are not looked at again: their parents had heard of their end."""
    heard: set[str] = set()
    if places.get("root", 0) >= 3:
        heard.add("b")
    if places.get("root", 0) >= 4:
        heard |= {"a", "deep"}
    if places.get("a", 0) >= 2:
        heard.add("deep")
    return {(who, places[who]) for who in heard if who in places}


async def test_a_child_that_begins_late_is_waited_for():
    """Between the parent's record and the child's first there is a moment: E0401, E0615 are no errors for a child."""
    journal = Journal(root=[asks("c1", "a"), 0.15, ends("c1"), DONE], a=[ApiError("E0615", "full"), DONE])
    begun = journal.executions.pop("a")
    reading = asyncio.ensure_future(read(journal))
    await asyncio.sleep(0.05)
    journal.executions["a"] = begun
    assert await reading == [("root", 1), ("a", 1), ("root", 2), ("root", 3)]


async def test_a_child_that_never_began_is_left():
    """It was refused, or its parent was cancelled before it began."""
    journal = Journal(root=[asks("c1", "a"), ends("c1"), asks("c2", "b"), {"kind": "execution_cancelled"}])
    assert await read(journal) == [("root", n) for n in range(1, 5)]


async def test_the_end_of_a_cancelled_root_comes_after_its_childrens():
    """Its children are cancelled right after it, and their end is read."""
    journal = Journal(
        root=[asks("c1", "a"), {"kind": "execution_cancelled"}], a=[0.1, {"kind": "execution_cancelled"}]
    )
    assert await read(journal) == [("root", 1), ("a", 1), ("root", 2)]


async def test_errors_reach_the_reader():
    """An error of the root, or of a child, ends the reading; nothing stays open."""
    with pytest.raises(ExecutionError):
        await read(Journal())
    journal = Journal(root=[asks("c1", "a"), 5.0, DONE], a=[ApiError("E0609", "gap")])
    with pytest.raises(ApiError):
        await read(journal)
    assert journal.open == 0


async def test_leaving_hangs_up_everywhere():
    """A reader that leaves closes all streams."""
    journal = Journal(root=[asks("c1", "a"), 60.0], a=[{"kind": "x"}, 60.0])
    async with aclosing(follow(journal, "root")) as records:
        await anext(records)
        await anext(records)
        assert journal.open == 2
    assert journal.open == 0
