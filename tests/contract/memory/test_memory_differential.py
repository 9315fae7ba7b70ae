"""Random sequences of verbs go to each store and to the oracle; every answer must be the same."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.memory.filters import MemoryFilter
from tests.contract.memory.conftest import Adapter
from tests.contract.memory.oracle import OracleStore
from tests.contract.memory.samples import NOW_MS, SPACE, entry, unit

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=30)
SCALAR = st.sampled_from(["x", "y", "Ü", "1", 1, 1.0, 0, 2.5, True, False, None])
KEY = st.sampled_from(["k", "topic", "é", "a.b", "$eq"])
METADATA = st.dictionaries(KEY, SCALAR | st.lists(SCALAR, max_size=3), max_size=3)
CONDITIONS = st.dictionaries(KEY, SCALAR | st.lists(SCALAR, max_size=2), max_size=2)
TIME = st.integers(0, 20)
NAMESPACE = st.sampled_from(["n", "m"])
ID = st.sampled_from([f"i{n}" for n in range(6)])


@st.composite
def filters(draw: st.DrawFn) -> MemoryFilter:
    """A filter; every second one is open."""
    if draw(st.booleans()):
        return MemoryFilter()
    bound = st.none() | TIME.map(lambda n: NOW_MS + n)
    return MemoryFilter(
        where=draw(CONDITIONS),
        unless=draw(CONDITIONS),
        created_from_ms=draw(bound),
        created_before_ms=draw(bound),
    )


@st.composite
def verbs(draw: st.DrawFn) -> tuple[Any, ...]:
    """One verb with its arguments; namespaces and times are relative, and made real by the runner."""
    kind = draw(
        st.sampled_from(
            ["add", "add", "add", "search", "search", "list", "delete", "delete", "clear", "wait"]
        )
    )
    if kind == "wait":
        return kind, draw(st.integers(1, 8))
    namespace = draw(NAMESPACE)
    if kind == "add":
        new = st.tuples(ID, TEXT, METADATA, TIME, st.none() | st.integers(1, 20), st.integers(0, 5))
        return kind, namespace, draw(st.lists(new, min_size=1, max_size=4, unique_by=lambda item: item[0]))
    where = draw(filters())
    if kind == "search":
        return kind, namespace, draw(st.integers(0, 8)), draw(st.integers(1, 6)), where
    if kind == "list":
        return kind, namespace, draw(st.none() | st.integers(1, 4)), where
    if kind == "delete":
        return kind, namespace, draw(st.lists(ID, min_size=1, max_size=4, unique=True)), where
    return kind, namespace, where


class _Pair:
    """A store and the oracle, side by side."""

    def __init__(self, store: Any, mark: str) -> None:
        self.store, self.oracle, self.mark, self.now_ms = store, OracleStore(), mark, NOW_MS
        self.seen: Counter[str] = (
            Counter()
        )  # what happened, so that a run that only asked empty stores is told

    async def do(self, verb: tuple[Any, ...]) -> None:
        kind, *rest = verb
        if kind == "wait":
            self.now_ms += rest[0]
            return
        namespace = f"{self.mark}{rest[0]}"
        await getattr(self, kind)(namespace, *rest[1:])

    async def add(self, namespace: str, items: list[Any]) -> None:
        entries = [
            entry(
                name,
                namespace=namespace,
                content=text,
                metadata=metadata,
                created_at_ms=NOW_MS + created,
                expires_at_ms=None if ttl is None else self.now_ms + ttl,
                vector=vector,
            )
            for name, text, metadata, created, ttl, vector in items
        ]
        expected = await self.oracle.add(SPACE, entries, self.now_ms)
        assert await self.store.add(SPACE, entries, self.now_ms) == expected
        self.seen.update("stored" if answer.new else "was there" for answer in expected)

    async def search(self, namespace: str, seed: int, limit: int, where: MemoryFilter) -> None:
        vector = unit(seed)
        everything = {
            e.id: e for e in await self.oracle.search(SPACE, namespace, vector, 99, self.now_ms, where)
        }
        expected = await self.oracle.search(SPACE, namespace, vector, limit, self.now_ms, where)
        found = await self.store.search(SPACE, namespace, vector, limit, self.now_ms, where)
        assert [e.score for e in found] == pytest.approx([e.score for e in expected], abs=1e-5)
        assert len({e.id for e in found}) == len(found)
        self.seen["found"] += len(found)
        for one in found:  # entries with equal scores may come in any order
            same = everything[one.id]
            assert one.score == pytest.approx(same.score, abs=1e-5)
            assert (one.content, one.metadata, one.digest) == (same.content, same.metadata, same.digest)

    async def list(self, namespace: str, limit: int | None, where: MemoryFilter) -> None:
        expected = await self.oracle.list_all(namespace, self.now_ms, where, limit)
        assert await self.store.list_all(namespace, self.now_ms, where, limit) == expected
        self.seen["listed"] += len(expected)

    async def delete(self, namespace: str, ids: "list[str]", where: MemoryFilter) -> None:
        expected = await self.oracle.delete(namespace, ids, self.now_ms, where)
        assert await self.store.delete(namespace, ids, self.now_ms, where) == expected
        self.seen["deleted"] += expected

    async def clear(self, namespace: str, where: MemoryFilter) -> None:
        expected = await self.oracle.clear(namespace, self.now_ms, where)
        assert await self.store.clear(namespace, self.now_ms, where) == expected
        self.seen["cleared"] += expected


def test_every_answer_is_the_oracles(adapter: Adapter):
    """Random verbs have the answers of the oracle, and leave what the oracle has."""
    store = adapter.make()
    marks = itertools.count()
    loop = asyncio.new_event_loop()
    seen: Counter[str] = Counter()

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(verbs(), min_size=5, max_size=25))
    def check(sequence: list[tuple[Any, ...]]) -> None:
        async def whole() -> None:
            pair = _Pair(store, f"{next(marks)}-")
            for verb in sequence:
                await pair.do(verb)
            for namespace in (
                "n",
                "m",
            ):  # emptied at the end: a derandomized run may draw no clear that finds any
                await pair.list(f"{pair.mark}{namespace}", None, MemoryFilter())
                await pair.clear(f"{pair.mark}{namespace}", MemoryFilter())
                await pair.list(f"{pair.mark}{namespace}", None, MemoryFilter())
            seen.update(pair.seen)

        loop.run_until_complete(whole())

    try:
        check()
    finally:
        loop.run_until_complete(store.close())
        loop.close()
    happened = {what for what, count in seen.items() if count}
    assert happened == {"stored", "was there", "found", "listed", "deleted", "cleared"}
