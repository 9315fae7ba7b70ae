"""A tool's return value as plain JSON, or an error that says which part of it is not.

Rules:

V1. What comes out is made of None, bool, int, float, str, list and dict with str keys, and nothing else. A value
    that is plain already comes out as itself, not copied.
V2. Nothing is lost in silence: a NaN, bytes, an integer too large for JSON readers, two keys that become one, a
    cycle or an object without a JSON form is refused with its path (`result.items[3].price`).
V3. Equal values give equal JSON in every process: a set is sorted, because its own order depends on the process.
V4. It always ends, whatever the value: depth and size are limited, so neither a cycle nor a small value that
    shares its parts a million times over can exhaust the stack or the memory.
"""

import dataclasses
import datetime as dt
import inspect
import math
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Never
from uuid import UUID

import msgspec

from perdure.core.errors import ApiError, PerdureError, ToolError
from perdure.core.ids import canonical_json

MAX_DEPTH = 200
MAX_INTEGER = 2**63
MAX_PARTS = 1_000_000
_TEXT_TYPES = (dt.datetime, dt.date, dt.time, dt.timedelta, UUID)

Path = tuple[str | int, ...]


def to_json_value(value: Any, where: str = "", *, root: str = "result", max_parts: int = MAX_PARTS) -> Any:
    """The JSON value that *value* stands for.

    Pydantic models, dataclasses, msgspec structs, enums, dates, times, UUIDs, decimals, paths, sets and tuples
    become what Pydantic would write for them. A value that is plain JSON already is returned as it is.

    Args:
        value: anything.
        where: what the value belongs to, for the error.
        root: the name of the value itself in the error's path.
        max_parts: how many values it may hold in all, those inside of others included.

    Raises:
        ToolError: E0303 some part has no JSON form; E0310 more than *max_parts* parts.
        ApiError: E0611 some text has lone surrogates.
    """
    if _is_plain(value, max_parts):
        return value
    try:
        return _Converter(where, root, max_parts).convert(value, ())
    except RecursionError:
        # The depth limit is far below the interpreter's own, but the caller may be deep in its stack already.
        raise ToolError("E0303", "The result is nested too deeply", where=where, fix=_DEPTH_FIX) from None


def check_text(text: str, where: str = "") -> None:
    """Refuse text that has no UTF-8 form.

    Raises:
        ApiError: E0611 the text has lone surrogates.
    """
    if not _is_encodable(text):
        raise _surrogates(where)


def path_text(path: Path, root: str = "result") -> str:
    """The path as people write it: `result.items[3].price`, `result["a b"]`."""
    parts = [root]
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            parts.append(f".{part}")
        else:
            parts.append(f"[{part}]" if isinstance(part, int) else f"[{part!a}]")
    return "".join(parts)


_DEPTH_FIX = f"Return a value of at most {MAX_DEPTH} levels, or a text."


def _surrogates(where: str) -> PerdureError:
    return ApiError(
        "E0611",
        "The text has lone surrogates, which no UTF-8 text can hold",
        where=where,
        why="It was probably decoded with errors='surrogateescape', or cut in the middle of a character.",
        fix="Decode the bytes with errors='replace', or encode them as base64.",
    )


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: Any, budget: int) -> bool:
    """Whether the value is JSON already: level by level, without recursion. False also when it is too large to say."""
    level = [value]
    budget -= 1
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                if not all(type(key) is str and _is_encodable(key) for key in item):
                    return False
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif not _is_plain_leaf(kind, item):
                return False
            if len(below) > budget:
                return False
        if not below:
            return True
        budget -= len(below)
        level = below
    return all(_is_plain_leaf(type(item), item) for item in level)


def _is_plain_leaf(kind: type, item: Any) -> bool:
    if kind is str:
        return _is_encodable(item)
    if kind is int:
        return bool(-MAX_INTEGER <= item <= MAX_INTEGER)
    if kind is float:
        return math.isfinite(item)
    return item is None or kind is bool


