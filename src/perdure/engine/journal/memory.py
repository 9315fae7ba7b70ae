"""The journal in memory: the oracle of the contract suite, and a quick journal for tests and simulations.

It does the plainest thing that the port's words ask for: dicts, no thread, nothing cached. Events are kept as the
JSON that a disk would have, so that what is read back is what any adapter gives. It outlives `close`, like a disk:
opening it again finds all that was committed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable

import msgspec

from perdure.core.errors import JournalError
from perdure.core.events import Recorded, decode
from perdure.core.plan import Plan
from perdure.engine.journal.batch import Done, Member, Outcome, make_member
from perdure.engine.journal.failures import conflict, not_open, not_storable
from perdure.engine.ports import (
    TERMINAL_STATUSES,
    ApprovalRow,
    Commit,
    DeployedAgent,
    ExecutionFilter,
    StoredExecution,
)

_WHERE = "the journal in memory"


class MemoryJournal:
    """`Journal` and `Catalog` in dicts."""

    def __init__(self) -> None:
        self._open = False
        self._executions: dict[str, StoredExecution] = {}  # in the order of creation
        self._events: dict[str, list[tuple[int, bytes]]] = {}  # (at_ms, JSON), seq 1 first
        self._approvals: dict[str, ApprovalRow] = {}
        self._plans: dict[str, bytes] = {}
        self._deployed: dict[str, DeployedAgent] = {}
        self._commits = 0

    async def open(self) -> None:
        """Take it; E0502 when it is open."""
        if self._open:
            raise JournalError("E0502", "This journal is open already", where=_WHERE, fix="Close it first.")
        self._open = True

    async def close(self) -> None:
        """Let go; what was committed stays."""
        self._open = False

    # Journal --------------------------------------------------------------------------------------------

    def commit(self, commit: Commit, done: Done) -> None:
        """Apply at once; call *done* in the event loop's next round."""
        outcome: Outcome
        try:
            self._must_be_open()
            outcome = self._apply(make_member(commit, done))
        except JournalError as error:
            outcome = error
        asyncio.get_running_loop().call_soon(done, outcome)

    def _apply(self, member: Member) -> Outcome:
        commit = member.commit
        if commit.new is not None and commit.new.idempotency_key is not None:
            for known in self._executions.values():
                if known.idempotency_key == commit.new.idempotency_key:
                    return known
        before = self._executions.get(commit.execution_id)
        last_seq = 0 if before is None else before.last_seq
        fits = (before is None) == (commit.new is not None) and last_seq == commit.expected_seq
        if not fits:
            return conflict(commit.execution_id, commit.expected_seq, None if before is None else last_seq)
        self._executions[commit.execution_id] = _row_after(commit, before)
        rows = self._events.setdefault(commit.execution_id, [])
        rows += [(commit.at_ms, payload) for payload in member.payloads]
        self._approvals |= {row.approval_id: row for row in commit.approvals}
        self._commits += 1
        return None

    async def load(self, execution_id: str) -> StoredExecution | None:
        """One execution's row."""
        self._must_be_open()
        return self._executions.get(execution_id)

    async def events(self, execution_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """The events with seq over *after*."""
        self._must_be_open()
        rows = list(enumerate(self._events.get(execution_id, []), start=1))[max(0, after) :]
        rows = rows if limit is None else rows[: max(0, limit)]
        return [Recorded(seq, at_ms, decode(payload)) for seq, (at_ms, payload) in rows]

    async def find(self, where: ExecutionFilter) -> list[StoredExecution]:
        """Executions, newest first, without their state."""
        self._must_be_open()
        newest_first = list(reversed(self._executions.values()))
        if where.before is not None:
            ids = [row.execution_id for row in newest_first]
            newest_first = newest_first[ids.index(where.before) + 1 :] if where.before in ids else []
        found = [
            row
            for row in newest_first
            if (not where.status or row.status in where.status)
            and where.agent in {None, row.agent}
            and where.session_id in {None, row.session_id}
            and where.parent_id in {None, row.parent_id}
            and not (where.roots and row.parent_id is not None)
        ]
        return found[: max(0, where.limit)]

    async def unfinished(self) -> list[StoredExecution]:
        """What a restart takes up, oldest first."""
        self._must_be_open()
        taken_up = {"running", "waiting:worker", "waiting:child", "waiting:session", "paused", "quarantined"}
        return [row for row in self._executions.values() if row.status in taken_up]

    async def orphans(self) -> list[str]:
        """Ids of the executions that have not ended although their parent has, or waits for them no more."""
        self._must_be_open()
        rows = self._executions
        return [i for i, row in rows.items() if row.status not in TERMINAL_STATUSES and self._is_orphan(row)]

    def _is_orphan(self, row: StoredExecution) -> bool:
        parent = self._executions.get(row.parent_id or "")
        if parent is None:
            return False
        # An open child stands in its parent's state by its id.
        return parent.status in TERMINAL_STATUSES or row.execution_id.encode() not in parent.state

    async def due(self, now_ms: int, limit: int) -> list[str]:
        """Ids to wake, the longest overdue first."""
        self._must_be_open()
        overdue = [(due, row.execution_id) for due, row in self._timers() if due <= now_ms]
        return [execution_id for _, execution_id in sorted(overdue, key=lambda item: item[0])][
            : max(0, limit)
        ]

    async def next_due(self) -> int | None:
        """The next time to wake one."""
        self._must_be_open()
        return min((due for due, _ in self._timers()), default=None)

    async def counts(self) -> dict[str, int]:
        """How many executions have each status."""
        self._must_be_open()
        return dict(Counter(row.status for row in self._executions.values()))

    def _timers(self) -> Iterable[tuple[int, StoredExecution]]:
        return [(row.next_due_ms, row) for row in self._executions.values() if row.next_due_ms is not None]

    async def approvals(
        self,
        *,
        execution_id: str | None = None,
        pending: bool = True,
        limit: int = 200,
        tree: bool = False,
    ) -> list[ApprovalRow]:
        """Approvals, the longest waiting first."""
        self._must_be_open()
        wanted = {execution_id}
        for row in self._executions.values() if tree else ():  # parents come before their children
            if row.parent_id is not None and row.parent_id in wanted:
                wanted.add(row.execution_id)
        found = [
            row
            for row in self._approvals.values()
            if (execution_id is None or row.execution_id in wanted)
            and not (pending and row.decision is not None)
        ]
        return sorted(found, key=lambda row: (row.requested_at_ms, row.approval_id))[: max(0, limit)]

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval."""
        self._must_be_open()
        return self._approvals.get(approval_id)

    def statistics(self) -> dict[str, float]:
        """The counters of every journal; nothing is synced or written here."""
        events = sum(map(len, self._events.values()))
        zeros = dict.fromkeys(("syncs", "bytes_written", "checkpoints", "last_sync_seconds", "waiting"), 0.0)
        return {"commits": float(self._commits), "events": float(events), **zeros}

    # Catalog --------------------------------------------------------------------------------------------

    async def put_plan(self, plan_hash: str, plan: Plan, now_ms: int) -> None:  # noqa: ARG002 - the port's
        """Store a plan under its hash."""
        self._must_be_open()
        try:
            self._plans.setdefault(plan_hash, msgspec.json.encode(plan))
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise not_storable(error, f"plan {plan_hash}") from error

    async def get_plan(self, plan_hash: str) -> Plan | None:
        """The plan of this hash."""
        self._must_be_open()
        payload = self._plans.get(plan_hash)
        return None if payload is None else msgspec.json.decode(payload, type=Plan)

    async def deploy(self, agent: str, plan_hash: str, now_ms: int) -> int:
        """Make a plan the current one of an agent's name; its version."""
        self._must_be_open()
        current = self._deployed.get(agent)
        if current is None or current.plan_hash != plan_hash:
            version = 1 if current is None else current.version + 1
            current = self._deployed[agent] = DeployedAgent(agent, plan_hash, version, now_ms)
        return current.version

    async def deployed(self, agent: str | None = None) -> list[DeployedAgent]:
        """The current plans, sorted by name."""
        self._must_be_open()
        return [row for name, row in sorted(self._deployed.items()) if agent in {None, name}]

    def _must_be_open(self) -> None:
        if not self._open:
            raise not_open(_WHERE)


def _row_after(commit: Commit, before: StoredExecution | None) -> StoredExecution:
    new, due = commit.new, None if commit.status in TERMINAL_STATUSES else commit.next_due_ms
    seq = commit.expected_seq + len(commit.events)
    if before is not None or new is None:
        assert before is not None  # noqa: S101 - `_apply` has seen that one of the two is there
        return msgspec.structs.replace(
            before,
            status=commit.status,
            last_seq=seq,
            updated_at_ms=commit.at_ms,
            next_due_ms=due,
            state=commit.state,
        )
    return StoredExecution(
        execution_id=commit.execution_id,
        agent=new.agent,
        plan_hash=new.plan_hash,
        title=new.title,
        started_by=new.started_by,
        status=commit.status,
        last_seq=seq,
        created_at_ms=new.created_at_ms,
        updated_at_ms=commit.at_ms,
        next_due_ms=due,
        state=commit.state,
        session_id=new.session_id,
        idempotency_key=new.idempotency_key,
        request_hash=new.request_hash,
        parent_id=new.parent_id,
    )
