"""The judge of a simulated run: I1 to I11 over the journal, the ledger and all that anybody was told."""

import hashlib
from typing import Any

from perdure.core import events as ev
from perdure.core.ids import canonical_json
from perdure.engine.ports import TERMINAL_STATUSES, ApprovalRow, ExecutionFilter, StoredExecution
from tests.crash.invariants import check_run
from tests.simulation.model import GATED
from tests.simulation.world import World
from tests.unit.core.invariants import check_journal

Histories = dict[str, list[ev.Recorded]]


async def judge(world: World) -> str:
    """Raise AssertionError on any violation; give a digest of all that happened."""
    rows = {r.execution_id: r for r in await world.disk.find(ExecutionFilter(limit=10_000))}
    histories = {i: await world.disk.events(i) for i in rows}
    check_run(rows, histories, world.ledger, world.acked)
    for history in histories.values():
        check_journal(history)
        _pauses(history)
    _results(world, histories)
    _arguments(world, histories)
    _streams(world, histories)
    _timeliness(world, histories)
    await _approvals(world, histories)
    _idempotency(world, rows)
    return _digest(histories)


def _results(world: World, histories: Histories) -> None:
    """I1: a result that was acknowledged is in the journal, under its epoch."""
    for execution_id, step, epoch in world.results:
        found = [
            r.event
            for r in histories[execution_id]
            if isinstance(r.event, ev.ToolCompleted | ev.ToolFailed)
            and (r.event.step, r.event.epoch) == (step, epoch)
        ]
        assert len(found) == 1, f"I1: the acknowledged result of {execution_id} {step} is not in the journal"


def _arguments(world: World, histories: Histories) -> None:
    """I7: what took effect is what was requested, and for a gated tool what a person agreed to."""
    requested = {
        (i, r.event.step): r.event.arguments
        for i, history in histories.items()
        for r in history
        if isinstance(r.event, ev.ToolRequested | ev.FunctionRequested)
    }
    approved = {
        (i, r.event.step)
        for i, history in histories.items()
        for r in history
        if isinstance(r.event, ev.ApprovalDecided) and r.event.decision == "approved"
    }
    for entry in world.ledger:
        place = (entry["execution"], entry["step"])
        right = canonical_json(requested[place])
        assert canonical_json(entry["arguments"]) == right, f"I7: something else took effect at {place}"
        assert entry["tool"] not in GATED or place in approved, f"I7: nobody agreed to {place}"


def _pauses(history: list[ev.Recorded]) -> None:
    """Nothing begins between a pause, or a quarantine, and the resume."""
    stopped = False
    for record in history:
        event = record.event
        if isinstance(event, ev.ExecutionPaused | ev.ExecutionQuarantined):
            stopped = True
        elif isinstance(event, ev.ExecutionResumed):
            stopped = False
        begins = isinstance(event, ev.ModelRequested | ev.ToolStarted | ev.TimerFired)
        assert not (stopped and begins), f"{ev.kind_of(event)} while nothing may begin"


def _timeliness(world: World, histories: Histories) -> None:
    """I8: a timer is at most seconds late, save where a crash, an outage or a person stood in its way."""
    if (
        world.crashes
        or world.outages
        or world.rate["jump"]
        or world.rate["meddling"]
        or world.rate["garbage"]
    ):
        return
    most_ms = 2_000 + 4_000 * world.slowest_s
    for execution_id, history in histories.items():
        due: dict[str, int] = {}
        for record in history:
            event = record.event
            if isinstance(event, ev.ModelFailed | ev.ToolFailed) and event.retry_at_ms is not None:
                due[event.step] = event.retry_at_ms
            elif isinstance(event, ev.ModelRequested | ev.TimerFired) and event.step in due:
                late = record.at_ms - due.pop(event.step)
                assert 0 <= late <= most_ms, f"I8: {execution_id} {event.step}: {late} ms late"


def _streams(world: World, histories: Histories) -> None:
    """I10: what a stream brought, over all its connections, is the journal."""
    for execution_id, seen in world.seen.items():
        assert seen == histories[execution_id][: len(seen)], (
            f"I10: {execution_id}: another story was streamed"
        )


async def _approvals(world: World, histories: Histories) -> None:
    """The rows of approvals say what the events say."""
    rows = {a.approval_id: a for a in await world.disk.approvals(pending=False, limit=100_000)}
    expected: dict[str, tuple[Any, ...]] = {}
    for history in histories.values():
        open_ids: dict[str, str] = {}
        for record in history:
            event = record.event
            if isinstance(event, ev.ApprovalRequested):
                expected[event.approval_id] = (None, None, event.effect_hash)
                open_ids[event.step] = event.approval_id
            elif isinstance(event, ev.ApprovalDecided):
                asked = expected[event.approval_id]
                expected[event.approval_id] = (event.decision, event.by, asked[2])
                open_ids.pop(event.step)
            elif isinstance(event, ev.TERMINAL):
                for approval_id in open_ids.values():
                    expected[approval_id] = ("void", None, expected[approval_id][2])
    assert {i: _said(row) for i, row in rows.items()} == expected


def _said(row: ApprovalRow) -> tuple[Any, ...]:
    return row.decision, row.decided_by, row.effect_hash


def _idempotency(world: World, rows: dict[str, StoredExecution]) -> None:
    """One execution for each key, and none besides."""
    assert {row.idempotency_key: i for i, row in rows.items() if row.parent_id is None} == world.started


def _digest(histories: Histories) -> str:
    summary = hashlib.sha256()
    for execution_id in sorted(histories):
        for record in histories[execution_id]:
            summary.update(f"{execution_id} {record.seq} {record.at_ms} ".encode() + ev.encode(record.event))
    return summary.hexdigest()


async def unfinished(world: World) -> list[str]:
    """What has not come to its end, and what it says that it waits for."""
    rows = await world.disk.find(ExecutionFilter(limit=10_000))
    return [f"{r.execution_id} {r.status} {r.state!r}" for r in rows if r.status not in TERMINAL_STATUSES]
