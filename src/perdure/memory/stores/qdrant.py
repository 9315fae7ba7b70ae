"""Memories in Qdrant: on a server, or in a folder of this process (the client's local mode).

One collection for all namespaces; an entry is a point whose number is made from its namespace and id, so that the same
entry is the same point whoever writes it. New points are sent as "insert only": one that is there stays as it is.
Qdrant has no transactions over several points: a batch that was cut off is completed by the same call.

The local mode is exact, for one process at a time, and meant for thousands of entries, not millions. On a server an
index is used above a size that the server decides, and results are approximate unless `exact=True`.
"""

import hashlib
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.core.errors import PerdureError, SemanticMemoryError
from perdure.memory.filters import EVERYTHING, MemoryFilter, tokens
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace
from perdure.memory.stores.failures import missing_library, other_space, unavailable, unreadable
from perdure.memory.stores.rows import metadata_text, stored_entry
from perdure.memory.stores.store_thread import StoreThread

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

FORM = 1
_PAGE = 256
_READERS = 4
_FIELDS = ("id", "namespace", "content", "digest", "metadata", "created_at_ms", "expires_at_ms")


class QdrantStore:
    """A `MemoryStore` in Qdrant. Needs qdrant-client (`perdure[qdrant]`); a server of version 1.17 or newer.

    Args:
        path: a folder, for the local mode; either this or *url*.
        url: a server, e.g. `https://qdrant.example.com:6333`.
        api_key: the server's key.
        collection: the collection's name; it is made with the first entry.
        exact: compare the query with every entry, also where the server has an index.
        timeout_s: for one request to a server.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        collection: str = "perdure_memory",
        exact: bool = False,
        timeout_s: int = 10,
    ) -> None:
        if (path is None) == (url is None):
            raise SemanticMemoryError(
                "E0802", "Qdrant is either a folder or a server", fix="Give path=... or url=..., one of them."
            )
        self._path = None if path is None else Path(path).expanduser()
        self._server = {"url": url, "api_key": api_key, "timeout": timeout_s, "check_compatibility": False}
        self._collection = collection
        self._exact = exact or path is not None
        self._where = f"Qdrant collection {collection} in {path if url is None else url}"
        self._writes = StoreThread(self._where)
        # A server's client may be shared by threads; the local mode's may not.
        self._reads = self._writes if url is None else StoreThread(self._where, _READERS)
        self._opening = threading.Lock()
        self._client: QdrantClient | None = None
        self._space: VectorSpace | None = None

    @property
    def exact(self) -> bool:
        """Whether every entry is compared: always in local mode."""
        return self._exact

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store what is new."""

        def work(q: "QdrantClient", m: Any) -> list[Added]:
            self._settle_space(q, m, space)
            names = sorted({entry.namespace for entry in entries})
            q.delete(self._collection, m.FilterSelector(filter=_expired(m, names, now_ms)))
            points = [_point(entry.namespace, entry.id) for entry in entries]
            there = {
                str(p.id): (p.payload or {}).get("digest", "") for p in q.retrieve(self._collection, points)
            }
            new = [
                m.PointStruct(id=point, vector=list(entry.embedding or ()), payload=_payload(entry))
                for point, entry in zip(points, entries, strict=True)
                if point not in there
            ]
            if new:
                q.upsert(self._collection, new, wait=True, update_mode=m.UpdateMode.INSERT_ONLY)
            return [
                Added(entry.id, new=point not in there, digest=there.get(point, entry.digest))
                for point, entry in zip(points, entries, strict=True)
            ]

        return await self._writes.run(lambda: self._guarded(work))

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """The closest; on a server with an index, nearly always."""

        def work(q: "QdrantClient", m: Any) -> list[MemoryEntry]:
            if not self._knows_space(q, space) or _passes_nothing(where):
                return []
            found = q.query_points(
                self._collection,
                query=list(vector),
                query_filter=_condition(m, namespace, now_ms, where),
                search_params=None if self._path else m.SearchParams(exact=self._exact),
                limit=limit,
            )
            return [self._entry(point.payload, point.score) for point in found.points]

        return await self._reads.run(lambda: self._guarded(work))

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids."""
        points = [_point(namespace, i) for i in ids]
        return await self._remove(namespace, now_ms, where, points) if points else 0

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove all that pass."""
        return await self._remove(namespace, now_ms, where, None)

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """All that pass, oldest first. All are read and sorted here, whatever *limit* is."""

        def work(q: "QdrantClient", m: Any) -> list[MemoryEntry]:
            found: list[MemoryEntry] = []
            if not self._knows_space(q, None) or _passes_nothing(where):
                return found
            condition, offset = _condition(m, namespace, now_ms, where), None
            while True:
                points, offset = q.scroll(self._collection, condition, limit=_PAGE, offset=offset)
                found += [self._entry(point.payload, None) for point in points]
                if offset is None:
                    break
            return sorted(found, key=lambda entry: (entry.created_at_ms, entry.id))[:limit]

        return await self._reads.run(lambda: self._guarded(work))

    async def close(self) -> None:
        """Close the folder or the connections."""

        def last() -> None:
            if self._client is not None:
                self._client.close()
                self._client = None

        if self._reads is not self._writes:
            await self._reads.close(lambda: None)
        await self._writes.close(last)

    # In the threads -------------------------------------------------------------------------------------------

    async def _remove(
        self, namespace: str, now_ms: int, where: MemoryFilter, points: list[str] | None
    ) -> int:
        def work(q: "QdrantClient", m: Any) -> int:
            if not self._knows_space(q, None) or _passes_nothing(where):
                return 0
            condition = _condition(m, namespace, now_ms, where)
            if points is not None:
                condition.must.append(m.HasIdCondition(has_id=points))
            count = q.count(self._collection, condition, exact=True).count
            if count:
                q.delete(self._collection, m.FilterSelector(filter=condition), wait=True)
            return int(count)

        return await self._writes.run(lambda: self._guarded(work))

    def _guarded(self, work: "Callable[[QdrantClient, Any], T]") -> T:
        qdrant = _library()
        try:
            with self._opening:
                if self._client is None:
                    self._client = self._connect(qdrant)
            return work(self._client, qdrant.models)
        except PerdureError:
            raise
        except Exception as error:
            # The client raises its own errors, httpx's, sqlite3's and plain RuntimeError, by mode and by verb.
            raise unavailable(self._where, error) from error

    def _connect(self, qdrant: Any) -> "QdrantClient":
        if self._path is None:
            return qdrant.QdrantClient(**self._server)  # type: ignore[no-any-return]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return qdrant.QdrantClient(path=str(self._path))  # type: ignore[no-any-return]

    def _knows_space(self, q: "QdrantClient", asked: VectorSpace | None) -> bool:
        """Whether something was ever stored; E0803 if it was of another space."""
        if self._space is None and q.collection_exists(self._collection):
            config = q.get_collection(self._collection).config
            about: dict[str, Any] = config.metadata or {}
            vectors: Any = config.params.vectors
            if about.get("perdure_form") != FORM or not hasattr(vectors, "size"):
                form = about.get("perdure_form")
                raise unreadable(self._where, f"It has the form {form}, and this version knows {FORM}.")
            self._space = VectorSpace(str(about["embedder"]), int(vectors.size))
        if self._space is not None and asked is not None and self._space != asked:
            raise other_space(self._where, self._space, asked)
        return self._space is not None

    def _settle_space(self, q: "QdrantClient", m: Any, space: VectorSpace) -> None:
        if self._knows_space(q, space):
            return
        try:
            q.create_collection(
                self._collection,
                vectors_config=m.VectorParams(size=space.dimension, distance=m.Distance.COSINE),
                metadata={"perdure_form": FORM, "embedder": space.embedder},
            )
        except Exception:
            if not self._knows_space(q, space):  # else another process was first, and all is well
                raise
        if self._path is None:  # the local mode has no indexes
            keyword = m.KeywordIndexParams(type="keyword", is_tenant=True)
            q.create_payload_index(self._collection, "namespace", keyword)
            q.create_payload_index(self._collection, "tokens", m.PayloadSchemaType.KEYWORD)
            q.create_payload_index(self._collection, "created_at_ms", m.PayloadSchemaType.INTEGER)
            q.create_payload_index(self._collection, "expires_at_ms", m.PayloadSchemaType.INTEGER)

    def _entry(self, payload: dict[str, Any] | None, score: float | None) -> MemoryEntry:
        fields = payload or {}
        if missing := [name for name in _FIELDS if name not in fields]:
            raise unreadable(self._where, f"A point has no {', '.join(missing)}.")
        return stored_entry(self._where, **{name: fields[name] for name in _FIELDS}, score=score)


