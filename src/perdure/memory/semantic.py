"""The memory as async code sees it: validation, ids, vectors, namespaces and sessions over any store.

A store knows entries and vectors, an embedder knows texts and vectors; what a memory *means* is here:

* an entry is the same entry when its idempotency key is the same or, without a key, its text. Adding it again, after a
  crash or by a retried tool call, stores nothing (M1 of `ports`);
* a memory is one namespace, an agent's and a user's, and sees nothing else;
* vectors are brought to unit length here, so that scores are cosines in every store.

`AsyncSemanticMemory` may be used from several event loops; `memory.SemanticMemory` is the same for plain code.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from perdure.clock import Clock, SystemClock
from perdure.core.errors import PerdureError, SemanticMemoryError
from perdure.memory.embedders import WordLlamaEmbedder
from perdure.memory.entries import (
    MAX_CONTENT_CHARS,
    MAX_KEY_CHARS,
    NewMemory,
    checked_expiry,
    checked_metadata,
    checked_text,
    digest_of,
    entry_id,
    namespace_of,
)
from perdure.memory.filters import Condition, MemoryFilter, as_filter
from perdure.memory.ports import Embedder, MemoryEntry, MemoryStore, Vector, VectorSpace
from perdure.memory.stores.in_process import InProcessStore

Where = Mapping[str, Condition] | MemoryFilter | None

SESSION = "session_id"
MAX_RESULTS = 1000
_BATCH = 256
_CONTEXT_CHARS = 4000


class MemoryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Whose memory it is and how it behaves, apart from where it is kept."""

    max_results: int = 5
    session_id: str | None = None
    agent: str = ""
    user: str = ""
    across_sessions: bool = True
    min_score: float | None = None
    dedupe_above: float | None = None
    required: bool = False

    def checked(self) -> "MemoryOptions":
        """These options.

        Raises:
            SemanticMemoryError: E0802 one is outside its range.
        """
        checked_limit(self.max_results)
        if self.session_id is not None:
            checked_text(SESSION, self.session_id, MAX_KEY_CHARS)
        elif not self.across_sessions:
            raise SemanticMemoryError(
                "E0802", "A memory that keeps sessions apart needs a session", fix="Give session_id=..."
            )
        for name, score in (("min_score", self.min_score), ("dedupe_above", self.dedupe_above)):
            if score is not None and not -1 <= score <= 1:
                raise SemanticMemoryError("E0802", f"{name} is a cosine, from -1 to 1", why=f"It is {score}.")
        return self


