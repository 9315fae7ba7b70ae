"""Success conditions: a small language over a tool's output, read by a parser of its own and never as code.

    $.status == "ok" and len($.items) >= 3
    not ($.summary contains "ERROR") or $.score in [4, 5]

`$` is the output; `.name`, `[0]`, `["any key"]` lead into it, and `[-1]` is the last of a list. There are `==`, `!=`,
`<`, `<=`, `>`, `>=`, `in`, `not in`, `contains`, `and`, `or`, `not` (also `&&`, `||`, `!`), `len(...)`, brackets, and
the literals of JSON (also 'text', True, False, None).

E8: what has no answer never holds. A path that leads nowhere is null. An order between a text and a number, the
length of a number or a search in one is unknown; "unknown or true" is true, "not unknown" is unknown, and in the end
only what is true holds. A condition that cannot be read never holds; `check_condition` says why beforehand.
"""

import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

MAX_CONDITION_CHARS = 2_000
MAX_CONDITION_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>==|!=|<=|>=|&&|\|\||[<>!$.,()\[\]])
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_SAME_AS = {"&&": "and", "||": "or", "!": "not"}
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Literal(msgspec.Struct, frozen=True):
    """A value that stands in the condition."""

    value: Any


class Path(msgspec.Struct, frozen=True):
    """A place in the output."""

    keys: tuple[str | int, ...]


class Listed(msgspec.Struct, frozen=True):
    """A list of operands."""

    items: tuple[Any, ...]


class Applied(msgspec.Struct, frozen=True):
    """An operator or `len` with its operands."""

    name: str
    operands: tuple[Any, ...]


class _NotReadableError(ValueError):
    """The condition is not of the language."""


class _Unknown:
    """The answer of what has none."""

    def __bool__(self) -> bool:
        raise TypeError("unknown is neither true nor false")


_UNKNOWN = _Unknown()


def check_condition(condition: str) -> str:
    """Why *condition* cannot be read, in words; empty: it can."""
    try:
        _parsed(condition)
    except _NotReadableError as error:
        return str(error)
    return ""


def holds(condition: str, output: Any) -> bool:
    """Whether *condition* is true of *output*; what is unknown or cannot be read does not hold (E8)."""
    try:
        return _truth(_value(_parsed(condition), output)) is True
    except (_NotReadableError, RecursionError):
        return False


def default_holds(output: Any) -> bool:
    """Whether an output looks like a success, where no condition says what one is.

    It does not when it is null or false, when it is an object with `passed: false`, or when one of its texts has "ERROR".
    """
    if output is None or output is False or (isinstance(output, dict) and output.get("passed") is False):
        return False
    left = [output]
    while left:
        item = left.pop()
        if isinstance(item, str) and "ERROR" in item:
            return False
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list | tuple):
            left.extend(item)
    return True


def lookup(value: Any, keys: tuple[str | int, ...]) -> tuple[Any, bool]:
    """What is in *value* at the end of *keys*, and whether there is such a place."""
    for key in keys:
        if isinstance(value, dict) and str(key) in value:
            value = value[str(key)]
        elif isinstance(value, list | tuple) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return None, False
    return value, True


# Reading ------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _parsed(condition: str) -> Any:
    if len(condition) > MAX_CONDITION_CHARS:
        raise _NotReadableError(f"a condition has at most {MAX_CONDITION_CHARS} characters")
    return _Reader(condition).read()


