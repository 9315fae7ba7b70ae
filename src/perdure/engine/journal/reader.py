"""The questions: read-only connections, one for each thread of a small pool.

An answer is a list, read in one short transaction and checked before it is given out. Nothing is ever sent to a
client inside a read transaction: a long one would keep the write-ahead log from being cut.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from perdure.core.errors import JournalError
from perdure.core.events import Recorded, decode
from perdure.engine.journal.failures import translate
from perdure.engine.journal.payloads import chain_start, join, link, open_blob
from perdure.engine.journal.rows import (
    EXECUTION_COLUMNS,
    corrupt,
    read_approval,
    read_execution,
)
from perdure.engine.journal.schema import SqliteOptions, connect_reader
from perdure.engine.ports import ApprovalRow, ExecutionFilter, StoredExecution

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_DAMAGED = "A damaged row was left out: %s"


class Readers:
    """The pool. `ask` runs a question; `close` waits for those that run."""

    def __init__(self, data_dir: Path, options: SqliteOptions) -> None:
        self._data_dir = data_dir
        self._options = options
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[apsw.Connection] = []
        self._pool = ThreadPoolExecutor(options.readers, thread_name_prefix="perdure-journal-reader")

    async def ask(self, question: Callable[..., T], *args: Any, **named: Any) -> T:
        """Run `question(connection, ...)` inside one read transaction, off the event loop.

        Raises:
            JournalError: E0503, E0504, E0506.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._run, lambda db: question(db, *args, **named)
        )

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Run blocking work of the journal in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """End the threads, then close their connections."""
        self._pool.shutdown(wait=True)
        for db in self._connections:
            db.close()

    def _run(self, question: Callable[[apsw.Connection], T]) -> T:
        try:
            db = self._connection()
            db.execute("BEGIN")
            try:
                return question(db)
            finally:
                db.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, str(self._data_dir)) from error

    def _connection(self) -> apsw.Connection:
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connect_reader(self._data_dir, self._options)
            with self._lock:
                self._connections.append(db)
        return db


# Questions about executions -----------------------------------------------------------------------------


def load(db: apsw.Connection, execution_id: str) -> StoredExecution | None:
    """One execution's row."""
    question = f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE id = ?"  # noqa: S608 - a constant
    row = db.execute(question, (execution_id,)).fetchone()
    return None if row is None else read_execution(row).stored


def find(db: apsw.Connection, where: ExecutionFilter) -> list[StoredExecution]:
    """Executions, newest first, their state left empty; damaged rows are left out."""
    conditions, values = ["1"], []
    if where.status:
        conditions.append(f"status IN ({','.join('?' * len(where.status))})")
        values += list(where.status)
    if where.agent is not None:
        conditions.append("agent = ?")
        values.append(where.agent)
    if where.session_id is not None:
        conditions.append("session_id = ?")
        values.append(where.session_id)
    if where.parent_id is not None:
        conditions.append("parent_id = ?")
        values.append(where.parent_id)
    if where.roots:
        conditions.append("parent_id IS NULL")
    if where.before is not None:
        conditions.append("xid < (SELECT xid FROM executions WHERE id = ?)")
        values.append(where.before)
    question = (
        f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
        " ORDER BY xid DESC LIMIT ?"
    )
    rows = _sound(db, question, [*values, max(0, where.limit)])
    return list(rows)


def unfinished(db: apsw.Connection) -> list[StoredExecution]:
    """What a restart takes up, oldest first; damaged rows are left out, so that the others go on."""
    question = (
        f"SELECT {EXECUTION_COLUMNS} FROM executions"  # noqa: S608 - a constant
        " WHERE status IN ('running', 'waiting:worker', 'waiting:child', 'waiting:session', 'paused', 'quarantined') ORDER BY xid"
    )
    return list(_sound(db, question, []))


def orphans(db: apsw.Connection) -> list[str]:
    """Ids of the executions that have not ended although their parent has, or waits for them no more; oldest first."""
    question = (
        "SELECT child.id FROM executions child JOIN executions parent ON parent.id = child.parent_id"
        " WHERE child.parent_id IS NOT NULL AND child.status NOT IN ('completed', 'failed', 'cancelled')"
        # An open child stands in its parent's state by its id.
        " AND (parent.status IN ('completed', 'failed', 'cancelled')"
        " OR instr(CAST(parent.state AS BLOB), CAST(child.id AS BLOB)) = 0) ORDER BY child.xid"
    )
    return [str(id_) for (id_,) in db.execute(question)]


def due(db: apsw.Connection, now_ms: int, limit: int) -> list[str]:
    """Ids of the executions to wake, the longest overdue first. Ended ones have no `next_due_ms`."""
    question = "SELECT id FROM executions WHERE next_due_ms <= ? ORDER BY next_due_ms, xid LIMIT ?"
    return [str(id_) for (id_,) in db.execute(question, (now_ms, max(0, limit)))]