class AsyncSemanticMemory:
    """Texts by meaning, in one namespace of one store. See `memory.SemanticMemory` for the arguments."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        options: MemoryOptions | None = None,
        *,
        embedder: Embedder | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.options = (options or MemoryOptions()).checked()
        self.store: MemoryStore = store or InProcessStore()
        self.embedder: Embedder = embedder or WordLlamaEmbedder()
        self._clock = clock or SystemClock()
        self._namespace = namespace_of(self.options.agent, self.options.user)
        # What makes an id unique: with sessions kept apart, the same text in another session is another entry.
        narrow = not self.options.across_sessions
        self._scope = f"{self._namespace}/{self.options.session_id}" if narrow else self._namespace

    def scoped(self, **changes: Any) -> "AsyncSemanticMemory":
        """A memory over the same store and embedder with other options: `scoped(user="u1", session_id="s2")`."""
        try:
            options = msgspec.structs.replace(self.options, **changes)
        except TypeError as error:
            raise SemanticMemoryError(
                "E0802", "There is no such option of a memory", why=str(error)
            ) from error
        return AsyncSemanticMemory(self.store, options, embedder=self.embedder, clock=self._clock)

    async def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        ttl_s: float | None = None,
    ) -> str:
        """Remember a text; its id. Doing so twice is doing so once.

        Raises:
            SemanticMemoryError: E0802 the arguments; E0804 the key was used for another text.
        """
        return (await self.add_many([NewMemory(content, metadata, idempotency_key, ttl_s)]))[0]

    async def add_many(self, items: Sequence[str | NewMemory], *, keep_first: bool = False) -> list[str]:
        """Remember several texts, embedded and stored in batches of 256; their ids, in the same order.

        Args:
            items: texts, or texts with their options.
            keep_first: a key that was used for another text keeps that text, instead of E0804.
        """
        now_ms = self._clock.now_ms()
        entries = [
            self._entry(item if isinstance(item, NewMemory) else NewMemory(item), now_ms) for item in items
        ]
        digests: dict[str, str] = {}
        for entry in entries:
            if digests.setdefault(entry.id, entry.digest) != entry.digest and not keep_first:
                raise _conflict(entry.id)
        ids: list[str] = []
        for first in range(0, len(entries), _BATCH):
            ids += await self._add_batch(entries[first : first + _BATCH], now_ms, keep_first=keep_first)
        return ids

    async def search(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
    ) -> list[str]:
        """The texts closest in meaning to *query*, closest first."""
        found = await self.search_entries(query, max_results, where=where, min_score=min_score)
        return [entry.content for entry in found]

    async def search_entries(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
    ) -> list[MemoryEntry]:
        """The same with ids, metadata, times and scores."""
        checked_text("query", query, MAX_CONTENT_CHARS)
        limit = checked_limit(self.options.max_results if max_results is None else max_results)
        least = self.options.min_score if min_score is None else min_score
        meant = self._meant(where)
        space = await self.embedder.space()
        vector = (await self._embed(space, [query]))[0]
        found = await self.store.search(space, self._namespace, vector, limit, self._clock.now_ms(), meant)
        rounded = [msgspec.structs.replace(e, score=max(-1.0, min(1.0, e.score or 0.0))) for e in found]
        return [e for e in rounded if least is None or (e.score is not None and e.score >= least)]

    async def get_context(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
        max_chars: int = _CONTEXT_CHARS,
    ) -> str:
        """What is remembered about *query* as lines for a prompt; empty if nothing is close enough.

        Args:
            query: what the prompt is about.
            max_results: how many entries at most.
            where: which entries.
            min_score: how close they must be; None: the memory's own, else the embedder's `relevant_score`.
            max_chars: of the whole; the last entry that does not fit is cut, those after it are left out.
        """
        least = self.options.min_score if min_score is None else min_score
        least = self.embedder.relevant_score if least is None else least
        lines: list[str] = []
        left = max_chars
        for entry in await self.search_entries(query, max_results, where=where, min_score=least):
            line = f"- ({entry.created_at:%Y-%m-%d}) {' '.join(entry.content.split())}"
            if len(line) > left:
                line = line[: left - 1].rstrip() + "…" if left > _LEAST_LINE else ""
            if line:
                lines.append(line)
            left -= len(line) + 1
            if left <= _LEAST_LINE:
                break
        return "\n".join(lines)

    async def delete(self, entry: str) -> bool:
        """Forget one entry, by its id; whether it was there."""
        now_ms = self._clock.now_ms()
        return bool(await self.store.delete(self._namespace, [entry], now_ms, self._meant(None)))

    async def clear(self, where: Where = None) -> int:
        """Forget all entries of this memory, or those that pass the filter; how many there were."""
        return await self.store.clear(self._namespace, self._clock.now_ms(), self._meant(where))

    async def list_all(self, where: Where = None, limit: int | None = None) -> list[MemoryEntry]:
        """All entries of this memory, or those that pass the filter, oldest first."""
        if limit is not None and limit < 1:
            raise SemanticMemoryError("E0802", "The limit is a positive number", why=f"It is {limit!r}.")
        return await self.store.list_all(self._namespace, self._clock.now_ms(), self._meant(where), limit)

    async def close(self) -> None:
        """Close the store; memories that share it are closed with it."""
        await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ----------------------------------------------------------------------------------------------------------

    def _meant(self, where: Where) -> MemoryFilter:
        meant = as_filter(where)
        if self.options.across_sessions:
            return meant
        return meant.narrowed(SESSION, self.options.session_id)

    def _entry(self, item: NewMemory, now_ms: int) -> MemoryEntry:
        content = checked_text("content", item.content, MAX_CONTENT_CHARS)
        if item.idempotency_key is not None:
            checked_text("idempotency key", item.idempotency_key, MAX_KEY_CHARS)
        metadata = checked_metadata(item.metadata)
        if self.options.session_id is not None:
            metadata.setdefault(SESSION, self.options.session_id)
        if not self.options.across_sessions and metadata[SESSION] != self.options.session_id:
            raise SemanticMemoryError("E0802", "This memory takes entries of its own session only")
        digest = digest_of(content)
        return MemoryEntry(
            id=entry_id(self._scope, digest, item.idempotency_key),
            namespace=self._namespace,
            content=content,
            digest=digest,
            metadata=metadata,
            created_at_ms=now_ms,
            expires_at_ms=checked_expiry(item.ttl_s, now_ms),
        )

    async def _add_batch(self, entries: list[MemoryEntry], now_ms: int, *, keep_first: bool) -> list[str]:
        space = await self.embedder.space()
        unique = list({entry.id: entry for entry in reversed(entries)}.values())[::-1]
        vectors = await self._embed(space, [entry.content for entry in unique])
        ready = [
            msgspec.structs.replace(entry, embedding=tuple(vector))
            for entry, vector in zip(unique, vectors, strict=True)
        ]
        stands_for = await self._near_duplicates(space, ready, now_ms)
        fresh = [entry for entry in ready if entry.id not in stands_for]
        added = await self.store.add(space, fresh, now_ms) if fresh else []
        for entry, answer in zip(fresh, added, strict=True):
            if answer.digest != entry.digest and not keep_first:
                raise _conflict(entry.id)
        return [stands_for.get(entry.id, entry.id) for entry in entries]

    async def _near_duplicates(
        self, space: VectorSpace, entries: list[MemoryEntry], now_ms: int
    ) -> dict[str, str]:
        """Entries that say what another one says already, by id: the id of that other one.

        A look before the writing, not a lock: two processes that say the same at the same moment are both kept.
        """
        least, found = self.options.dedupe_above, dict[str, str]()
        if least is None:
            return found
        kept: list[MemoryEntry] = []
        for entry in entries:
            vector = entry.embedding or ()
            near = await self.store.search(space, self._namespace, vector, 1, now_ms, self._meant(None))
            others = [(e.score or 0.0, e.id) for e in near]
            others += [
                (math.fsum(a * b for a, b in zip(vector, k.embedding or (), strict=True)), k.id) for k in kept
            ]
            score, other = max(others, default=(-1.0, ""))
            if score >= least and other != entry.id:
                found[entry.id] = other
            else:
                kept.append(entry)
        return found

    async def _embed(self, space: VectorSpace, texts: list[str]) -> list[Vector]:
        try:
            vectors = await self.embedder.embed(texts)
        except (PerdureError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise SemanticMemoryError(
                "E0808", "The embedder failed", where=space.embedder, why=f"{type(error).__name__}: {error}"
            ) from error
        if len(vectors) != len(texts):
            raise _unusable(space, f"It gave {len(vectors)} vectors for {len(texts)} texts.")
        return [_unit(space, vector) for vector in vectors]


_LEAST_LINE = 40  # characters of an entry that still say something


def checked_limit(limit: object) -> int:
    """How many results are wanted.

    Raises:
        SemanticMemoryError: E0802 it is not a number from 1 to 1000.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_RESULTS:
        raise SemanticMemoryError(
            "E0802", f"The number of results is from 1 to {MAX_RESULTS}", why=f"It is {limit!r}."
        )
    return limit


def _unit(space: VectorSpace, vector: Vector) -> Vector:
    if len(vector) != space.dimension:
        raise _unusable(space, f"A vector has {len(vector)} numbers, and the space has {space.dimension}.")
    length = math.sqrt(math.fsum(number * number for number in vector))
    if not math.isfinite(length) or length == 0:
        raise _unusable(space, "A vector has no direction: all its numbers are 0, or one is not a number.")
    return tuple(number / length for number in vector)


def _unusable(space: VectorSpace, why: str) -> SemanticMemoryError:
    return SemanticMemoryError("E0808", "The embedder gave no usable vector", where=space.embedder, why=why)


def _conflict(entry: str) -> SemanticMemoryError:
    return SemanticMemoryError(
        "E0804",
        "The idempotency key was used for another text",
        where=entry,
        why="An entry with this key is stored, and its text is a different one. It is as it was.",
        fix="Take a new key for a new text; to change an entry, delete it first.",
    )
