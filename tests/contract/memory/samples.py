"""Vectors and entries for the tests of the stores, without an embedder."""

import hashlib
import math
import random

from perdure.memory.ports import MemoryEntry, VectorSpace

DIMENSION = 8
SPACE = VectorSpace("test/1", DIMENSION)
NOW_MS = 1_790_000_000_000


def unit(seed: int, dimension: int = DIMENSION) -> tuple[float, ...]:
    """A unit vector that is the same for the same seed; different seeds point elsewhere."""
    draw = random.Random(seed)
    numbers = [draw.gauss(0, 1) for _ in range(dimension)]
    length = math.sqrt(math.fsum(n * n for n in numbers))
    return tuple(n / length for n in numbers)


def entry(
    id: str,  # noqa: A002 - the field's name
    *,
    namespace: str = "a/u",
    content: str = "",
    metadata: dict | None = None,
    created_at_ms: int = NOW_MS,
    expires_at_ms: int | None = None,
    vector: int | None = None,
    dimension: int = DIMENSION,
) -> MemoryEntry:
    """An entry whose vector is drawn from its id, or from *vector*."""
    text = content or f"text of {id}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return MemoryEntry(
        id=id,
        namespace=namespace,
        content=text,
        digest=digest,
        metadata=metadata or {},
        created_at_ms=created_at_ms,
        expires_at_ms=expires_at_ms,
        embedding=unit(int(digest[:8], 16) if vector is None else vector, dimension),
    )