def next_due(db: apsw.Connection) -> int | None:
    """The next time to wake one."""
    question = "SELECT min(next_due_ms) FROM executions WHERE next_due_ms IS NOT NULL"
    row = db.execute(question).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def counts(db: apsw.Connection) -> dict[str, int]:
    """How many executions have each status; read from the index of statuses alone, no row is touched."""
    question = "SELECT status, count(*) FROM executions GROUP BY status"
    return {str(status): int(number) for status, number in db.execute(question)}


def _sound(db: apsw.Connection, question: str, values: list[Any]) -> Iterator[StoredExecution]:
    for row in db.execute(question, values):
        try:
            yield read_execution(row).stored
        except JournalError as error:
            _LOG.error(_DAMAGED, error)


# Questions about events ---------------------------------------------------------------------------------

_EVENTS = (
    "SELECT e.seq, e.at_ms, e.payload, e.body_hash, e.chain, b.encoding, b.data"
    " FROM events e LEFT JOIN blobs b ON b.hash = e.body_hash"
    " WHERE e.xid = ? AND e.seq > ? ORDER BY e.seq LIMIT ?"
)


def events(db: apsw.Connection, execution_id: str, after: int, limit: int | None) -> list[Recorded]:
    """The events after *after*; every link of the chain between is checked, and the last one when it is reached.

    Raises:
        JournalError: E0503 naming execution and seq; E0504 an event of a kind that this version does not know.
    """
    after = max(0, after)
    head = db.execute("SELECT xid, last_seq, chain FROM executions WHERE id = ?", (execution_id,)).fetchone()
    if head is None:
        return []
    xid, last_seq, last_link = head
    if after >= last_seq or (limit is not None and limit <= 0):
        return []
    chain = chain_start(execution_id)
    if after:
        before = db.execute("SELECT chain FROM events WHERE xid = ? AND seq = ?", (xid, after)).fetchone()
        if before is None:
            raise _broken(execution_id, after, "The event is missing.")
        chain = before[0]
    found: list[Recorded] = []
    seq = after
    for seq, at_ms, head_json, body_hash, stored_link, encoding, data in db.execute(
        _EVENTS, (xid, after, -1 if limit is None else max(0, limit))
    ):
        expected = after + len(found) + 1
        if seq != expected:
            raise _broken(execution_id, expected, "The event is missing.")
        chain = link(chain, seq, at_ms, head_json, body_hash)
        if chain != stored_link:
            raise _broken(execution_id, seq, "The chain of checksums does not match.")
        payload = (
            head_json
            if body_hash is None
            else _whole(execution_id, seq, head_json, body_hash, encoding, data)
        )
        found.append(Recorded(seq, at_ms, _decoded(execution_id, seq, payload)))
    if (limit is None or len(found) < limit) and (seq != last_seq or chain != last_link):
        raise _broken(
            execution_id, seq + 1, f"The journal ends here, but the execution has {last_seq} events."
        )
    return found


def _whole(
    execution_id: str, seq: int, head: bytes, body_hash: bytes, encoding: int | None, data: bytes
) -> bytes:
    body = None if encoding is None else open_blob(body_hash, encoding, data)
    if body is None:
        raise _broken(execution_id, seq, "Its body is missing or is not what its hash says.")
    return join(head, body)


def _decoded(execution_id: str, seq: int, payload: bytes) -> Any:
    try:
        return decode(payload)
    except msgspec.MsgspecError as error:
        raise JournalError(
            "E0504",
            "An event was written by a newer version",
            where=f"execution {execution_id}, event {seq}",
            why=str(error),
            fix="pip install --upgrade perdure",
        ) from error


def _broken(execution_id: str, seq: int, why: str) -> JournalError:
    return corrupt(f"execution {execution_id}, event {seq}", f"I2: {why}", execution_id=execution_id, seq=seq)


# Questions about approvals ------------------------------------------------------------------------------

_TREE = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION ALL SELECT child.id FROM executions child"
    " JOIN tree ON child.parent_id = tree.id) SELECT id FROM tree"
)


def approvals(
    db: apsw.Connection, execution_id: str | None, *, pending: bool, limit: int, tree: bool = False
) -> list[ApprovalRow]:
    """Approvals, the longest waiting first; damaged rows are left out."""
    conditions, values = ["1"], []
    if pending:
        conditions.append("decided = 0")
    if execution_id is not None:
        conditions.append(f"execution_id IN ({_TREE})" if tree else "execution_id = ?")
        values.append(execution_id)
    question = (
        f"SELECT approval_id, payload, sum FROM approvals WHERE {' AND '.join(conditions)}"  # noqa: S608 - constants
        " ORDER BY requested_at_ms, approval_id LIMIT ?"
    )
    found = []
    for row in db.execute(question, [*values, max(0, limit)]):
        try:
            found.append(read_approval(*row))
        except JournalError as error:
            _LOG.error(_DAMAGED, error)
    return found


def approval(db: apsw.Connection, approval_id: str) -> ApprovalRow | None:
    """One approval."""
    question = "SELECT approval_id, payload, sum FROM approvals WHERE approval_id = ?"
    row = db.execute(question, (approval_id,)).fetchone()
    return None if row is None else read_approval(*row)
