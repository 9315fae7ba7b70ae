"""A bounded cache keyed by the identity of frozen objects.

A conversation is sent again with every turn, and its messages are the same frozen objects each time. What was
worked out for one of them (its translation, its size) is kept beside the object itself: holding the object keeps
its `id` from being used again, and its being frozen keeps the value true.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class IdentityCache(Generic[K, V]):
    """The values of *make*, by object; at most *limit* of them, the oldest dropped first."""

    def __init__(self, make: Callable[[K], V], limit: int = 8192) -> None:
        self._make = make
        self._limit = limit
        self._kept: dict[int, tuple[K, V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V:
        """The value for *key*, made once."""
        kept = self._kept.get(id(key))
        if kept is not None:
            return kept[1]
        value = self._make(key)
        self._kept[id(key)] = (key, value)
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
        return value
