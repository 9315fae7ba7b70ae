"""Which entries are meant: a filter over metadata and time, with one meaning in every store.

Stores have filter languages of their own, which differ in types, in missing keys and in lists. So each pair of a key
and a scalar becomes a **token**, a short hash, and a store needs to know sets of tokens only: all of these, one of
those, none of these. `1` and `1.0` are one value, as in JSON; `1`, `True` and `"1"` are three.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from perdure.core.errors import SemanticMemoryError
from perdure.core.ids import canonical_json

Scalar = str | int | float | bool | None
Condition = Scalar | Sequence[Scalar]

_TOKEN_CHARS = 32


def token(key: str, value: Scalar) -> str:
    """The token of one pair.

    Raises:
        SemanticMemoryError: E0802 the value is not a scalar.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if not (value is None or isinstance(value, str | int | bool) or _is_finite(value)):
        raise SemanticMemoryError(
            "E0802",
            f"The value of {key!r} cannot be filtered by",
            why=f"It is {type(value).__name__}.",
            fix="Text, finite numbers, True, False and None, and lists of them, can be filtered by.",
        )
    try:
        pair = canonical_json([key, value])
    except (ValueError, OverflowError, UnicodeEncodeError, msgspec.ValidationError) as error:
        raise SemanticMemoryError("E0802", f"The value of {key!r} is not JSON", why=str(error)) from error
    return hashlib.sha256(pair).hexdigest()[:_TOKEN_CHARS]


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def tokens(metadata: Mapping[str, Any]) -> list[str]:
    """The tokens of an entry, sorted: one for each scalar, and for each scalar of a list."""
    found = set()
    for key, value in metadata.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is None or isinstance(item, str | int | float | bool):
                found.add(token(key, item))
    return sorted(found)


class MemoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that satisfy all of this.

    Attributes:
        where: metadata that must be there: `{"topic": "billing"}`, or one of several: `{"topic": ["billing", "tax"]}`.
            A key whose value is a list has it if one of its items is equal.
        unless: metadata that must not be there, written alike.
        created_from_ms: created at this time or later.
        created_before_ms: created before this time.
    """

    where: Mapping[str, Condition] = {}
    unless: Mapping[str, Condition] = {}
    created_from_ms: int | None = None
    created_before_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether every entry passes."""
        return self == EVERYTHING

    def groups(self) -> list[list[str]]:
        """Sets of tokens: an entry must have one of each."""
        return [_any_of(key, condition) for key, condition in self.where.items()]

    def banned(self) -> list[str]:
        """Tokens of which an entry may have none."""
        return [found for key, condition in self.unless.items() for found in _any_of(key, condition)]

    def matcher(self) -> Callable[[set[str], int], bool]:
        """A function of an entry's tokens and time of creation: whether the entry passes. For stores without SQL."""
        groups, banned = self.groups(), self.banned()
        least = -math.inf if self.created_from_ms is None else self.created_from_ms
        before = math.inf if self.created_before_ms is None else self.created_before_ms

        def passes(has: set[str], created_at_ms: int) -> bool:
            return (
                least <= created_at_ms < before
                and all(not has.isdisjoint(group) for group in groups)
                and has.isdisjoint(banned)
            )

        return passes

    def narrowed(self, key: str, value: Scalar) -> "MemoryFilter":
        """This filter, and the metadata *key* must be *value*.

        Raises:
            SemanticMemoryError: E0802 it asks for another value of the key already.
        """
        if key in self.where and self.where[key] != value:
            raise SemanticMemoryError(
                "E0802", f"This memory finds entries of one {key} only", why=f"Its {key} is {value!r}."
            )
        return msgspec.structs.replace(self, where={**self.where, key: value})


EVERYTHING = MemoryFilter()


def _any_of(key: str, condition: Condition) -> list[str]:
    if isinstance(condition, list | tuple | set | frozenset):
        return sorted({token(key, value) for value in condition})
    return [token(key, condition)]  # type: ignore[arg-type]  # anything else is refused there


def as_filter(where: "Mapping[str, Condition] | MemoryFilter | None") -> MemoryFilter:
    """What a caller may write for a filter: a filter, metadata that must be there, or nothing.

    Raises:
        SemanticMemoryError: E0802 it is something else, or has a value that cannot be filtered by.
    """
    if where is None:
        return EVERYTHING
    found = where if isinstance(where, MemoryFilter) else None
    if isinstance(where, Mapping):
        found = MemoryFilter(where=where)
    if found is None or not all(isinstance(key, str) for key in [*found.where, *found.unless]):
        raise SemanticMemoryError(
            "E0802",
            "A filter is a mapping from metadata's names, or a MemoryFilter",
            fix='For example where={"topic": "billing"}.',
        )
    found.groups(), found.banned()  # a wrong value is told here, not in the middle of a store's work
    return found
