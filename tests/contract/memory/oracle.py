"""The memory store that is too simple to be wrong: a list, and every rule as one line of Python."""

import math
from collections.abc import Sequence

import msgspec

from perdure.memory.filters import EVERYTHING, MemoryFilter
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace


def _same(left: object, right: object) -> bool:
    """JSON equality: numbers are one kind, truth values another."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    return type(left) is type(right) and left == right


def _has(metadata: dict, key: str, condition: object) -> bool:
    if key not in metadata:
        return False
    value = metadata[key]
    values = value if isinstance(value, list) else [value]
    wanted = condition if isinstance(condition, list | tuple) else [condition]
    return any(_same(v, w) for v in values for w in wanted)


def passes(entry: MemoryEntry, where: MemoryFilter) -> bool:
    """Whether an entry passes a filter, written without the filter's own tokens."""
    return (
        all(_has(entry.metadata, key, condition) for key, condition in where.where.items())
        and not any(_has(entry.metadata, key, condition) for key, condition in where.unless.items())
        and (where.created_from_ms is None or entry.created_at_ms >= where.created_from_ms)
        and (where.created_before_ms is None or entry.created_at_ms < where.created_before_ms)
    )


class OracleStore:
    """A `MemoryStore` whose every answer can be read off."""

    exact = True

    def __init__(self) -> None:
        self.entries: list[MemoryEntry] = []

    def _live(self, namespace: str, now_ms: int, where: MemoryFilter) -> list[MemoryEntry]:
        self.entries = [e for e in self.entries if e.expires_at_ms is None or e.expires_at_ms > now_ms]
        return [e for e in self.entries if e.namespace == namespace and passes(e, where)]

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        answers = []
        for entry in entries:
            there = [e for e in self._live(entry.namespace, now_ms, EVERYTHING) if e.id == entry.id]
            if not there:
                self.entries.append(entry)
            answers.append(Added(entry.id, not there, (there or [entry])[0].digest))
        return answers

    def score(self, entry: MemoryEntry, vector: Vector) -> float:
        """The cosine of two vectors of unit length."""
        return math.fsum(a * b for a, b in zip(entry.embedding or (), vector, strict=True))

    async def search(self, space, namespace, vector, limit, now_ms, where=EVERYTHING) -> list[MemoryEntry]:
        found = [
            msgspec.structs.replace(e, score=self.score(e, vector))
            for e in self._live(namespace, now_ms, where)
        ]
        return sorted(found, key=lambda e: -(e.score or 0))[:limit]

    async def delete(self, namespace, ids, now_ms, where=EVERYTHING) -> int:
        gone = [e for e in self._live(namespace, now_ms, where) if e.id in ids]
        self.entries = [e for e in self.entries if e not in gone]
        return len(gone)

    async def clear(self, namespace, now_ms, where=EVERYTHING) -> int:
        gone = self._live(namespace, now_ms, where)
        self.entries = [e for e in self.entries if e not in gone]
        return len(gone)

    async def list_all(self, namespace, now_ms, where=EVERYTHING, limit=None) -> list[MemoryEntry]:
        found = sorted(self._live(namespace, now_ms, where), key=lambda e: (e.created_at_ms, e.id))[:limit]
        return [msgspec.structs.replace(e, embedding=None) for e in found]

    async def close(self) -> None:
        self.entries = []
