"""One group of commits as rows: what conflicts is found out before anything is written.

A member of the group that does not fit its execution's head, or whose idempotency key is taken, gets its answer
and adds no row; the rows of all others go out in a handful of statements.
"""

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from perdure.core.errors import JournalError
from perdure.core.events import encode
from perdure.engine.journal.failures import conflict, not_storable
from perdure.engine.journal.heads import Head, Heads, rows_where
from perdure.engine.journal.payloads import blob_row, chain_start, link, split
from perdure.engine.journal.rows import static_sum, stored_execution, write_approval
from perdure.engine.journal.statements import (
    INSERT_BLOBS,
    INSERT_EVENTS,
    INSERT_EXECUTIONS,
    UPDATE_EXECUTIONS,
    UPDATE_STATUS,
    UPSERT_APPROVALS,
)
from perdure.engine.ports import TERMINAL_STATUSES, Commit, NewExecution, StoredExecution

Outcome = StoredExecution | JournalError | None
Done = Callable[[Outcome], None]
Row = tuple[Any, ...]

_INT64 = range(-(2**63), 2**63)


class Member(msgspec.Struct, frozen=True, gc=False):
    """A commit on its way to the disk: `payloads` are its events' JSON, `static` the checksum of `commit.new`."""

    commit: Commit
    done: Done
    payloads: list[bytes]
    approvals: list[Row]
    static: int

    @property
    def size(self) -> int:
        """Bytes to write, roughly."""
        return len(self.commit.state) + sum(map(len, self.payloads))


def make_member(commit: Commit, done: Done) -> Member:
    """Encode a commit where it is given, so that a value which cannot be stored stops that commit alone.

    Raises:
        JournalError: E0508.
    """
    try:
        commit.execution_id.encode()
        payloads = [encode(event) for event in commit.events]
        approvals = [write_approval(row) for row in commit.approvals]
        static = 0 if commit.new is None else static_sum(commit.new)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise not_storable(error, commit.execution_id) from error
    if commit.at_ms not in _INT64 or (commit.next_due_ms is not None and commit.next_due_ms not in _INT64):
        raise not_storable(OverflowError("A time of more than 64 bits"), commit.execution_id)
    return Member(commit, done, payloads, approvals, static)


class Staged:
    """A group's rows and answers, before they are written. Reads through *db*, writes nothing yet."""

    def __init__(self, db: apsw.Connection, known: Heads, members: Sequence[Member]) -> None:
        self.heads: dict[str, Head] = {}
        self.next_xid = known.next_xid
        self._new: dict[str, NewExecution] = {}
        self._events: list[Row] = []
        self._blobs: list[Row] = []
        self._approvals: list[Row] = []
        self._known = known
        self._damaged = known.read(db, {m.commit.execution_id for m in members})
        self._taken = _taken_keys(db, members)
        self.outcomes: list[Outcome] = [self._add(member) for member in members]

    @property
    def event_count(self) -> int:
        """Events to write."""
        return len(self._events)

    def write(self, db: apsw.Connection) -> None:
        """Send all rows; the caller has begun a transaction and commits it."""
        new = [
            self._row(execution_id, head) for execution_id, head in self.heads.items() if head.stored_seq < 0
        ]
        old = [h for h in self.heads.values() if h.stored_seq >= 0]
        updates = [(h.xid, h.stored_seq, h.last_seq, h.updated_at_ms, h.state, h.chain, h.sum) for h in old]
        INSERT_EXECUTIONS.run(db, new)
        if UPDATE_EXECUTIONS.run(db, updates) != len(updates):
            raise RuntimeError("I2: the row of an execution is not the one that was written last")
        UPDATE_STATUS.run(db, [(h.xid, h.status, h.next_due_ms) for h in old if h.status_moved])
        INSERT_BLOBS.run(db, self._blobs)
        INSERT_EVENTS.run(db, self._events)
        UPSERT_APPROVALS.run(db, self._approvals)

    def _row(self, execution_id: str, h: Head) -> Row:
        new = self._new[execution_id]
        return (
            h.xid, execution_id, new.agent, new.plan_hash, new.title, new.started_by, h.status, h.last_seq,
            new.created_at_ms, h.updated_at_ms, h.next_due_ms, new.session_id, new.idempotency_key,
            new.request_hash, h.state, h.chain, h.sum, new.parent_id,
        )  # fmt: skip

    def _add(self, member: Member) -> Outcome:
        commit = member.commit
        key = None if commit.new is None else commit.new.idempotency_key
        if key is not None and (taken := self._taken.get(key)) is not None:
            return self._stored(taken) if isinstance(taken, str) else taken
        if (damage := self._damaged.get(commit.execution_id)) is not None:
            return damage
        before = self.heads.get(commit.execution_id) or self._known.get(commit.execution_id)
        last_seq = 0 if before is None else before.last_seq
        if (before is None) is (commit.new is None) or last_seq != commit.expected_seq:
            return conflict(commit.execution_id, commit.expected_seq, None if before is None else last_seq)
        if commit.new is not None:
            self._new[commit.execution_id] = commit.new
            if key is not None:
                self._taken[key] = commit.execution_id
        self.heads[commit.execution_id] = self._append(member, before)
        self._approvals += member.approvals
        return None

    def _append(self, member: Member, before: Head | None) -> Head:
        """Add the events' rows; return the execution's head after them."""
        commit = member.commit
        due = None if commit.status in TERMINAL_STATUSES else commit.next_due_ms
        if before is None:
            xid, static, stored_seq, chain = (
                self.next_xid,
                member.static,
                -1,
                chain_start(commit.execution_id),
            )
            self.next_xid += 1
            moved = False
        else:
            xid, static, stored_seq, chain = before.xid, before.static, before.stored_seq, before.chain
            moved = before.status_moved or (before.status, before.next_due_ms) != (commit.status, due)
        seq = commit.expected_seq
        for event, payload in zip(commit.events, member.payloads, strict=True):
            seq += 1
            head, body = split(event, payload)
            body_hash = None
            if body is not None:
                blob = blob_row(body)
                body_hash = blob[0]
                self._blobs.append(blob)
            chain = link(chain, seq, commit.at_ms, head, body_hash)
            self._events.append((xid, seq, commit.at_ms, head, body_hash, chain))
        return Head(
            xid, static, stored_seq, seq, chain, commit.status, due, commit.at_ms, commit.state, moved
        )

    def _stored(self, execution_id: str) -> StoredExecution:
        """An execution that another member of this group creates."""
        head = self.heads[execution_id]
        return stored_execution(
            self._new[execution_id],
            head.status,
            head.last_seq,
            head.updated_at_ms,
            head.next_due_ms,
            head.state,
        )


def _taken_keys(
    db: apsw.Connection, members: Sequence[Member]
) -> dict[str, StoredExecution | JournalError | str]:
    """The group's idempotency keys that belong to an execution; a plain id stands for one of this group."""
    keys = {m.commit.new.idempotency_key for m in members if m.commit.new is not None}
    found = rows_where(db, "idempotency_key", [key for key in keys if key is not None])
    return {key: row if isinstance(row, JournalError) else row.stored for key, row in found}
