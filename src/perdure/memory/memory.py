"""The memory for plain code: each verb runs in an event loop of its own thread, and this waits for it.

There is one such loop for all memories of the process, started with the first call. `memory.aio` is the memory as async
code uses it, over the same store.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from perdure.client.portal import Portal
from perdure.clock import Clock
from perdure.memory.entries import NewMemory
from perdure.memory.ports import Embedder, MemoryEntry, MemoryStore
from perdure.memory.semantic import AsyncSemanticMemory, MemoryOptions, Where

_portal = Portal("perdure-memory-loop")


class SemanticMemory:
    """Texts that are kept and found again by their meaning. Making one does no I/O.

    Args:
        store: where it is kept; None: in this process, until it ends.
        max_results: how many entries a search finds, unless it says otherwise.
        session_id: the session that new entries belong to, as metadata `session_id`.
        agent: whose memory it is; agents do not see each other's.
        user: of which user; users do not see each other's.
        across_sessions: find entries of all sessions; False: those of *session_id* only.
        min_score: entries with a smaller score are not found; None: all are, in order.
        dedupe_above: a text whose closest entry has at least this score is not stored, and that entry's id is
            the answer. None: only the same text is the same entry.
        required: an agent's execution fails when the memory does; by default it goes on without it.
        embedder: turns texts into vectors; None: `WordLlamaEmbedder`.
        clock: for times of creation and expiry.

    Raises:
        SemanticMemoryError: E0802 an option is outside its range.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        max_results: int = 5,
        session_id: str | None = None,
        *,
        agent: str = "",
        user: str = "",
        across_sessions: bool = True,
        min_score: float | None = None,
        dedupe_above: float | None = None,
        required: bool = False,
        embedder: Embedder | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = MemoryOptions(
            max_results=max_results,
            session_id=session_id,
            agent=agent,
            user=user,
            across_sessions=across_sessions,
            min_score=min_score,
            dedupe_above=dedupe_above,
            required=required,
        )
        self._aio = AsyncSemanticMemory(store, options, embedder=embedder, clock=clock)

    @property
    def required(self) -> bool:
        """Whether an agent's execution fails when this memory does."""
        return self._aio.options.required

    @property
    def aio(self) -> AsyncSemanticMemory:
        """The same memory for async code."""
        return self._aio

    def scoped(self, **changes: Any) -> "SemanticMemory":
        """A memory over the same store with other options, e.g. `scoped(user="u1", session_id="s2")`.

        Raises:
            SemanticMemoryError: E0802 there is no such option, or it is outside its range.
        """
        other = SemanticMemory.__new__(SemanticMemory)
        other._aio = self._aio.scoped(**changes)  # noqa: SLF001 - the same class
        return other

    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        ttl_s: float | None = None,
    ) -> str:
        """Remember a text; its id. Doing so twice is doing so once.

        Args:
            content: the text, at most 100,000 characters.
            metadata: JSON values by name, at most 16 KiB.
            idempotency_key: what makes it the same entry when it comes again, e.g. `ctx.idempotency_key` in a tool;
                None: its text.
            ttl_s: after how many seconds it is forgotten; None: never.

        Raises:
            SemanticMemoryError: E0802 the arguments; E0804 the key was used for another text.
        """
        return _portal.call(self._aio.add(content, metadata, idempotency_key=idempotency_key, ttl_s=ttl_s))

    def add_many(self, items: Sequence[str | NewMemory]) -> list[str]:
        """Remember several texts, embedded and stored in batches; their ids, in the same order."""
        return _portal.call(self._aio.add_many(items))

    def search(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
    ) -> list[str]:
        """The texts closest in meaning to *query*, closest first."""
        return _portal.call(self._aio.search(query, max_results, where=where, min_score=min_score))

    def search_entries(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
    ) -> list[MemoryEntry]:
        """The same with ids, metadata, times and scores."""
        return _portal.call(self._aio.search_entries(query, max_results, where=where, min_score=min_score))

    def get_context(
        self,
        query: str,
        max_results: int | None = None,
        *,
        where: Where = None,
        min_score: float | None = None,
        max_chars: int = 4000,
    ) -> str:
        """What is remembered about *query* as lines for a prompt; empty if nothing is close enough."""
        return _portal.call(
            self._aio.get_context(query, max_results, where=where, min_score=min_score, max_chars=max_chars)
        )

    def delete(self, entry: str) -> bool:
        """Forget one entry, by its id; whether it was there."""
        return _portal.call(self._aio.delete(entry))

    def clear(self, where: Where = None) -> int:
        """Forget all entries of this memory, or those that pass the filter; how many there were."""
        return _portal.call(self._aio.clear(where))

    def list_all(self, where: Where = None, limit: int | None = None) -> list[MemoryEntry]:
        """All entries of this memory, or those that pass the filter, oldest first."""
        return _portal.call(self._aio.list_all(where, limit))

    def close(self) -> None:
        """Close the store; memories that share it are closed with it."""
        _portal.call(self._aio.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
