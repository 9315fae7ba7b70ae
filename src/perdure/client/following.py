"""Following an event stream over lost connections: which records are new. Pure.

Events carry their position in the journal: one that was seen is dropped, and one that comes too early means
that the stream has to be asked for again. Pieces of an answer in flight carry the offset of their first
character; what is sent again after a reconnect is cut off, so that the pieces that a reader gets, joined, are
the text. A new attempt at the answer (its server died) begins anew at offset 0.
"""

import msgspec

from perdure.core.errors import ApiError
from perdure.wire.types import DeltaRecord, EventRecord

TERMINAL_KINDS = frozenset({"execution_completed", "execution_failed", "execution_cancelled"})
GAPS_IN_A_ROW = 3  # connections that may skip a position before the server is said to be wrong

StreamRecord = EventRecord | DeltaRecord


class Follower:
    """Where a reader is in a stream.

    Attributes:
        last: position of the last event that was passed on.
        ended: the terminal event was passed on.
    """

    def __init__(self, after: int) -> None:
        self.last = after
        self.ended = False
        self._gaps = 0
        self._joiner = DeltaJoiner()

    def take(self, record: StreamRecord) -> StreamRecord | None:
        """What *record* adds, or None.

        Raises:
            GapError: it comes too early.
            ApiError: E0609 it has come too early several times.
        """
        if isinstance(record, DeltaRecord):
            return self._joiner.take(record)
        if record.seq <= self.last:
            return None
        if record.seq > self.last + 1:
            self._gaps += 1
            if self._gaps < GAPS_IN_A_ROW:
                raise GapError
            raise ApiError(
                "E0609",
                f"The event stream goes from position {self.last} to {record.seq}",
                where=record.execution_id,
                fix="This is an error of the server: please report it.",
            )
        self.last, self._gaps = record.seq, 0
        self.ended = record.event.get("kind") in TERMINAL_KINDS
        return record


class GapError(Exception):
    """A position is missing: ask again from the last good one."""


class DeltaJoiner:
    """Remembers how much of each (step, part) was passed on, of its newest attempt."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}  # (step, part) -> (attempt, characters)

    def take(self, delta: DeltaRecord) -> DeltaRecord | None:
        """What *delta* adds, or None. Pieces of an attempt that a newer one has replaced add nothing."""
        key = (delta.step, delta.part)
        attempt, seen = self._seen.get(key, (0, 0))
        if delta.attempt < attempt:
            return None
        if delta.attempt > attempt:
            seen = 0
        end = delta.offset + len(delta.text)
        if end <= seen:
            return None
        self._seen[key] = (delta.attempt, end)
        if delta.offset >= seen:
            return delta
        return msgspec.structs.replace(delta, offset=seen, text=delta.text[seen - delta.offset :])
