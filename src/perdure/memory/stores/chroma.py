"""Memories in Chroma's persistent client: for programs that use Chroma already.

One collection for all namespaces, cosine distance, vectors from our embedder and never from Chroma's own. Chroma's
filters know scalars only, so each token of an entry is a key of its metadata. Its search is an HNSW index:
approximate, and for one process at a time. A batch that was cut off is completed by the same call.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from perdure.core.errors import PerdureError
from perdure.memory.filters import EVERYTHING, MemoryFilter, tokens
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace
from perdure.memory.stores.failures import missing_library, other_space, unavailable, unreadable
from perdure.memory.stores.rows import metadata_text, stored_entry
from perdure.memory.stores.store_thread import StoreThread

T = TypeVar("T")

FORM = 1
_PAGE = 256
_NEVER_MS = 2**53  # as `expires_at_ms`: Chroma's comparisons skip entries that lack the key
# More candidates than the library's own default of 100: memories are few, and a missed one is not found again.
_HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 400}


class ChromaStore:
    """A `MemoryStore` in a folder that Chroma keeps. Needs chromadb (`perdure[chroma]`), a large library.

    Args:
        path: the folder.
        collection: the collection's name, 3 characters or more of letters, digits, `.`, `_` and `-`.
    """

    def __init__(self, path: str | Path, *, collection: str = "perdure-memory") -> None:
        self._path = Path(path).expanduser()
        self._name = collection
        self._where = f"Chroma collection {collection} in {path}"
        self._thread = StoreThread(self._where)
        self._client: Any = None
        self._collection: Any = None
        self._space: VectorSpace | None = None

    @property
    def exact(self) -> bool:
        """Its index is approximate."""
        return False

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store what is new."""

        def work() -> list[Added]:
            self._settle_space(space)
            for namespace in sorted({entry.namespace for entry in entries}):
                self._drop({"$and": [{"namespace": namespace}, {"expires_at_ms": {"$lte": now_ms}}]})
            keys = [_key(entry.namespace, entry.id) for entry in entries]
            found = self._collection.get(ids=keys, include=["metadatas"])
            there = {k: f["digest"] for k, f in zip(found["ids"], found["metadatas"], strict=True)}
            new = [(k, e) for k, e in zip(keys, entries, strict=True) if k not in there]
            if new:
                self._collection.add(
                    ids=[key for key, _ in new],
                    embeddings=[list(entry.embedding or ()) for _, entry in new],
                    documents=[entry.content for _, entry in new],
                    metadatas=[_fields(entry) for _, entry in new],
                )
            return [
                Added(entry.id, new=key not in there, digest=there.get(key, entry.digest))
                for key, entry in zip(keys, entries, strict=True)
            ]

        return await self._run(work)

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """The closest, nearly always."""

        def work() -> list[MemoryEntry]:
            condition = _condition(namespace, now_ms, where)
            if not self._knows_space(space) or condition is None:
                return []
            found = self._collection.query(
                query_embeddings=[list(vector)],
                n_results=limit,
                where=condition,
                include=["documents", "metadatas", "distances"],
            )
            rows = zip(found["documents"][0], found["metadatas"][0], found["distances"][0], strict=True)
            return [self._entry(content, fields, 1.0 - distance) for content, fields, distance in rows]

        return await self._run(work)

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids."""
        keys = [_key(namespace, i) for i in ids]
        return await self._remove(namespace, now_ms, where, keys) if keys else 0

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove all that pass."""
        return await self._remove(namespace, now_ms, where, None)

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """All that pass, oldest first. All are read and sorted here, whatever *limit* is."""

        def work() -> list[MemoryEntry]:
            condition = _condition(namespace, now_ms, where)
            if not self._knows_space(None) or condition is None:
                return []
            found = self._collection.get(where=condition, include=["documents", "metadatas"])
            rows = zip(found["documents"], found["metadatas"], strict=True)
            entries = [self._entry(content, fields, None) for content, fields in rows]
            return sorted(entries, key=lambda entry: (entry.created_at_ms, entry.id))[:limit]

        return await self._run(work)

    async def close(self) -> None:
        """Close the folder."""

        def last() -> None:
            client, self._client, self._collection = self._client, None, None
            if client is not None:
                client.close()

        await self._thread.close(last)

    # In the thread --------------------------------------------------------------------------------------------

    async def _remove(self, namespace: str, now_ms: int, where: MemoryFilter, keys: list[str] | None) -> int:
        def work() -> int:
            condition = _condition(namespace, now_ms, where)
            if not self._knows_space(None) or condition is None:
                return 0
            return self._drop(condition, keys)

        return await self._run(work)

    def _drop(self, condition: dict[str, Any], keys: list[str] | None = None) -> int:
        found = self._collection.get(ids=keys, where=condition, include=[])["ids"]
        for first in range(0, len(found), _PAGE):
            self._collection.delete(ids=found[first : first + _PAGE])
        return len(found)

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            chromadb = _library()
            try:
                if self._client is None:
                    settings = chromadb.config.Settings(anonymized_telemetry=False)
                    self._client = chromadb.PersistentClient(path=str(self._path), settings=settings)
                return work()
            except PerdureError:
                raise
            except Exception as error:
                # Chroma raises its own errors, ValueError, and what its Rust half gives, by verb.
                raise unavailable(self._where, error) from error

        return await self._thread.run(guarded)

    def _knows_space(self, asked: VectorSpace | None) -> bool:
        """Whether something was ever stored; E0803 if it was of another space."""
        if self._space is None:
            if self._name not in {collection.name for collection in self._client.list_collections()}:
                return False
            self._collection = self._client.get_collection(self._name, embedding_function=None)
            about = self._collection.metadata or {}
            if about.get("perdure_form") != FORM:
                form = about.get("perdure_form")
                raise unreadable(self._where, f"It has the form {form}, and this version knows {FORM}.")
            self._space = VectorSpace(about["embedder"], about["dimension"])
        if asked is not None and self._space != asked:
            raise other_space(self._where, self._space, asked)
        return True

    def _settle_space(self, space: VectorSpace) -> None:
        if not self._knows_space(space):
            about = {"perdure_form": FORM, "embedder": space.embedder, "dimension": space.dimension}
            self._client.create_collection(
                self._name, metadata=about, configuration={"hnsw": _HNSW}, embedding_function=None
            )
            self._knows_space(space)

    def _entry(self, content: str, fields: dict[str, Any], score: float | None) -> MemoryEntry:
        expires_at_ms = fields["expires_at_ms"]
        return stored_entry(
            self._where,
            id=fields["id"],
            namespace=fields["namespace"],
            content=content,
            digest=fields["digest"],
            metadata=fields["metadata"],
            created_at_ms=fields["created_at_ms"],
            expires_at_ms=None if expires_at_ms == _NEVER_MS else expires_at_ms,
            score=score,
        )


