"""What a store and an embedder promise, and the values that cross between them and the memory.

Rules of every store, which `tests/contract/memory` holds:

* M1 **once**: an id that is there already is left as it is, whatever comes with it a second time. Several calls at the
  same time end like some order of them.
* M2 **apart**: a verb touches one namespace and nothing else.
* M3 **expired is absent**: an entry whose time has come is never found, counted or in the way of a new one.
* M4 **kept**: what `add` has answered is there after the process is killed (stores with a disk behind them).
* M5 **one space**: vectors of another embedder or dimension are refused (E0803), never compared.
* M6 **closest first**: `search` answers by descending score. Exact stores miss nothing; a store with an approximate
  index says so (`exact`).

Time is an argument, constructors do no I/O, and an error of the store's library never crosses: it is a
`SemanticMemoryError`.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from perdure.memory.filters import EVERYTHING, MemoryFilter

Vector = Sequence[float]


class VectorSpace(msgspec.Struct, frozen=True):
    """Which vectors can be compared: those of one embedder.

    Attributes:
        embedder: the embedder's name, model and version included.
        dimension: how many numbers a vector has.
    """

    embedder: str
    dimension: int


class MemoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One text that is remembered.

    Attributes:
        id: unique within the namespace; made from the idempotency key or from the content.
        namespace: whose memory it is, as `semantic.namespace_of` writes it.
        content: the text as it was given.
        digest: SHA-256 of the text with white space and Unicode forms made even.
        metadata: JSON values by name; what is a scalar or a list of scalars can be filtered by.
        created_at_ms: when it was added.
        expires_at_ms: from when on it is forgotten; None: never.
        embedding: the vector, on its way into a store; None in what a store answers.
        score: cosine similarity to the query, -1 to 1, in what `search` answers; else None.
    """

    id: str
    namespace: str
    content: str
    digest: str
    created_at_ms: int
    metadata: dict[str, Any] = {}
    expires_at_ms: int | None = None
    embedding: tuple[float, ...] | None = None
    score: float | None = None

    @property
    def created_at(self) -> dt.datetime:
        """`created_at_ms` as a time in UTC."""
        return dt.datetime.fromtimestamp(self.created_at_ms / 1000, dt.UTC)


class Added(msgspec.Struct, frozen=True):
    """What became of one entry of an `add`.

    Attributes:
        id: the entry's id.
        new: whether it was stored now; False: it was there already and is as it was.
        digest: the digest of what is stored under the id.
    """

    id: str
    new: bool
    digest: str


class MemoryStore(Protocol):
    """Keeps entries with their vectors. May be used from several tasks, threads and event loops at once."""

    @property
    def exact(self) -> bool:
        """Whether `search` always finds the closest, or may miss some (an approximate index)."""

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store entries of one namespace, with different ids and unit-length embeddings of *space*.

        In one transaction where the store has them; elsewhere a crash may leave a part, which the same call
        then completes. The answers are in the order of *entries*.

        Raises:
            SemanticMemoryError: E0803 the store holds another space; E0805, E0806, E0807.
        """

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """At most *limit* entries by descending score; those with equal scores in any order."""

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids that pass the filter; how many there were."""

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove every entry that passes the filter; how many there were."""

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """Entries that pass the filter by time of creation, then id; the first *limit* of them."""

    async def close(self) -> None:
        """Let go of files and connections; every later call is E0807. Closing twice is once."""


class Embedder(Protocol):
    """Turns texts into vectors. The same text always gives the same vector."""

    @property
    def relevant_score(self) -> float:
        """From which score on two texts are about the same thing, for this model."""

    async def space(self) -> VectorSpace:
        """The space of the vectors; loads the model if that is how its dimension is known.

        Raises:
            SemanticMemoryError: E0801 the model's library is not installed.
        """

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector for each text, of any length but zero. Texts are not empty.

        Raises:
            SemanticMemoryError: E0801 as above; E0808 the model failed.
        """