class _Converter:
    """One conversion: counts the parts and knows the containers it is inside of."""

    def __init__(self, where: str, root: str, max_parts: int) -> None:
        self._where = where
        self._root = root
        self._parts_left = max_parts
        self._max_parts = max_parts
        self._inside: set[int] = set()

    def convert(self, value: Any, path: Path) -> Any:  # noqa: PLR0911 - one for each kind of value
        """The JSON of one part."""
        self._parts_left -= 1
        if self._parts_left < 0:
            raise ToolError(
                "E0310",
                f"The {self._root} has more than {self._max_parts:,} parts",
                where=self._where,
                fix="Return less: a summary, a page, or the name of a file.",
            )
        if _is_plain_leaf(type(value), value):
            return value
        if isinstance(value, Enum):
            return self.convert(value.value, path)
        if isinstance(value, str):
            return self._text(str(value), path)
        if isinstance(value, int):
            return self._integer(int(value), path)
        if isinstance(value, float | Decimal):
            return self._number(value, path)
        if isinstance(value, _TEXT_TYPES):
            return msgspec.to_builtins(value)
        if hasattr(type(value), "__fspath__"):
            return self._text(str(value), path)
        return self._container(value, path)

    def _text(self, text: str, path: Path) -> str:
        if not _is_encodable(text):
            raise _surrogates(self._place(path))
        return text

    def _integer(self, value: int, path: Path) -> int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            self._refuse(path, "an integer of more than 64 bits", "Return it as text: str(value).")
        return value

    def _number(self, value: float | Decimal, path: Path) -> float | str:
        is_finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        if not is_finite:
            self._refuse(path, str(value), "JSON has no such number: return None or a text instead.")
        return str(value) if isinstance(value, Decimal) else float(value)

    def _container(self, value: Any, path: Path) -> Any:
        if len(path) >= MAX_DEPTH:
            self._refuse(path[:20], f"a value nested over {MAX_DEPTH} levels", _DEPTH_FIX)
        if id(value) in self._inside:
            self._refuse(path, "a cycle (the value contains itself)", "Return a value without cycles.")
        self._inside.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._object(value.items(), path)
            if isinstance(value, list | tuple | deque):
                return [self.convert(item, (*path, i)) for i, item in enumerate(value)]
            if isinstance(value, set | frozenset):
                return sorted(
                    (self.convert(item, (*path, i)) for i, item in enumerate(value)), key=canonical_json
                )
            return self._record(value, path)
        finally:
            self._inside.discard(id(value))

    def _record(self, value: Any, path: Path) -> Any:
        if hasattr(type(value), "__pydantic_serializer__") and hasattr(value, "model_dump"):
            return self.convert(self._dump(value, path), path)
        if isinstance(value, msgspec.Struct):
            return self._struct(value, path)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._object(((f.name, getattr(value, f.name)) for f in dataclasses.fields(value)), path)
        return self._refuse(path, *_name_and_fix(value))

    def _dump(self, model: Any, path: Path) -> Any:
        try:  # a model may run any serializer of the user's
            return model.model_dump(mode="json", warnings="none")
        except Exception as error:
            raise ToolError(
                "E0303",
                f"The {self._root} holds a {type(model).__name__} that cannot be written as JSON",
                where=self._place(path),
                why=f"{type(error).__name__}: {error}",
                fix="Give the field a type with a JSON form, or a field_serializer.",
            ) from error

    def _struct(self, value: msgspec.Struct, path: Path) -> Any:
        config = value.__struct_config__
        fields = [(f.encode_name, getattr(value, f.name)) for f in msgspec.structs.fields(value)]
        tag = [] if config.tag is None else [(config.tag_field or "type", config.tag)]
        if config.array_like:
            return [self.convert(item, (*path, i)) for i, (_, item) in enumerate([*tag, *fields])]
        return self._object(iter([*tag, *fields]), path)

    def _object(self, items: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for raw, item in items:
            key = self._key(raw, path)
            if key in found:
                self._refuse(
                    path, f"two keys that are both {key!r} in JSON", "Make the keys texts that differ."
                )
            found[key] = self.convert(item, (*path, key))
        return found

    def _key(self, raw: Any, path: Path) -> str:
        key = raw.value if isinstance(raw, Enum) else raw
        if isinstance(key, str):
            return self._text(str(key), path)
        if isinstance(key, int) and not isinstance(key, bool):
            return str(int(key))
        return self._refuse(
            path, f"a key of type {type(key).__name__}", "Keys must be texts, integers or enum members."
        )

    def _place(self, path: Path) -> str:
        place = path_text(path, self._root)
        return f"{self._where}, at {place}" if self._where else f"at {place}"

    def _refuse(self, path: Path, found: str, fix: str) -> Never:
        raise ToolError(
            "E0303",
            f"The {self._root} is not JSON: {path_text(path, self._root)} is {found}"
            if path
            else f"The {self._root} is not JSON: it is {found}",
            where=self._place(path),
            fix=fix,
        )


def _name_and_fix(value: Any) -> tuple[str, str]:
    """What an object without a JSON form is called, and what to return instead."""
    name = f"an object of type {type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{type(value).__name__}, which JSON cannot hold", (
            "Return text: value.decode() for text, base64.b64encode(value).decode() for anything else."
        )
    if inspect.isawaitable(value):
        return f"{name} that was never awaited", "Make the tool `async def` and await it inside."
    if isinstance(value, Iterator) or inspect.isasyncgen(value):
        return f"{name}, which can be read only once", "Return list(...) of it."
    if hasattr(value, "tolist"):
        return name, "Return value.tolist()."
    return name, "Return plain values, a dataclass or a Pydantic model, or give the object as text."
