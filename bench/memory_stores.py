"""How quick the stores of semantic memory are, by size: `python -m bench.memory_stores [ENTRIES]`.

Times of one caller, the store's own and without the embedder: adding in batches of 256, adding one at a time, and
searching for the closest five of all entries and of a tenth of them. Postgres and Qdrant's local mode are started here.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from perdure.memory.embedders import WordLlamaEmbedder
from perdure.memory.filters import EVERYTHING, MemoryFilter
from perdure.memory.ports import MemoryEntry, VectorSpace
from perdure.memory.stores.chroma import ChromaStore
from perdure.memory.stores.in_process import InProcessStore
from perdure.memory.stores.pgvector import PgVectorStore
from perdure.memory.stores.qdrant import QdrantStore
from perdure.memory.stores.sqlite_vec import SqliteVecStore
from tests.contract.memory.postgres import bin_folder, running_postgres

DIMENSION = 256
SPACE = VectorSpace("bench/1", DIMENSION)
BATCH = 256
SINGLE = 50
QUERIES = 50
NOW_MS = 1_790_000_000_000


def _entries(count: int, first: int = 0) -> list[MemoryEntry]:
    vectors = np.random.default_rng(first).normal(size=(count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        MemoryEntry(
            id=f"e{first + n}",
            namespace="a/u",
            content=f"Fact number {first + n}, as long as a sentence that somebody would say.",
            digest=f"{first + n}",
            metadata={"tenth": n % 10, "session_id": f"s{n % 100}"},
            created_at_ms=NOW_MS + n,
            embedding=tuple(vector.tolist()),
        )
        for n, vector in enumerate(vectors)
    ]


async def _median_ms(count: int, call: Callable[[int], Awaitable[Any]]) -> float:
    times = []
    for n in range(count):
        began = time.perf_counter()
        await call(n)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def _measure(name: str, store: Any, count: int) -> None:
    entries, extra = _entries(count), _entries(SINGLE, first=10_000_000)
    began = time.perf_counter()
    for first in range(0, count, BATCH):
        await store.add(SPACE, entries[first : first + BATCH], NOW_MS)
    batch_s = time.perf_counter() - began
    single = await _median_ms(SINGLE, lambda n: store.add(SPACE, [extra[n]], NOW_MS))
    tenth = MemoryFilter(where={"tenth": 3})

    async def search(n: int, where: MemoryFilter = EVERYTHING) -> None:
        vector = entries[n * 13 % count].embedding or ()
        await store.search(SPACE, "a/u", vector, 5, NOW_MS, where)

    await search(0)
    every, some = await _median_ms(QUERIES, search), await _median_ms(QUERIES, lambda n: search(n, tenth))
    await store.close()
    print(f"| {name} | {count / batch_s:,.0f} | {single:.2f} | {every:.2f} | {some:.2f} |", flush=True)


async def _embedder() -> None:
    embedder = WordLlamaEmbedder()
    began = time.perf_counter()
    await embedder.space()
    load = time.perf_counter() - began
    text = "The customer asked whether the invoice of last month was paid."
    one = await _median_ms(200, lambda n: embedder.embed([f"{text} {n}"]))
    many = await _median_ms(20, lambda n: embedder.embed([f"{text} {n} {k}" for k in range(BATCH)]))
    print(f"wordllama: loads in {load:.2f} s, one text {one:.2f} ms, {BATCH} texts {many:.1f} ms\n")


def main(count: int) -> None:
    """Print a table."""
    print(f"{count:,} entries of {DIMENSION} numbers; load when it began: {os.getloadavg()[0]:.1f}")
    asyncio.run(_embedder())
    print("| store | added a second | add one, ms | search, ms | search a tenth, ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        asyncio.run(_measure("in process", InProcessStore(), count))
        asyncio.run(_measure("sqlite-vec", SqliteVecStore(home / "memory.db"), count))
        if (postgres := bin_folder()) is not None:
            with running_postgres(postgres) as dsn:
                asyncio.run(_measure("pgvector", PgVectorStore(dsn, table="exact"), count))
                asyncio.run(_measure("pgvector, hnsw", PgVectorStore(dsn, table="hnsw", index="hnsw"), count))
        asyncio.run(_measure("Chroma", ChromaStore(home / "chroma"), count))
        few = min(count, 1000)
        asyncio.run(_measure(f"Qdrant, local, {few:,} entries", QdrantStore(home / "qdrant"), few))
    print(f"load when it ended: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
