"""Guardrails that are patterns, judged in a time that grows with the text and never faster.

Patterns are in RE2's syntax and run on RE2, an automaton: there is no backtracking, so no text, however it was
made, can hold the server up. What an automaton cannot do (lookaround, references back to a group) is refused when
the agent is compiled, and so is a pattern of over `MAX_PROGRAM` instructions. RE2 reads a text at about two
nanoseconds a byte; where the automaton has too many states it needs up to fifteen for each byte and instruction.
`MAX_WORK` bounds that product, so that the worst pattern with the worst text costs seconds and not minutes: 1 MB of
text is judged with any pattern of up to 500 instructions, 50 KB with any at all.

`^` and `$` are the beginning and the end of the whole text, unless the pattern says `(?m)`; `(?i)` ignores case.
E8: a text that cannot be judged has not passed, and what cannot be fixed match by match is redacted whole.
"""

import functools
import itertools
from typing import Any

import re2  # type: ignore[import-untyped]

from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import DefinitionError
from perdure.core.guards import GuardVerdict

MAX_PATTERN_CHARS = 10_000
MAX_PROGRAM = 10_000  # instructions
MAX_WORK = 500_000_000  # bytes of the text times instructions
MAX_FIXED_MATCHES = 1_000
REDACTED = "[redacted]"
_CACHED = 128  # patterns; each may use _MAX_MEMORY
_MAX_MEMORY = 8 << 20

# What RE2's message begins with -> why, in our words.
_REASONS = {
    "invalid perl operator": "RE2 knows no lookahead, lookbehind, atomic group or condition",
    "invalid escape sequence": "RE2 knows no reference back to a group, and not this escape",
    "bad repetition operator": "RE2 knows no possessive repetition",
    "invalid repetition size": "a repetition counts to 1,000 at most, nested ones multiplied",
}


class _TooLargeError(ValueError):
    """The pattern is over a limit of ours; the text says which."""


@functools.lru_cache(maxsize=_CACHED)
def _compiled(pattern: str) -> Any:
    """The compiled pattern; `ValueError` (and `re2.error`) say why there is none."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise _TooLargeError(f"it has {len(pattern)} characters, and at most {MAX_PATTERN_CHARS} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    options.never_capture = True  # with groups, RE2 must leave its fast automaton to find where they are
    compiled = re2.compile(pattern.encode(), options=options)
    size = _size(compiled)
    if size > MAX_PROGRAM:
        raise _TooLargeError(f"its program has {size} instructions, and at most {MAX_PROGRAM} are allowed")
    return compiled


def _size(compiled: Any) -> int:
    """Instructions of the larger of the two programs: forwards to where a match ends, backwards to where it began."""
    return max(int(compiled.programsize), int(compiled.reverseprogramsize))


def _why(error: Exception) -> str:
    """The error in words."""
    if isinstance(error, UnicodeError):
        return "it has characters that are no text (lone surrogates)"
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    reason = next((why for start, why in _REASONS.items() if text.startswith(start)), "")
    return f"{reason} ({text})" if reason else text


def check_pattern(pattern: str, where: str) -> None:
    """Refuse a pattern that cannot be judged in linear time.

    Raises:
        DefinitionError: E0101 when it is no pattern of RE2, E0106 when it is too large; `why` says what is wrong.
    """
    try:
        _compiled(pattern)
    except (re2.error, ValueError) as error:
        large = (
            isinstance(error, _TooLargeError)
            or "too large" in _why(error)
            or "repetition size" in _why(error)
        )
        raise DefinitionError(
            "E0106" if large else "E0101",
            f"The pattern {pattern[:100]!r} cannot be used",
            where=where,
            why=_why(error),
            fix="Split it into several smaller patterns."
            if large
            else "Write it in RE2's syntax, or use a guardrail function.",
        ) from error


def judge(guard: GuardrailDefinition, text: str) -> GuardVerdict:
    """What a guardrail of the kind regex says of *text*.

    Mode `block` fails when any of its patterns is found, `allow` when none is. When `on_fail` is `fix` and the mode
    `block`, `fixed` is the text with each match replaced by `[redacted]`; adjoining matches are one. The whole text
    is replaced when there are over 1,000 matches, or when what matched is empty.

    Raises:
        DefinitionError: E0106 when the guardrail is of another kind.
    """
    if guard.kind != "regex":
        raise DefinitionError(
            "E0106",
            f"The guardrail {guard.name!r} is of the kind {guard.kind}",
            fix="Give one of the kind regex.",
        )
    body = text.encode(errors="replace")
    try:
        patterns = [_compiled(pattern) for pattern in guard.patterns]
    except (re2.error, ValueError) as error:
        return GuardVerdict(False, f"The guardrail {guard.name!r} cannot be judged: {_why(error)}")
    if any(_size(pattern) * len(body) > MAX_WORK for pattern in patterns):
        return GuardVerdict(
            False,
            f"The text is too long ({len(body)} bytes) for the patterns of the guardrail {guard.name!r}",
        )
    found = next((n for n, pattern in enumerate(patterns) if pattern.search(body)), None)
    if guard.mode == "allow":
        if found is not None:
            return GuardVerdict(True)
        return GuardVerdict(
            False, guard.message or f"The text has nothing that the guardrail {guard.name!r} asks for"
        )
    if found is None:
        return GuardVerdict(True)
    message = guard.message or (
        f"The text has something that the guardrail {guard.name!r} forbids: {guard.patterns[found]!r}"
    )
    return GuardVerdict(False, message, _redacted(patterns, body) if guard.on_fail == "fix" else None)


def _redacted(patterns: list[Any], body: bytes) -> str:
    """The text without what any of the patterns finds in it."""
    matches = itertools.chain.from_iterable(pattern.finditer(body) for pattern in patterns)
    found = [match.span() for match in itertools.islice(matches, MAX_FIXED_MATCHES + 1)]
    spans = sorted(span for span in found if span[1] > span[0])
    if not spans or len(found) > MAX_FIXED_MATCHES:
        return REDACTED
    pieces: list[str] = []
    end = 0
    for start, stop in spans:
        if start > end or not pieces:
            pieces += [body[end:start].decode(errors="replace"), REDACTED]
        end = max(end, stop)
    pieces.append(body[end:].decode(errors="replace"))
    return "".join(pieces)
