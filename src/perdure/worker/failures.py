"""A tool's failure as the wire has it: code, what was raised, and where in the user's code. Pure."""

import sysconfig
import traceback
from pathlib import Path
from typing import Any

import msgspec

from perdure.core.errors import PerdureError

LONGEST_TEXT = 8_000  # an error goes back to the model; more than this says nothing more
# What goes wrong the same way at every try.
FINAL = frozenset({"E0303", "E0305", "E0309", "E0310", "E0313", "E0611"})

_OURS = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def error_record(error: BaseException, tool: str, where: str) -> tuple[dict[str, Any], bool]:
    """The error for the wire, and whether another attempt may succeed.

    A `PerdureError` keeps its code. Any exception says that no attempt will succeed by an attribute
    `retryable = False`.
    """
    retryable = getattr(error, "retryable", True) is not False
    if isinstance(error, PerdureError):
        return _plain(error.to_wire()), retryable and error.code not in FINAL
    text = _clean(_text_of(error))
    name = type(error).__name__
    place = user_frame(error)
    wire = {
        "code": "E0301",
        "slug": "tool_failed",
        "what": f"{tool} raised {name}: {text}" if text else f"{tool} raised {name}",
        "where": _clean(f"{where}, at {place}" if place else where),
    }
    return wire, retryable


def user_frame(error: BaseException) -> str:
    """The innermost frame of the user's own code, as `file:line in function`; empty when there is none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def _is_users(filename: str) -> bool:
    return not filename.startswith((_OURS, *_LIBRARIES, "<frozen"))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything, and the failure matters more
        return "(its text cannot be had)"


def _clean(text: str) -> str:
    """At most `LONGEST_TEXT` characters that UTF-8 can hold, without the one that nobody stores."""
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + f"... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _plain(wire: dict[str, Any]) -> dict[str, Any]:
    """The error with texts that can be stored; fields that are not JSON are left out."""
    cleaned = {k: _clean(v) if isinstance(v, str) else v for k, v in wire.items()}
    try:
        msgspec.json.encode(cleaned)
    except (TypeError, ValueError, RecursionError):
        cleaned.pop("fields", None)
    return cleaned
