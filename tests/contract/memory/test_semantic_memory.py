"""`SemanticMemory` with the real embedder over every store."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from perdure.core.errors import ClientError, SemanticMemoryError
from perdure.memory.embedders import WordLlamaEmbedder
from perdure.memory.entries import NewMemory
from perdure.memory.filters import MemoryFilter
from perdure.memory.memory import SemanticMemory
from perdure.memory.ports import VectorSpace
from perdure.memory.stores.in_process import InProcessStore
from perdure.memory.stores.pgvector import PgVectorStore
from perdure.memory.stores.qdrant import QdrantStore
from tests.contract.memory.conftest import Adapter
from tests.contract.memory.facts import FACTS

pytest.importorskip("wordllama")
EMBEDDER = WordLlamaEmbedder()  # one model for all tests


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)

    def random_unit(self) -> float:
        return 0.5


@pytest.fixture
def clock() -> ManualClock:
    """The clock of `memory`."""
    return ManualClock()


@pytest.fixture
def memory(adapter: Adapter, clock: ManualClock) -> Iterator[SemanticMemory]:
    """An empty memory over each store."""
    with SemanticMemory(adapter.make(), embedder=EMBEDDER, clock=clock) as memory:
        yield memory


def refused(call: Any, code: str) -> SemanticMemoryError:
    """The error that *call* raises, with its code checked."""
    with pytest.raises(SemanticMemoryError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return caught.value


def test_the_seven_verbs(memory: SemanticMemory):
    """add, search, search_entries, get_context, list_all, delete and clear do what their names say."""
    dog = memory.add(FACTS["dog"], {"kind": "pet"})
    memory.add_many([FACTS["diet"], NewMemory(FACTS["car"], {"kind": "thing"})])
    assert memory.search("Do they have a pet dog?", 1) == [FACTS["dog"]]
    best = memory.search_entries("Do they have a pet dog?")[0]
    assert (best.id, best.content, best.metadata) == (dog, FACTS["dog"], {"kind": "pet"})
    assert best.score is not None
    assert 0.25 < best.score <= 1
    assert memory.search("dog", where={"kind": "thing"}) == [FACTS["car"]]
    context = memory.get_context("What is their labrador called?")
    assert context.startswith("- (2026-09-21) They have a three-year-old labrador called Bruno.")
    assert {e.content for e in memory.list_all()} == {FACTS["dog"], FACTS["diet"], FACTS["car"]}
    assert len(memory.list_all(limit=2)) == 2
    assert (memory.delete(dog), memory.delete(dog)) == (True, False)
    assert memory.clear({"kind": "thing"}) == 1
    assert [e.content for e in memory.list_all()] == [FACTS["diet"]]
    assert memory.clear() == 1
    assert memory.list_all() == []


def test_the_same_text_is_one_entry(memory: SemanticMemory):
    """A text without a key is its own key; white space and Unicode forms do not make another text of it."""
    first = memory.add("The cafe\u0301 opens at  nine.\n")
    assert memory.add("The caf\u00e9 opens at nine.") == first
    assert (
        memory.add_many(["The café opens at nine.", "Another text", "The café opens at nine."])[::2]
        == [first] * 2
    )
    assert len(memory.list_all()) == 2


def test_a_key_is_one_entry_and_one_text(memory: SemanticMemory):
    """The same key stores once; with another text it is E0804 and the first text stays; other keys are others."""
    first = memory.add("Backup finished.", idempotency_key="run-1")
    assert memory.add("Backup finished.", idempotency_key="run-1") == first
    assert memory.add("Backup finished.", idempotency_key="run-2") != first
    refused(lambda: memory.add("Backup failed.", idempotency_key="run-1"), "E0804")
    twice = [NewMemory("a", idempotency_key="k"), NewMemory("b", idempotency_key="k")]
    refused(lambda: memory.add_many(twice), "E0804")
    assert [e.content for e in memory.list_all()] == ["Backup finished."] * 2


def test_agents_and_users_do_not_see_each_other(memory: SemanticMemory):
    """A memory of another agent or user finds nothing of this one, and clears nothing of it."""
    ana, bo = memory.scoped(agent="support", user="ana"), memory.scoped(agent="support", user="bo")
    other = memory.scoped(agent="sales", user="ana")
    assert ana.add("Likes tea.") != bo.add("Likes tea.")
    ana.add("Lives in Rome.")
    assert other.list_all() == memory.list_all() == []
    assert bo.search("city", 10) == ["Likes tea."]
    assert bo.clear() == 1
    assert len(ana.list_all()) == 2
    split, joined = memory.scoped(agent="a/b", user="c"), memory.scoped(agent="a", user="b/c")
    split.add("Only here.")
    assert joined.list_all() == []


def test_sessions_are_together_or_apart(memory: SemanticMemory):
    """By default all sessions are found; a memory that keeps them apart finds, deletes and clears its own alone."""
    one = memory.scoped(session_id="s1")
    one.add("Said in the first session.")
    assert memory.scoped(session_id="s2").search("session") == ["Said in the first session."]
    assert memory.search_entries("session")[0].metadata == {"session_id": "s1"}
    apart = memory.scoped(session_id="s2", across_sessions=False)
    assert apart.search("session") == []
    apart.add("Said in the first session.")
    assert {e.metadata["session_id"] for e in memory.list_all()} == {"s1", "s2"}
    assert not apart.delete(one.list_all({"session_id": "s1"})[0].id)
    refused(lambda: apart.search("x", where={"session_id": "s1"}), "E0802")
    refused(lambda: apart.add("x", {"session_id": "s1"}), "E0802")
    assert apart.clear() == 1
    assert [e.metadata["session_id"] for e in memory.list_all()] == ["s1"]
    refused(lambda: memory.scoped(across_sessions=False), "E0802")


def test_what_has_a_time_to_live_is_forgotten(memory: SemanticMemory, clock: ManualClock):
    """After ttl_s an entry is gone, and the same text is new again."""
    memory.add("The code is 4711.", ttl_s=60)
    clock.ms += 59_999
    assert memory.search("code") == ["The code is 4711."]
    clock.ms += 1
    assert memory.search("code") == memory.list_all() == []
    memory.add("The code is 4711.")
    assert memory.list_all()[0].created_at_ms == clock.ms


def test_near_duplicates_are_not_stored_where_that_is_asked_for(memory: SemanticMemory):
    """With dedupe_above a text that says what is there gives the id of what is there, within a batch as well."""
    careful = memory.scoped(dedupe_above=0.9)
    first = careful.add("The user's favourite colour is dark green.")
    assert careful.add("The user's favourite colour is dark green!") == first
    same, near, other = careful.add_many(["Meet at noon.", "Meet at noon!", "The invoice was paid."])
    assert same == near != other
    assert len(careful.list_all()) == 3
    assert memory.add("The user's favourite colour is dark green!") != first


def test_scores_and_limits_cut_the_results(memory: SemanticMemory):
    """min_score and max_results hold, from the memory or from the call; a context keeps to its size."""
    memory.add_many(list(FACTS.values()))
    assert len(memory.search("dog")) == 5
    assert len(memory.search("dog", 30)) == 30
    assert len(memory.scoped(max_results=2).search("dog")) == 2
    found = memory.search_entries("Which musical instrument does he play?", 30, min_score=0.3)
    assert 1 <= len(found) < 30
    assert all((e.score or 0) >= 0.3 for e in found)
    assert memory.scoped(min_score=0.99).search("dog") == []
    assert memory.get_context("Explain quantum chromodynamics.", min_score=0.9) == ""
    assert len(memory.get_context("dog", 30, min_score=-1, max_chars=300)) <= 300


def test_large_and_odd_texts_are_stored_and_found(memory: SemanticMemory):
    """A hundred thousand characters, emoji and other scripts are stored whole and found."""
    large = ("Notes on beekeeping and honey. " * 4000)[:100_000]
    odd = ["🧿🙂", "日本語のテキスト", "مرحبا بالعالم", "\u200b\u202e", "a" * 1000]
    memory.add_many([large, *odd])
    assert memory.search("How is honey made by bees?", 1)[0] == large
    for text in odd:
        assert memory.search(text, 1) == [text]


def test_batches_larger_than_a_slice_are_stored_whole(memory: SemanticMemory, adapter: Adapter):
    """Three hundred texts go in at once, and a second time as nothing."""
    if adapter.name == "qdrant_local":
        pytest.skip("its local mode writes each point with an fsync of its own: a minute on a slow disk")
    texts = [f"Fact number {n} is about topic {n * 7 % 31}." for n in range(300)]
    ids = memory.add_many(texts)
    assert len(set(ids)) == 300
    assert memory.add_many(texts) == ids
    assert len(memory.list_all()) == 300


def test_threads_may_share_a_memory(memory: SemanticMemory):
    """Many threads add the same and their own texts at once; each text is there once."""
    with ThreadPoolExecutor(6) as pool:
        shared = list(pool.map(lambda _: memory.add("Shared by all."), range(12)))
        own = list(pool.map(lambda n: memory.add(f"Text of thread {n}."), range(12)))
    assert (len(set(shared)), len(set(own))) == (1, 12)
    assert len(memory.list_all()) == 13


BAD: dict[str, Any] = {
    "empty text": lambda m: m.add(""),
    "white space": lambda m: m.add(" \n\t"),
    "no text": lambda m: m.add(None),
    "bytes": lambda m: m.add(b"bytes"),
    "too long": lambda m: m.add("x" * 100_001),
    "NUL": lambda m: m.add("a\x00b"),
    "half a surrogate pair": lambda m: m.add("a\ud800b"),
    "NaN in metadata": lambda m: m.add("a", {"n": float("nan")}),
    "an object in metadata": lambda m: m.add("a", {"o": object()}),
    "numbers as names": lambda m: m.add("a", {1: "one"}),
    "large metadata": lambda m: m.add("a", {"x": "y" * 20_000}),
    "NUL in metadata": lambda m: m.add("a", {"x": "y\x00"}),
    "a surrogate in metadata": lambda m: m.add("a", {"x": "\ud800"}),
    "no mapping": lambda m: m.add("a", ["x"]),
    "empty key": lambda m: m.add("a", idempotency_key=""),
    "negative ttl": lambda m: m.add("a", ttl_s=-1),
    "endless ttl": lambda m: m.add("a", ttl_s=float("inf")),
    "no number as ttl": lambda m: m.add("a", ttl_s="60"),
    "empty query": lambda m: m.search(" "),
    "no results": lambda m: m.search("a", 0),
    "too many results": lambda m: m.search("a", 1001),
    "a filter that is none": lambda m: m.search("a", where="topic"),
    "a filter by a mapping": lambda m: m.search("a", where={"k": {"$gt": 1}}),
    "a filter by NaN": lambda m: m.clear(MemoryFilter(unless={"k": float("nan")})),
    "a filter by a number": lambda m: m.list_all({1: "x"}),
    "limit 0": lambda m: m.list_all(limit=0),
    "an unknown option": lambda m: m.scoped(tenant="x"),
    "a score that is none": lambda m: m.scoped(min_score=2),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_stored_or_asked_is_refused(case: str):
    """Bad input is E0802 before anything happens, and the memory is as it was."""
    with SemanticMemory(embedder=EMBEDDER) as memory:
        refused(lambda: BAD[case](memory), "E0802")
        assert memory.list_all() == []


@pytest.mark.parametrize(
    "option", [{"max_results": 0}, {"session_id": ""}, {"agent": "a\x00"}, {"dedupe_above": -2}]
)
def test_options_are_checked_when_the_memory_is_made(option: dict[str, Any]):
    """An option outside its range is E0802, before any use."""
    refused(lambda: SemanticMemory(**option), "E0802")


class _Broken:
    """An embedder that gives what it is told to."""

    relevant_score = 0.5

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def space(self) -> VectorSpace:
        return VectorSpace("broken/1", 2)

    async def embed(self, texts: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [[1.0]],
        [[0.0, 0.0]],
        [[float("nan"), 1.0]],
        [[1.0, 0.0], [1.0, 0.0]],
        RuntimeError("the model is away"),
    ],
)
def test_an_embedder_that_fails_is_told(answer: Any):
    """Too few, too short, empty and failing vectors are E0808, and nothing is stored."""
    with SemanticMemory(embedder=_Broken(answer)) as memory:
        refused(lambda: memory.add("text"), "E0808")
        refused(lambda: memory.search("text"), "E0808")
        assert memory.list_all() == []


def test_a_memory_keeps_to_its_embedder(adapter: Adapter):
    """A memory that was written with one embedder is E0803 for another one."""
    store = adapter.make()
    with SemanticMemory(store, embedder=EMBEDDER) as memory:
        memory.add("text")
        refused(lambda: SemanticMemory(store, embedder=_Broken([[1.0, 0.0]])).search("text"), "E0803")


def test_async_code_uses_the_same_memory():
    """`aio` has the same verbs to await, over the same entries; both may be used side by side."""

    async def scenario() -> None:
        with SemanticMemory(InProcessStore(), embedder=EMBEDDER) as memory:
            entry = await memory.aio.add("Likes long walks.")
            assert await asyncio.to_thread(memory.search, "hiking") == ["Likes long walks."]
            assert memory.add("Likes long walks.") == entry  # a plain call inside a loop works, and blocks it
            async with memory.aio.scoped(user="u") as other:
                assert await other.list_all() == []
            refused(memory.list_all, "E0807")

    asyncio.run(scenario())


def test_unreachable_servers_are_told():
    """A database or a server that is not there is E0805, and the memory can still be closed."""
    for store in (
        PgVectorStore("postgresql://nobody@127.0.0.1:1/none"),
        QdrantStore(url="http://127.0.0.1:1", timeout_s=2),
    ):
        with SemanticMemory(store, embedder=EMBEDDER) as memory:
            refused(lambda memory=memory: memory.add("text"), "E0805")
            refused(memory.list_all, "E0805")


def test_stores_check_their_arguments():
    """A table that is no name, an unknown index and no place at all are E0802 when the store is made."""
    refused(lambda: PgVectorStore("postgresql://x", table='x"; DROP TABLE y'), "E0802")
    refused(lambda: PgVectorStore("postgresql://x", index="ivf"), "E0802")  # type: ignore[arg-type]
    refused(QdrantStore, "E0802")
    refused(lambda: QdrantStore("folder", url="http://x"), "E0802")


WITHOUT = """
import asyncio, json, sys
for name in {missing!r}:
    sys.modules[name] = None
