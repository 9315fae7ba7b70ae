"""An event as a row: its payload, its large body apart, and its link in the chain of checksums.

Linear storage: a payload over `BLOB_OVER_BYTES` gives its body (the field that the event's type names in
`BODY`) to the table of blobs, under the SHA-256 of its JSON, where equal bodies are one row; the event's row keeps
the head and the hash. `join` puts the body's JSON back into the head, so that the event that is decoded is the
event that was encoded.

The chain (invariant I2): each row carries a 16-byte hash of the row before it and of all its own columns, and the
first row continues from a hash of the execution's id. A changed, missing, moved or added row breaks it.
"""

import hashlib
import struct
import zlib
from typing import Any

import msgspec

from perdure.core.events import AnyEvent, Event, kind_of

BLOB_OVER_BYTES = 4096
COMPRESS_OVER_BYTES = 64 * 1024
RAW, ZLIB = 0, 1  # how a blob's data is written

CHAIN_BYTES = 16
# hashlib lets go of the interpreter's lock for 2048 bytes and more. Under a busy event loop the writer thread then
# waits up to a switch interval to get it back, once for every event; short pieces avoid it. See `link`.
_UNLOCKED_BYTES = 2047
_SLICED_BYTES = 4 * _UNLOCKED_BYTES

_LINK = struct.Struct(f">{CHAIN_BYTES}sqq?")
_BODY_OF_KIND: dict[str, str] = {
    event_type.__struct_config__.tag: event_type.BODY for event_type in AnyEvent.__args__ if event_type.BODY
}
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


def split(event: Event, payload: bytes) -> tuple[bytes, bytes | None]:
    """The head and the body's JSON; the body is None when the payload stays whole."""
    field = event.BODY
    if len(payload) <= BLOB_OVER_BYTES or field is None:
        return payload, None
    body = getattr(event, field)
    if body is None:
        return payload, None
    return msgspec.json.encode(msgspec.structs.replace(event, **{field: None})), msgspec.json.encode(body)


def join(head: bytes, body: bytes) -> bytes:
    """The payload that `split` took apart.

    Raises:
        msgspec.MsgspecError, KeyError: the head is not one that `split` made.
    """
    fields: dict[str, Any] = _FIELDS.decode(head)
    fields[_BODY_OF_KIND[_TEXT.decode(fields["kind"])]] = msgspec.Raw(body)
    return msgspec.json.encode(fields)


def blob_row(body: bytes) -> tuple[bytes, int, int, bytes]:
    """Hash, size in bytes, encoding and data of a body's row in the table of blobs."""
    digest = hashlib.sha256(body).digest()
    if len(body) > COMPRESS_OVER_BYTES and len(packed := zlib.compress(body, 1)) < len(body):
        return digest, len(body), ZLIB, packed
    return digest, len(body), RAW, body


def open_blob(digest: bytes, encoding: int, data: bytes) -> bytes | None:
    """The body of a blob's row, or None when it is not what its hash says."""
    if encoding == ZLIB:
        try:
            data = zlib.decompress(data)
        except zlib.error:
            return None
    return data if hashlib.sha256(data).digest() == digest else None


def chain_start(execution_id: str) -> bytes:
    """What the first event's link continues from: rows of one execution never fit another."""
    return hashlib.blake2b(execution_id.encode(), digest_size=CHAIN_BYTES).digest()


def link(previous: bytes, seq: int, at_ms: int, head: bytes, body_hash: bytes | None) -> bytes:
    """The checksum of one event's row, after the one before it."""
    front = _LINK.pack(previous, seq, at_ms, body_hash is not None) + (body_hash or b"")
    if not _UNLOCKED_BYTES < len(front) + len(head) <= _SLICED_BYTES:
        return hashlib.blake2b(front + head, digest_size=CHAIN_BYTES).digest()
    digest = hashlib.blake2b(front, digest_size=CHAIN_BYTES)
    for start in range(0, len(head), _UNLOCKED_BYTES):
        digest.update(head[start : start + _UNLOCKED_BYTES])
    return digest.digest()


def kinds_of(events: tuple[Event, ...]) -> list[str]:
    """The kinds of some events, for crash points."""
    return [kind_of(event) for event in events]