def _library() -> Any:
    try:
        import chromadb
    except ImportError as error:
        raise missing_library("chromadb", "chroma", error) from error
    return chromadb


def _key(namespace: str, entry: str) -> str:
    """The id in the collection, where all namespaces are together."""
    return hashlib.sha256(f"{namespace}\x00{entry}".encode()).hexdigest()[:40]


def _fields(entry: MemoryEntry) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": entry.id,
        "namespace": entry.namespace,
        "digest": entry.digest,
        "metadata": metadata_text(entry),
        "created_at_ms": entry.created_at_ms,
        "expires_at_ms": _NEVER_MS if entry.expires_at_ms is None else entry.expires_at_ms,
    }
    return fields | {f"t_{found}": True for found in tokens(entry.metadata)}


def _condition(namespace: str, now_ms: int, where: MemoryFilter) -> dict[str, Any] | None:
    """The filter in Chroma's terms; None if nothing can pass."""
    parts: list[dict[str, Any]] = [{"namespace": namespace}, {"expires_at_ms": {"$gt": now_ms}}]
    for group in where.groups():
        if not group:
            return None
        choices = [{f"t_{found}": True} for found in group]
        parts.append(choices[0] if len(choices) == 1 else {"$or": choices})
    parts += [{f"t_{found}": {"$ne": True}} for found in where.banned()]
    if where.created_from_ms is not None:
        parts.append({"created_at_ms": {"$gte": where.created_from_ms}})
    if where.created_before_ms is not None:
        parts.append({"created_at_ms": {"$lt": where.created_before_ms}})
    return {"$and": parts}
