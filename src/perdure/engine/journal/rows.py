"""The rows of executions, approvals and plans, each with a checksum of all its columns.

SQLite does not notice a flipped bit in a row. The state of an execution is what a restart goes on from, so each
row carries a CRC-32 that is checked when the row is read: a row that does not fit is E0503, never a different
history told in silence (I2).
"""

import zlib
from typing import Any

import msgspec

from perdure.core.errors import JournalError
from perdure.engine.ports import ApprovalRow, NewExecution, Status, StoredExecution

EXECUTION_COLUMNS = (
    "xid, id, agent, plan_hash, title, started_by, status, last_seq, created_at_ms, updated_at_ms, next_due_ms,"
    " session_id, idempotency_key, request_hash, state, chain, sum, parent_id"
)

_FIRST_FIELDS = (
    "execution_id",
    "agent",
    "plan_hash",
    "title",
    "started_by",
    "created_at_ms",
    "session_id",
    "idempotency_key",
    "request_hash",
)
_APPROVAL = msgspec.json.Decoder(ApprovalRow)


def static_sum(new: NewExecution) -> int:
    """The checksum of what never changes in an execution's row.

    A row without a parent has the sum that it had before there were any: a new field counts only where it is set.
    """
    first = (
        new.execution_id,
        new.agent,
        new.plan_hash,
        new.title,
        new.started_by,
        new.created_at_ms,
        new.session_id,
        new.idempotency_key,
        new.request_hash,
    )
    summed = zlib.crc32(msgspec.json.encode(dict(zip(_FIRST_FIELDS, first, strict=True))))
    return summed if new.parent_id is None else zlib.crc32(new.parent_id.encode(), summed)


def row_sum(
    static: int,
    state: bytes,
    status: str,
    last_seq: int,
    updated_at_ms: int,
    next_due_ms: int | None,
    chain: bytes,
) -> int:
    """The checksum of an execution's whole row."""
    moving = f"{status}|{last_seq}|{updated_at_ms}|{next_due_ms}".encode() + chain
    return zlib.crc32(state, zlib.crc32(moving, static))


class ExecutionRow(msgspec.Struct, frozen=True):
    """A checked row of `executions`, with what only the journal needs."""

    xid: int
    chain: bytes
    new: NewExecution
    stored: StoredExecution


def corrupt(where: str, why: str, **fields: Any) -> JournalError:
    """E0503, naming the place."""
    return JournalError(
        "E0503",
        "The journal is damaged here",
        where=where,
        why=why,
        fix="Restore the data directory from a backup, or cancel this execution; the others are not affected.",
        **fields,
    )


def read_execution(row: tuple[Any, ...]) -> ExecutionRow:
    """The row of `EXECUTION_COLUMNS`, checked.

    Raises:
        JournalError: E0503 the row's checksum does not match.
    """
    xid, id_, agent, plan_hash, title, by, status, seq, created, updated, due, session, key, request = row[
        :14
    ]
    state, chain, stored_sum, parent_id = row[14:]
    new = NewExecution(id_, agent, plan_hash, title, by, created, session, key, request, parent_id)
    if row_sum(static_sum(new), state, status, seq, updated, due, chain) != stored_sum:
        raise corrupt(f"execution {id_}, its row", "Its checksum does not match.", execution_id=id_)
    return ExecutionRow(xid, chain, new, stored_execution(new, status, seq, updated, due, state))


def stored_execution(
    new: NewExecution,
    status: Status,
    last_seq: int,
    updated_at_ms: int,
    next_due_ms: int | None,
    state: bytes,
) -> StoredExecution:
    """The port's view of an execution's row."""
    return StoredExecution(
        execution_id=new.execution_id,
        agent=new.agent,
        plan_hash=new.plan_hash,
        title=new.title,
        started_by=new.started_by,
        status=status,
        last_seq=last_seq,
        created_at_ms=new.created_at_ms,
        updated_at_ms=updated_at_ms,
        next_due_ms=next_due_ms,
        state=state,
        session_id=new.session_id,
        idempotency_key=new.idempotency_key,
        request_hash=new.request_hash,
        parent_id=new.parent_id,
    )


def write_approval(row: ApprovalRow) -> tuple[str, str, int, int, bytes, int]:
    """Approval as columns: id, execution, requested at, decided (0 or 1), JSON, checksum."""
    payload = msgspec.json.encode(row)
    decided = int(row.decision is not None)
    return row.approval_id, row.execution_id, row.requested_at_ms, decided, payload, zlib.crc32(payload)


def read_approval(approval_id: str, payload: bytes, stored_sum: int) -> ApprovalRow:
    """The approval of a row.

    Raises:
        JournalError: E0503 the row's checksum does not match.
    """
    if zlib.crc32(payload) != stored_sum:
        raise corrupt(f"approval {approval_id}", "Its checksum does not match.", approval_id=approval_id)
    return _APPROVAL.decode(payload)
