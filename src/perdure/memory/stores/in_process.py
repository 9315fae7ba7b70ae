"""Memories in this process: numpy float32, exact search, gone when the process ends.

For tests and notebooks, and the oracle's nearest relative: each namespace is one growing matrix whose rows are the
entries in the order in which they came, and a search is one product of it with the query.
"""

import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.memory.filters import EVERYTHING, MemoryFilter, tokens
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace
from perdure.memory.stores.failures import closed, missing_library, other_space

_WHERE = "in-process memory"
_FIRST_ROWS = 64


class _Rows:
    """The entries of one namespace; row *n* of the matrix is entry *n* of the list."""

    def __init__(self, numpy: Any, dimension: int) -> None:
        self._numpy = numpy
        self.matrix = numpy.zeros((_FIRST_ROWS, dimension), dtype=numpy.float32)
        self.entries: list[MemoryEntry] = []
        self.tokens: list[set[str]] = []
        self.row_of: dict[str, int] = {}
        self.next_expiry_ms: int | None = None

    def append(self, entry: MemoryEntry) -> None:
        row = len(self.entries)
        if row == len(self.matrix):
            self.matrix = self._numpy.vstack([self.matrix, self._numpy.zeros_like(self.matrix)])
        self.matrix[row] = entry.embedding
        self.entries.append(msgspec.structs.replace(entry, embedding=None))
        self.tokens.append(set(tokens(entry.metadata)))
        self.row_of[entry.id] = row
        if entry.expires_at_ms is not None:
            self.next_expiry_ms = min(entry.expires_at_ms, self.next_expiry_ms or entry.expires_at_ms)

    def remove(self, rows: set[int]) -> None:
        keep = [row for row in range(len(self.entries)) if row not in rows]
        self.matrix[: len(keep)] = self.matrix[keep]
        self.entries = [self.entries[row] for row in keep]
        self.tokens = [self.tokens[row] for row in keep]
        self.row_of = {entry.id: row for row, entry in enumerate(self.entries)}
        self.next_expiry_ms = min(
            (e.expires_at_ms for e in self.entries if e.expires_at_ms is not None), default=None
        )

    def forget_expired(self, now_ms: int) -> None:
        if self.next_expiry_ms is None or self.next_expiry_ms > now_ms:
            return
        self.remove(
            {
                n
                for n, e in enumerate(self.entries)
                if e.expires_at_ms is not None and e.expires_at_ms <= now_ms
            }
        )

    def passing(self, where: MemoryFilter) -> Sequence[int]:
        if where.is_open:
            return range(len(self.entries))
        passes = where.matcher()
        return [
            row for row, entry in enumerate(self.entries) if passes(self.tokens[row], entry.created_at_ms)
        ]


class InProcessStore:
    """A `MemoryStore` without a disk. Needs numpy (`perdure[memory]`)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._space: VectorSpace | None = None
        self._namespaces: dict[str, _Rows] = {}
        self._closed = False

    @property
    def exact(self) -> bool:
        """It compares the query with every entry."""
        return True

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store what is new."""
        numpy = _numpy()
        with self._lock:
            self._check(space)
            self._space = space
            answers = []
            for entry in entries:
                rows = self._namespaces.get(entry.namespace)
                if rows is None:
                    rows = self._namespaces[entry.namespace] = _Rows(numpy, space.dimension)
                rows.forget_expired(now_ms)
                row = rows.row_of.get(entry.id)
                if row is None:
                    rows.append(entry)
                kept = entry if row is None else rows.entries[row]
                answers.append(Added(entry.id, new=row is None, digest=kept.digest))
            return answers

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """The closest, all entries compared."""
        numpy = _numpy()
        with self._lock:
            self._check(space)
            rows = self._live(namespace, now_ms)
            passing = rows.passing(where) if rows else ()
            if rows is None or not passing:
                return []
            matrix = rows.matrix[: len(rows.entries)]
            if len(passing) < len(rows.entries):
                matrix = matrix[numpy.asarray(passing)]
            scores = matrix @ numpy.asarray(vector, dtype=numpy.float32)
            best = numpy.argsort(-scores, kind="stable")[:limit]
            return [
                msgspec.structs.replace(rows.entries[passing[n]], score=float(scores[n]))
                for n in best.tolist()
            ]

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids."""
        with self._lock:
            self._check(None)
            rows = self._live(namespace, now_ms)
            if rows is None:
                return 0
            wanted = {rows.row_of[i] for i in ids if i in rows.row_of}
            gone = wanted if where.is_open else wanted & set(rows.passing(where))
            if gone:
                rows.remove(gone)
            return len(gone)

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove all that pass."""
        with self._lock:
            self._check(None)
            rows = self._live(namespace, now_ms)
            if rows is None:
                return 0
            gone = set(rows.passing(where))
            rows.remove(gone)
            return len(gone)

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """All that pass, oldest first."""
        with self._lock:
            self._check(None)
            rows = self._live(namespace, now_ms)
            found = [rows.entries[row] for row in rows.passing(where)] if rows else []
        return sorted(found, key=lambda entry: (entry.created_at_ms, entry.id))[:limit]

    async def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._closed = True
            self._namespaces.clear()

    def _check(self, space: VectorSpace | None) -> None:
        if self._closed:
            raise closed(_WHERE)
        if space is not None and self._space is not None and space != self._space:
            raise other_space(_WHERE, self._space, space)

    def _live(self, namespace: str, now_ms: int) -> _Rows | None:
        rows = self._namespaces.get(namespace)
        if rows is not None:
            rows.forget_expired(now_ms)
        return rows


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise missing_library("numpy, which the in-process memory computes with,", "memory", error) from error
    return np