def _library() -> Any:
    try:
        import qdrant_client
    except ImportError as error:
        raise missing_library("qdrant-client", "qdrant", error) from error
    return qdrant_client


def _point(namespace: str, entry: str) -> str:
    """The number of an entry's point; Qdrant takes UUIDs."""
    return str(uuid.UUID(hashlib.sha256(f"{namespace}\x00{entry}".encode()).hexdigest()[:32]))


def _payload(entry: MemoryEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "namespace": entry.namespace,
        "content": entry.content,
        "digest": entry.digest,
        "metadata": metadata_text(entry),
        "tokens": tokens(entry.metadata),
        "created_at_ms": entry.created_at_ms,
        "expires_at_ms": entry.expires_at_ms,
    }


def _passes_nothing(where: MemoryFilter) -> bool:
    """Whether one of an empty list is asked for, for which Qdrant has no words."""
    return not all(where.groups())


def _expired(m: Any, namespaces: list[str], now_ms: int) -> Any:
    return m.Filter(
        must=[
            m.FieldCondition(key="namespace", match=m.MatchAny(any=namespaces)),
            m.FieldCondition(key="expires_at_ms", range=m.Range(lte=now_ms)),
        ]
    )


def _condition(m: Any, namespace: str, now_ms: int, where: MemoryFilter) -> Any:
    must = [m.FieldCondition(key="namespace", match=m.MatchValue(value=namespace))]
    must += [m.FieldCondition(key="tokens", match=m.MatchAny(any=group)) for group in where.groups()]
    if where.created_from_ms is not None:
        must.append(m.FieldCondition(key="created_at_ms", range=m.Range(gte=where.created_from_ms)))
    if where.created_before_ms is not None:
        must.append(m.FieldCondition(key="created_at_ms", range=m.Range(lt=where.created_before_ms)))
    must_not = [m.FieldCondition(key="expires_at_ms", range=m.Range(lte=now_ms))]
    if banned := where.banned():
        must_not.append(m.FieldCondition(key="tokens", match=m.MatchAny(any=banned)))
    return m.Filter(must=must, must_not=must_not)
