"""The heads of executions: what the writer must know of a row to add to it, without asking the database.

Nobody else writes (one process by the lock, one thread by design), so what was committed last is what the disk has.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apsw
import msgspec

from perdure.core.errors import JournalError
from perdure.engine.journal.rows import EXECUTION_COLUMNS, ExecutionRow, read_execution, row_sum, static_sum
from perdure.engine.ports import TERMINAL_STATUSES, Status

_HEADS_LIMIT = 20_000  # some 400 bytes each
_IDS_PER_QUESTION = 500


class Head(msgspec.Struct, gc=False):
    """The moving part of an execution's row. `stored_seq` is the last seq on disk, -1 while there is no row."""

    xid: int
    static: int
    stored_seq: int
    last_seq: int
    chain: bytes
    status: Status
    next_due_ms: int | None
    updated_at_ms: int
    state: bytes = b""
    status_moved: bool = False

    @property
    def sum(self) -> int:
        """The checksum of the row."""
        return row_sum(
            self.static,
            self.state,
            self.status,
            self.last_seq,
            self.updated_at_ms,
            self.next_due_ms,
            self.chain,
        )


class Heads:
    """The heads of the executions that were written last, and the next free number of a row."""

    def __init__(self, db: apsw.Connection) -> None:
        self.next_xid = int(db.execute("SELECT coalesce(max(xid), 0) + 1 FROM executions").get)
        self._heads: dict[str, Head] = {}

    def get(self, execution_id: str) -> Head | None:
        """The head, if it is known."""
        return self._heads.get(execution_id)

    def forget(self) -> None:
        """Forget all; they are read again when they are needed."""
        self._heads.clear()

    def read(self, db: apsw.Connection, execution_ids: Collection[str]) -> dict[str, JournalError]:
        """Read those that are not known; return those whose rows are damaged."""
        damaged: dict[str, JournalError] = {}
        for id_, row in rows_where(db, "id", [i for i in execution_ids if i not in self._heads]):
            if isinstance(row, JournalError):
                damaged[id_] = row
                continue
            stored = row.stored
            self._heads[id_] = Head(
                xid=row.xid,
                static=static_sum(row.new),
                stored_seq=stored.last_seq,
                last_seq=stored.last_seq,
                chain=row.chain,
                status=stored.status,
                next_due_ms=stored.next_due_ms,
                updated_at_ms=stored.updated_at_ms,
            )
        return damaged

    def settle(self, heads: dict[str, Head], next_xid: int) -> None:
        """Take over the heads of a group that is durable."""
        self.next_xid = next_xid
        for execution_id, head in heads.items():
            self._heads.pop(execution_id, None)  # so that the newest stand at the end
            if head.status not in TERMINAL_STATUSES:
                head.stored_seq, head.state, head.status_moved = head.last_seq, b"", False
                self._heads[execution_id] = head
        for execution_id in list(self._heads)[: max(0, len(self._heads) - _HEADS_LIMIT)]:
            del self._heads[execution_id]


def rows_where(
    db: apsw.Connection, column: str, values: Sequence[str]
) -> Iterator[tuple[str, ExecutionRow | JournalError]]:
    """The rows whose *column* (`id` or `idempotency_key`) is one of *values*, each with that value."""
    place = 1 if column == "id" else 12
    for start in range(0, len(values), _IDS_PER_QUESTION):
        part = values[start : start + _IDS_PER_QUESTION]
        marks = ",".join("?" * len(part))
        # `column` is one of two constants of this package.
        question = f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE {column} IN ({marks})"  # noqa: S608
        for row in db.execute(question, part):
            yield str(row[place]), _checked(row)


def _checked(row: tuple[Any, ...]) -> ExecutionRow | JournalError:
    try:
        return read_execution(row)
    except JournalError as error:
        return error
