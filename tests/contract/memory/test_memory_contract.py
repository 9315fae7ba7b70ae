"""What every memory store does, told by example; the rules M1 to M6 of `perdure.memory.ports`."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perdure.core.errors import SemanticMemoryError
from perdure.memory.filters import MemoryFilter
from perdure.memory.ports import VectorSpace
from tests.contract.memory.conftest import Adapter
from tests.contract.memory.samples import DIMENSION, NOW_MS, SPACE, entry, unit

NS = "a/u"


def run(adapter: Adapter, scenario: Callable[[Any], Awaitable[None]]) -> None:
    """Run *scenario* on a new store, and close it."""

    async def whole() -> None:
        store = adapter.make()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(whole())


async def ids(store: Any, namespace: str = NS, now_ms: int = NOW_MS, **where: Any) -> list[str]:
    """The ids of the listed entries, in order."""
    return [e.id for e in await store.list_all(namespace, now_ms, MemoryFilter(**where))]


def test_a_new_store_is_empty(adapter: Adapter):
    """A store in which nothing was ever stored finds, lists, deletes and clears nothing."""

    async def scenario(store: Any) -> None:
        assert await store.search(SPACE, NS, unit(1), 5, NOW_MS) == []
        assert await store.list_all(NS, NOW_MS) == []
        assert await store.delete(NS, ["x"], NOW_MS) == 0
        assert await store.clear(NS, NOW_MS) == 0

    run(adapter, scenario)


def test_what_comes_back_is_what_was_added(adapter: Adapter):
    """Every field comes back as it was: Unicode, large texts, nested metadata, times; no vector."""
    metadata = {
        "text": "naïve 日本語 🧿 \\u202e\u202e '\"\\;--",
        "number": 0.1,
        "large": 2**53 + 1,
        "list": ["a", 1, None, True],
        "nested": {"deep": [{"er": 1.5}]},
        "": "empty name",
        "é": None,
    }
    given = [
        entry("plain"),
        entry(
            "all",
            content="Größe 漢字 👩‍👩‍👧 \n\t\r ' \" \\ %s $1 {x}",
            metadata=metadata,
            created_at_ms=NOW_MS + 1,
        ),
        entry("large", content="väl" * 33_000, created_at_ms=NOW_MS + 2, expires_at_ms=NOW_MS + 10**9),
    ]

    async def scenario(store: Any) -> None:
        await store.add(SPACE, given, NOW_MS)
        listed = await store.list_all(NS, NOW_MS)
        assert [e.id for e in listed] == ["plain", "all", "large"]
        for was, is_now in zip(given, listed, strict=True):
            for field in ("namespace", "content", "digest", "metadata", "created_at_ms", "expires_at_ms"):
                assert getattr(is_now, field) == getattr(was, field), field
            assert (is_now.embedding, is_now.score) == (None, None)
        found = (await store.search(SPACE, NS, given[1].embedding, 1, NOW_MS))[0]
        assert (found.content, found.metadata) == (given[1].content, metadata)
        assert isinstance(found.metadata["large"], int)

    run(adapter, scenario)


def test_search_answers_by_descending_score(adapter: Adapter):
    """The answers are the closest by cosine, closest first, with their scores."""
    entries = [entry(f"e{n}") for n in range(60)]
    query = unit(4242)
    cosine = {e.id: math.fsum(a * b for a, b in zip(e.embedding or (), query, strict=True)) for e in entries}
    closest = sorted(cosine, key=lambda i: -cosine[i])

    async def scenario(store: Any) -> None:
        await store.add(SPACE, entries, NOW_MS)
        for limit in (1, 5, 60, 1000):
            found = await store.search(SPACE, NS, query, limit, NOW_MS)
            assert [e.id for e in found] == closest[:limit]
            assert [e.score for e in found] == pytest.approx([cosine[i] for i in closest[:limit]], abs=1e-5)

    run(adapter, scenario)


def test_an_id_is_stored_once(adapter: Adapter):
    """M1: adding an id again changes nothing, and says which digest is stored."""
    first, second = entry("same", content="first"), entry("same", content="second")

    async def scenario(store: Any) -> None:
        assert [(a.new, a.digest) for a in await store.add(SPACE, [first], NOW_MS)] == [(True, first.digest)]
        again = await store.add(SPACE, [entry("other"), second], NOW_MS + 1)
        assert [(a.id, a.new) for a in again] == [("other", True), ("same", False)]
        assert again[1].digest == first.digest
        assert [e.content for e in await store.list_all(NS, NOW_MS)] == ["text of other", "first"]

    run(adapter, scenario)


def test_namespaces_are_apart(adapter: Adapter):
    """M2: the same id lives in each namespace for itself, and no verb reaches into another one."""
    spaces = ["a/u", "a/v", "a", "a/u/", "%", "A/U"]

    async def scenario(store: Any) -> None:
        for name in spaces:
            added = await store.add(SPACE, [entry("same", namespace=name, content=f"of {name}")], NOW_MS)
            assert added[0].new
        for name in spaces:
            assert [e.content for e in await store.search(SPACE, name, unit(1), 9, NOW_MS)] == [f"of {name}"]
        assert await store.delete("a/v", ["same"], NOW_MS) == 1
        assert await store.clear("a", NOW_MS) == 1
        left = [name for name in spaces if await ids(store, name)]
        assert left == ["a/u", "a/u/", "%", "A/U"]

    run(adapter, scenario)


def test_filters_mean_the_same_in_every_store(adapter: Adapter):
    """Equality, one of several, lists, absence and times select the same entries everywhere."""
    entries = [
        entry("a", metadata={"topic": "tax", "n": 1, "ok": True}, created_at_ms=NOW_MS),
        entry("b", metadata={"topic": "bill", "n": 1.0, "tags": ["x", "y"]}, created_at_ms=NOW_MS + 1),
        entry("c", metadata={"topic": "tax", "n": "1", "tags": ["y"], "ok": None}, created_at_ms=NOW_MS + 2),
        entry("d", metadata={"n": True, "nested": {"topic": "tax"}}, created_at_ms=NOW_MS + 3),
    ]
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "abcd"),
        ({"where": {"topic": "tax"}}, "ac"),
        ({"where": {"topic": ["tax", "bill"]}}, "abc"),
        ({"where": {"topic": []}}, ""),
        ({"where": {"topic": "TAX"}}, ""),
        ({"where": {"n": 1}}, "ab"),
        ({"where": {"n": "1"}}, "c"),
        ({"where": {"n": True}}, "d"),
        ({"where": {"ok": None}}, "c"),
        ({"where": {"tags": "y"}}, "bc"),
        ({"where": {"tags": ["x", "z"]}}, "b"),
        ({"where": {"topic": "tax", "tags": "y"}}, "c"),
        ({"unless": {"topic": "tax"}}, "bd"),
        ({"unless": {"topic": ["tax", "bill"], "n": True}}, ""),
        ({"unless": {"topic": []}}, "abcd"),
        ({"where": {"tags": "y"}, "unless": {"tags": "x"}}, "c"),
        ({"created_from_ms": NOW_MS + 1, "created_before_ms": NOW_MS + 3}, "bc"),
        ({"where": {"topic": "tax"}, "created_from_ms": NOW_MS + 1}, "c"),
    ]

    async def scenario(store: Any) -> None:
        await store.add(SPACE, entries, NOW_MS)
        for where, expected in cases:
            assert "".join(await ids(store, **where)) == expected, where
            found = await store.search(SPACE, NS, unit(7), 10, NOW_MS, MemoryFilter(**where))
            assert "".join(sorted(e.id for e in found)) == expected, where
        assert await store.delete(NS, ["a", "b"], NOW_MS, MemoryFilter(where={"topic": "tax"})) == 1
        assert await store.clear(NS, NOW_MS, MemoryFilter(where={"tags": "y"})) == 2
        assert await ids(store) == ["d"]

    run(adapter, scenario)


def test_what_has_expired_is_absent(adapter: Adapter):
    """M3: from its time on an entry is not found, listed, counted or in the way."""
    short = entry("short", expires_at_ms=NOW_MS + 100)

    async def scenario(store: Any) -> None:
        await store.add(SPACE, [short, entry("long")], NOW_MS)
        assert await ids(store, now_ms=NOW_MS + 99) == ["long", "short"]
        assert await ids(store, now_ms=NOW_MS + 100) == ["long"]
        found = await store.search(SPACE, NS, short.embedding, 5, NOW_MS + 100)
        assert [e.id for e in found] == ["long"]
        assert await store.delete(NS, ["short"], NOW_MS + 100) == 0
        again = await store.add(SPACE, [entry("short", content="anew")], NOW_MS + 100)
        assert again[0].new
        assert {e.content for e in await store.list_all(NS, NOW_MS + 100)} == {"text of long", "anew"}
        assert await store.clear(NS, NOW_MS + 200) == 2

    run(adapter, scenario)


def test_listing_is_by_time_then_id_and_may_be_cut(adapter: Adapter):
    """list_all answers oldest first, ids deciding among equals, and the first of them with a limit."""
    entries = [entry(f"{n % 7}-{n}", created_at_ms=NOW_MS + n % 3) for n in range(30)]
    expected = [e.id for e in sorted(entries, key=lambda e: (e.created_at_ms, e.id))]

    async def scenario(store: Any) -> None:
        await store.add(SPACE, entries, NOW_MS)
        assert await ids(store) == expected
        assert [e.id for e in await store.list_all(NS, NOW_MS, limit=4)] == expected[:4]

    run(adapter, scenario)


def test_many_entries_are_found_and_removed(adapter: Adapter):
    """Several hundred entries are listed, found by their own vectors, and removed to the last one."""
    entries = [entry(f"e{n:04}", created_at_ms=NOW_MS + n, metadata={"third": n % 3}) for n in range(400)]

    async def scenario(store: Any) -> None:
        for first in range(0, 400, 100):
            await store.add(SPACE, entries[first : first + 100], NOW_MS)
        assert await ids(store) == [e.id for e in entries]
        for wanted in entries[::100]:
            found = await store.search(SPACE, NS, wanted.embedding, 1, NOW_MS)
            assert [e.id for e in found] == [wanted.id]
            third = MemoryFilter(where={"third": wanted.metadata["third"]})
            assert (await store.search(SPACE, NS, wanted.embedding, 1, NOW_MS, third))[0].id == wanted.id
        assert await store.delete(NS, [e.id for e in entries[:150]], NOW_MS) == 150
        assert await store.clear(NS, NOW_MS) == 250
        assert await ids(store) == []

    run(adapter, scenario)


def test_concurrent_calls_end_like_some_order_of_them(adapter: Adapter):
    """M1: of many adds of one id at once exactly one is new; other verbs beside them harm nothing."""

    async def scenario(store: Any) -> None:
        await store.add(SPACE, [entry("first")], NOW_MS)
        batches = [
            store.add(SPACE, [entry(f"own-{n}"), entry("shared", content=f"of {n}")], NOW_MS)
            for n in range(12)
        ]
        reads = [store.search(SPACE, NS, unit(n), 3, NOW_MS) for n in range(12)]
        answers = await asyncio.gather(*batches, *reads, store.delete(NS, ["first"], NOW_MS))
        added = answers[:12]
        assert sum(answer[1].new for answer in added) == 1
        assert len({answer[1].digest for answer in added}) == 1
        assert all(answer[0].new for answer in added)
        assert sorted(await ids(store)) == sorted(["shared", *(f"own-{n}" for n in range(12))])

    run(adapter, scenario)


def test_a_store_may_be_used_from_several_event_loops(adapter: Adapter):
    """One store serves loops one after the other, and two at once."""
    store = adapter.make()

    async def one(n: int) -> list[str]:
        await store.add(SPACE, [entry(f"e{n}")], NOW_MS)
        return [e.id for e in await store.search(SPACE, NS, unit(n), 9, NOW_MS)]

    async def both() -> None:
        there = await asyncio.gather(asyncio.to_thread(lambda: asyncio.run(one(1))), one(2))
        assert all(there)
        assert sorted(await ids(store)) == ["e1", "e2"]
        await store.close()

    asyncio.run(both())


def test_another_space_is_refused(adapter: Adapter):
    """M5: vectors of another dimension or another embedder are E0803, and nothing is stored."""
    others = [VectorSpace("test/1", 4), VectorSpace("test/2", DIMENSION)]

    async def scenario(store: Any) -> None:
        await store.add(SPACE, [entry("a")], NOW_MS)
        for other in others:
            with pytest.raises(SemanticMemoryError) as refused:
                await store.add(other, [entry("b", dimension=other.dimension)], NOW_MS)
            assert refused.value.code == "E0803"
            with pytest.raises(SemanticMemoryError) as refused:
                await store.search(other, NS, unit(1, other.dimension), 1, NOW_MS)
            assert refused.value.code == "E0803"
        assert await ids(store) == ["a"]

    run(adapter, scenario)


def test_a_closed_store_says_so(adapter: Adapter):
    """After close every verb is E0807, and closing again is nothing."""

    async def scenario(store: Any) -> None:
        await store.add(SPACE, [entry("a")], NOW_MS)
        await store.close()
        await store.close()
        for call in (
            lambda: store.add(SPACE, [entry("b")], NOW_MS),
            lambda: store.search(SPACE, NS, unit(1), 1, NOW_MS),
            lambda: store.delete(NS, ["a"], NOW_MS),
            lambda: store.clear(NS, NOW_MS),
            lambda: store.list_all(NS, NOW_MS),
        ):
            with pytest.raises(SemanticMemoryError) as refused:
                await call()
            assert refused.value.code == "E0807"

    run(adapter, scenario)


def test_a_store_that_was_never_used_can_be_closed(adapter: Adapter):
    """Closing before the first use is no error."""

    async def scenario(store: Any) -> None:
        await store.close()

    run(adapter, scenario)


def test_everything_is_there_after_reopening(durable: Adapter):
    """M4: another store on the same place finds entries, filters, space and expiry as they were."""

    async def scenario() -> None:
        first = durable.make()
        await first.add(
            SPACE, [entry("a", metadata={"k": "v"}), entry("b", expires_at_ms=NOW_MS + 5)], NOW_MS
        )
        await first.delete(NS, ["none"], NOW_MS)
        await first.close()
        second = durable.again()
        try:
            assert await ids(second) == ["a", "b"]
            assert await ids(second, where={"k": "v"}) == ["a"]
            assert await ids(second, now_ms=NOW_MS + 5) == ["a"]
            found = await second.search(SPACE, NS, entry("a").embedding, 1, NOW_MS)
            assert (found[0].id, found[0].score) == ("a", pytest.approx(1, abs=1e-5))
            assert not (await second.add(SPACE, [entry("a")], NOW_MS))[0].new
            with pytest.raises(SemanticMemoryError) as refused:
                await second.add(VectorSpace("test/2", DIMENSION), [entry("c")], NOW_MS)
            assert refused.value.code == "E0803"
        finally:
            await second.close()

    asyncio.run(scenario())