from perdure.memory.memory import SemanticMemory
from perdure.memory.ports import VectorSpace
import perdure.memory.agent
from perdure.memory.stores import chroma, in_process, pgvector, qdrant, sqlite_vec
from tests.contract.memory.samples import NOW_MS, SPACE, entry
seen = {{}}
stores = {{
    "in_process": in_process.InProcessStore(), "sqlite_vec": sqlite_vec.SqliteVecStore("m.db"),
    "pgvector": pgvector.PgVectorStore("postgresql://x"), "qdrant": qdrant.QdrantStore("q"),
    "chroma": chroma.ChromaStore("c"),
}}
for name, store in stores.items():
    try:
        asyncio.run(store.add(SPACE, [entry("a")], NOW_MS))
    except Exception as error:
        seen[name] = [error.code, error.fix]
try:
    SemanticMemory().add("text")
except Exception as error:
    seen["embedder"] = [error.code, error.fix]
print(json.dumps(seen))
"""


def test_without_the_extras_everything_imports_and_use_says_what_to_install(tmp_path: Any):
    """The package imports without any extra; the first use of what is missing is E0801 with the command."""
    missing = ["numpy", "wordllama", "sqlite_vec", "asyncpg", "qdrant_client", "chromadb"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        name: ["E0801", f'pip install "perdure[{extra}]"']
        for name, extra in {
            "in_process": "memory",
            "sqlite_vec": "memory",
            "pgvector": "pgvector",
            "qdrant": "qdrant",
            "chroma": "chroma",
            "embedder": "memory",
        }.items()
    }


def test_a_plain_call_from_the_memorys_own_loop_is_refused():
    """An embedder that calls the plain memory again would wait for itself: E0707, and no hang."""

    class Recursive(_Broken):
        async def embed(self, texts: Any) -> Any:
            return [[float(len(memory.list_all())), 1.0]]

    memory = SemanticMemory(embedder=Recursive([]))
    with pytest.raises((ClientError, SemanticMemoryError)) as caught:
        memory.add("text")
    assert caught.value.code == "E0707"
    memory.close()
