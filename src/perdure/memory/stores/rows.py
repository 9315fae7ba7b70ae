"""An entry as stores keep it: metadata as JSON text, so that it comes back exactly as it went in."""

from typing import Any

import msgspec

from perdure.core.ids import canonical_json
from perdure.memory.ports import MemoryEntry
from perdure.memory.stores.failures import unreadable


def metadata_text(entry: MemoryEntry) -> str:
    """The metadata as a store keeps it."""
    return canonical_json(entry.metadata).decode()


def stored_entry(
    where: str,
    *,
    id: str,  # noqa: A002 - the column's name
    namespace: str,
    content: str,
    digest: str,
    metadata: str,
    created_at_ms: int,
    expires_at_ms: int | None,
    score: float | None,
) -> MemoryEntry:
    """The entry that a store read.

    Raises:
        SemanticMemoryError: E0806 its metadata is not what was written.
    """
    try:
        values = msgspec.json.decode(metadata, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise unreadable(where, f"The metadata of {id}: {error}") from error
    return MemoryEntry(
        id=id,
        namespace=namespace,
        content=content,
        digest=digest,
        metadata=values,
        created_at_ms=created_at_ms,
        expires_at_ms=expires_at_ms,
        score=score,
    )
