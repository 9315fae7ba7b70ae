"""What may be stored, under which id, and as which namespace.

An entry's id is made from what makes it the same entry: the idempotency key when there is one, else the text itself.
So a tool call that is retried, and a process that was killed between storing and answering, store nothing twice.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from perdure.core.errors import SemanticMemoryError
from perdure.core.ids import canonical_json

MAX_CONTENT_CHARS = 100_000
MAX_METADATA_BYTES = 16_384
MAX_KEY_CHARS = 500
MAX_TTL_S = 100 * 366 * 86_400


class NewMemory(msgspec.Struct, frozen=True):
    """A text to remember, for `add_many`.

    Attributes:
        content: the text.
        metadata: JSON values by name.
        idempotency_key: what makes it the same entry when it comes again; None: its text.
        ttl_s: after how many seconds it is forgotten; None: never.
    """

    content: str
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    ttl_s: float | None = None


def namespace_of(agent: str, user: str) -> str:
    """The namespace of an agent and a user as one text: different pairs give different texts."""
    for name, value in (("agent", agent), ("user", user)):
        checked_text(name, value, MAX_KEY_CHARS, empty=True)
    return f"{quote(agent, safe='')}/{quote(user, safe='')}"


def digest_of(content: str) -> str:
    """SHA-256 of the text with white space and Unicode forms made even: what counts as the same text."""
    return hashlib.sha256(" ".join(unicodedata.normalize("NFC", content).split()).encode()).hexdigest()


def entry_id(scope: str, content_digest: str, idempotency_key: str | None) -> str:
    """The id of an entry; *scope* is the namespace, with the session if the memory keeps sessions apart."""
    kind, value = ("text", content_digest) if idempotency_key is None else ("key", idempotency_key)
    return "m" + hashlib.sha256(canonical_json([scope, kind, value])).hexdigest()[:31]


def checked_text(name: str, value: object, most: int, *, empty: bool = False) -> str:
    """The text, if it is one that every store can hold.

    Raises:
        SemanticMemoryError: E0802.
    """
    problem = ""
    if not isinstance(value, str):
        problem = f"It is {type(value).__name__}, not text."
    elif not empty and not value.strip():
        problem = "It is empty."
    elif len(value) > most:
        problem = f"It has {len(value):,} characters; {most:,} are the most."
    elif "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        problem = "It has a NUL or half a surrogate pair, which cannot be stored."
    if problem or not isinstance(value, str):
        raise SemanticMemoryError(
            "E0802", f"The {name} is not valid", why=problem, fix="Split long texts; strip what is no text."
        )
    return value


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metadata as plain JSON values.

    Raises:
        SemanticMemoryError: E0802 a name is not text, or the whole is not JSON or too large.
    """
    if metadata is None:
        return {}
    given: Any = metadata
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise SemanticMemoryError("E0802", "The metadata is not a mapping from text")
    try:
        text = canonical_json(dict(metadata))
        plain = msgspec.json.decode(text, type=dict[str, Any])
        even = plain == _listed(dict(metadata))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise SemanticMemoryError("E0802", "The metadata is not JSON", why=str(error)) from error
    # NaN becomes null and a date becomes text: what comes back would not be what was given.
    if not even:
        raise SemanticMemoryError(
            "E0802",
            "The metadata would not come back as it was given",
            fix="Use text, finite numbers, True, False, None, lists and mappings.",
        )
    if len(text) > MAX_METADATA_BYTES or b"\\u0000" in text:
        raise SemanticMemoryError(
            "E0802",
            "The metadata cannot be stored",
            why=f"It has {len(text):,} bytes as JSON; {MAX_METADATA_BYTES:,} are the most, and none may be NUL.",
        )
    return plain


def _listed(value: Any) -> Any:
    """The value with tuples as lists, as they come back."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def checked_expiry(ttl_s: object, now_ms: int) -> int | None:
    """When an entry that is added now is forgotten.

    Raises:
        SemanticMemoryError: E0802 the time is not a positive number of seconds.
    """
    if ttl_s is None:
        return None
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not 0 < ttl_s <= MAX_TTL_S:
        raise SemanticMemoryError(
            "E0802", "The time to live is not valid", why=f"ttl_s is {ttl_s!r}.", fix="Give seconds, or None."
        )
    return now_ms + max(1, round(ttl_s * 1000))