class _Reader:
    """Recursive descent over the tokens; each level of brackets or `not` counts against the depth."""

    def __init__(self, condition: str) -> None:
        self._tokens = _tokens(condition)
        self._at = 0
        self._depth = 0

    def read(self) -> Any:
        tree = self._either()
        if self._kind != "end":
            raise _NotReadableError(f"{self._text!r} is not expected here")
        return tree

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    @property
    def _text(self) -> str:
        return self._tokens[self._at][1]

    def _take(self) -> str:
        text = self._text
        if self._kind == "end":
            raise _NotReadableError("the condition ends too early")
        self._at += 1
        return text

    def _took(self, *words: str) -> str:
        """The word or sign that stands next, taken when it is one of these; empty: it is not."""
        return self._take() if self._kind in {"word", "sign"} and self._text in words else ""

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise _NotReadableError(f"{sign!r} is missing before {self._text or 'the end'!r}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_CONDITION_DEPTH:
            raise _NotReadableError(f"it is nested over {MAX_CONDITION_DEPTH} levels")

    def _either(self) -> Any:
        sides = [self._both()]
        while self._took("or"):
            sides.append(self._both())
        return sides[0] if len(sides) == 1 else Applied("or", tuple(sides))

    def _both(self) -> Any:
        sides = [self._negation()]
        while self._took("and"):
            sides.append(self._negation())
        return sides[0] if len(sides) == 1 else Applied("and", tuple(sides))

    def _negation(self) -> Any:
        if not self._took("not"):
            return self._comparison()
        self._deeper()
        tree = Applied("not", (self._negation(),))
        self._depth -= 1
        return tree

    def _comparison(self) -> Any:
        left = self._operand()
        if name := self._took("==", "!=", "<", "<=", ">", ">=", "in", "contains"):
            return Applied(name, (left, self._operand()))
        if self._took("not"):
            self._expect("in")
            return Applied("not", (Applied("in", (left, self._operand())),))
        return left

    def _operand(self) -> Any:
        kind, text = self._kind, self._take()
        if kind == "number":
            return Literal(float(text) if set(text) & set(".eE") else int(text))
        if kind == "text":
            return Literal(_unquoted(text))
        if kind == "word" and text in _LITERALS:
            return Literal(_LITERALS[text])
        if text == "$":
            return Path(self._keys())
        if text in {"(", "[", "len"}:
            self._deeper()
            tree = self._enclosed(text)
            self._depth -= 1
            return tree
        raise _NotReadableError(f"{text!r} is not expected here")

    def _enclosed(self, opening: str) -> Any:
        if opening == "[":
            return Listed(self._list())
        if opening == "len":
            self._expect("(")
        tree = self._either()
        self._expect(")")
        return Applied("len", (tree,)) if opening == "len" else tree

    def _list(self) -> tuple[Any, ...]:
        items: list[Any] = []
        while not self._took("]"):
            if items:
                self._expect(",")
            items.append(self._operand())
        return tuple(items)

    def _keys(self) -> tuple[str | int, ...]:
        keys: list[str | int] = []
        while sign := self._took(".", "["):
            kind, text = self._kind, self._take()
            if kind == "number" and text.lstrip("-").isdigit():
                keys.append(int(text))
            elif sign == "." and kind == "word":
                keys.append(text)
            elif sign == "[" and kind == "text":
                keys.append(_unquoted(text))
            else:
                raise _NotReadableError(f"{text!r} is no name or position")
            if sign == "[":
                self._expect("]")
        return tuple(keys)


def _tokens(condition: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    body = condition.rstrip()
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            raise _NotReadableError(f"{body[at:].lstrip()[:20]!r} is not understood")
        kind = found.lastgroup or "sign"
        text = found[kind]
        if kind == "number" and tokens and tokens[-1] == ("sign", ".") and "." in text:
            # `$.rows.0.1`: two positions, and no fraction
            first, _, second = text.partition(".")
            tokens += [("number", first), ("sign", "."), ("number", second)]
        else:
            name = _SAME_AS.get(text, text) if kind == "sign" else text
            tokens.append((kind, name))
        at = found.end()
    return [*tokens, ("end", "")]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


# Judging ------------------------------------------------------------------------------------------------


def _value(tree: Any, output: Any) -> Any:
    match tree:
        case Literal(value):
            return value
        case Path(keys):
            return lookup(output, keys)[0]
        case Listed(items):
            return [_value(item, output) for item in items]
        case Applied("and" | "or" | "not" as name, operands):
            return _logic(name, [_truth(_value(operand, output)) for operand in operands])
        case Applied(name, operands):
            values = [_value(operand, output) for operand in operands]
            return _UNKNOWN if any(v is _UNKNOWN for v in values) else _applied(name, values)
    raise _NotReadableError("the condition is not understood")


def _truth(value: Any) -> Any:
    """True, False or unknown; null, 0, and what is empty count as false."""
    return value if value is _UNKNOWN else bool(value)


def _logic(name: str, truths: list[Any]) -> Any:
    if name == "not":
        return _UNKNOWN if truths[0] is _UNKNOWN else truths[0] is False
    decisive = name == "or"
    if any(truth is decisive for truth in truths):
        return decisive
    return _UNKNOWN if any(truth is _UNKNOWN for truth in truths) else not decisive


def _applied(name: str, values: list[Any]) -> Any:
    left, right = values[0], values[-1]
    if name == "len":
        return len(left) if isinstance(left, str | list | tuple | dict) else _UNKNOWN
    if name in {"==", "!="}:
        return same(left, right) is (name == "==")
    if name in _ORDER:
        both_texts = isinstance(left, str) and isinstance(right, str)
        return (
            _ORDER[name](left, right) if both_texts or (_is_number(left) and _is_number(right)) else _UNKNOWN
        )
    part, whole = (left, right) if name == "in" else (right, left)
    return _is_in(part, whole)


def _is_in(part: Any, whole: Any) -> Any:
    if isinstance(whole, str):
        return part in whole if isinstance(part, str) else _UNKNOWN
    if isinstance(whole, dict):
        return part in whole if isinstance(part, str) else _UNKNOWN
    return any(same(part, item) for item in whole) if isinstance(whole, list | tuple) else _UNKNOWN


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)
