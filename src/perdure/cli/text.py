"""Text of models, tools and users, made safe for a terminal.

A terminal obeys what it prints: an escape sequence in a tool's result could rewrite the screen, set the
clipboard or forge the question that a person is about to answer, and an invisible character could make one
argument look like another. So every text that this program did not write itself goes through this module, which
shows each such character by its code point, `⟨U+202E⟩`, instead of printing it. What is shown is never shorter in
meaning than what is there: a clipped text says how much is missing.
"""

import json
import re
from typing import Any

# What a reader cannot see or a terminal would obey. Left alone: newline (where lines are allowed) and U+FE0F, which
# only asks for the coloured form of an emoji.
_UNSAFE = re.compile(
    "["
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 without newline, DEL, C1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers, Mongolian selectors
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line separators, bidi controls
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"  # fillers, selectors, byte order mark, annotations
    "\ud800-\udfff"  # lone surrogates
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # format controls, tags, selectors
    "]"
)
_NEWLINE = "⏎"


def _name(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match.group()):04X}⟩"


def block(text: str) -> str:
    """*text* with its lines kept; a tab becomes four spaces and every unsafe character its name."""
    return _UNSAFE.sub(_name, text.replace("\r\n", "\n").replace("\t", "    "))


def line(text: str, limit: int | None = None) -> str:
    """*text* on one line, newlines shown as ⏎; over *limit* characters it is clipped and says by how many."""
    return clip(block(text).replace("\n", _NEWLINE), limit)


def clip(text: str, limit: int | None) -> str:
    """The first *limit* characters of a text that is safe already, and how many more there are."""
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}… (+{len(text) - limit:,} characters)"


def compact(value: Any, limit: int | None = None) -> str:
    """A JSON value on one line; a plain text is shown in quotes, an object as `name=value` pairs."""
    if isinstance(value, dict):
        whole = ", ".join(f"{line(str(k))}={_json(v)}" for k, v in value.items())
    else:
        whole = _json(value)
    return clip(whole, limit)


def pretty(value: Any) -> str:
    """A JSON value over several lines; a text as it is."""
    if isinstance(value, str):
        return block(value)
    return block(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def _json(value: Any) -> str:
    return line(json.dumps(value, ensure_ascii=False, default=str))


def machine(value: Any, *, indent: int | None = None) -> str:
    """JSON for programs: lossless, and ASCII, so that it is safe in a terminal too."""
    return json.dumps(value, ensure_ascii=True, indent=indent, default=str).replace("\x7f", "\\u007f")


def duration(ms: int) -> str:
    """A length of time for people: 0.4s, 12.3s, 4m05s, 3h07m, 2d04h."""
    seconds = max(ms, 0) / 1000
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"


def count(number: int) -> str:
    """A number of tokens for people: 812, 2.1k, 14k, 1.3M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"  # noqa: PLR2004
    return str(number)
