"""The offline checker: invariants I1 to I9 over the journal, the ledger and the client's log after a fault run."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from perdure.clock import SystemClock
from perdure.core import events as ev
from perdure.core.machines.turn_state import TurnState, encode_state, evolve
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import TERMINAL_STATUSES, ExecutionFilter, StoredExecution

_RESULTS = (ev.ToolCompleted, ev.ToolRefused)


async def check(home: Path, ledger: list[dict[str, Any]], acked: list[tuple[str, Any]]) -> set[str]:
    """Raise AssertionError on any violation; give the kinds of events that the journal holds."""
    journal = SqliteJournal(home, SystemClock())
    await journal.open()
    try:
        rows = {row.execution_id: row for row in await journal.find(ExecutionFilter(limit=10_000))}
        histories = {i: await journal.events(i) for i in rows}
        _i1_durable_ack(rows, histories, acked)
        by_step = defaultdict(list)
        for entry in ledger:
            by_step[entry["execution"], entry["step"]].append(entry)
        for execution_id, history in histories.items():
            events = [r.event for r in history]
            _i2_gapless(rows[execution_id], history)
            _i3_terminal(rows[execution_id], events)
            _i4_one_winner(events)
            _i8_timers(history)
            _i9_state(rows[execution_id], events)
            entries = {step: found for (owner, step), found in by_step.items() if owner == execution_id}
            _i5_i6_effects(history, entries)
            _i7_approvals(events, entries)
        _e6_keys(by_step)
        return {ev.kind_of(r.event) for history in histories.values() for r in history}
    finally:
        await journal.close()


def _i1_durable_ack(rows: dict[str, StoredExecution], histories: Any, acked: list[tuple[str, Any]]) -> None:
    for what, detail in acked:
        if what == "start":
            assert detail in rows, f"I1: acked start {detail} is not in the journal"
        elif what == "decision":
            execution_id, approval_id, decision = detail
            found = [
                r.event.decision
                for r in histories[execution_id]
                if isinstance(r.event, ev.ApprovalDecided) and r.event.approval_id == approval_id
            ]
            assert found == [decision], f"I1/I7: acked decision {detail}, journal has {found}"
        else:
            execution_id, kind = detail
            kinds = [ev.kind_of(r.event) for r in histories[execution_id]]
            assert kind in kinds, f"I1: acked {what} of {execution_id} left no {kind}"


def _i2_gapless(row: StoredExecution, history: list[ev.Recorded]) -> None:
    # The chain of checksums was verified by the journal when it gave the events.
    seqs = [r.seq for r in history]
    assert seqs == list(range(1, row.last_seq + 1)), f"I2: {row.execution_id}: {seqs}"


def _i3_terminal(row: StoredExecution, events: list[ev.AnyEvent]) -> None:
    ends = [i for i, e in enumerate(events) if isinstance(e, ev.TERMINAL)]
    assert row.status in TERMINAL_STATUSES, f"I11: {row.execution_id} is {row.status}"
    assert ends == [len(events) - 1], f"I3: {row.execution_id}: terminal events at {ends} of {len(events)}"


def _i4_one_winner(events: list[ev.AnyEvent]) -> None:
    results: dict[str, int] = defaultdict(int)
    for event in events:
        if isinstance(event, (*_RESULTS, ev.ModelCompleted)):
            results[event.step] += 1
    assert all(n == 1 for n in results.values()), f"I4: {dict(results)}"


def _i5_i6_effects(history: list[ev.Recorded], entries: dict[str, list[dict[str, Any]]]) -> None:
    started = {(r.event.step, r.event.epoch): r for r in history if isinstance(r.event, ev.ToolStarted)}
    done = {r.event.step: r for r in history if isinstance(r.event, ev.ToolCompleted)}
    for step, found in entries.items():
        for entry in found:
            begun = started.get((step, entry["epoch"]))
            assert begun is not None, f"I6: an effect without a journaled attempt: {entry}"
            assert entry["at_ms"] >= begun.at_ms - 1, f"E1: the effect was before its record: {entry}"
            record = done.get(step)
            if record is not None:
                assert isinstance(record.event, ev.ToolCompleted)
                late = entry["epoch"] > record.event.epoch
                assert not late, f"I5/E4: a recorded step took effect again: {entry}"


def _i7_approvals(events: list[ev.AnyEvent], entries: dict[str, list[dict[str, Any]]]) -> None:
    asked = {e.step: e for e in events if isinstance(e, ev.ApprovalRequested) and e.unknown_epoch is None}
    decided = defaultdict(list)
    for event in events:
        if isinstance(event, ev.ApprovalDecided):
            decided[event.step].append(event)
    for step, request in asked.items():
        answers = decided[step]
        assert len(answers) <= 1, f"I7: {len(answers)} decisions on {step}"
        yes = [a for a in answers if a.decision == "approved"]
        if entries.get(step):
            assert yes, f"I7: {step} took effect without an approval"
            order = [
                e for e in events if e in (yes[0],) or (isinstance(e, ev.ToolStarted) and e.step == step)
            ]
            assert order[0] is yes[0], f"I7: {step} started before its approval"
        assert request.effect_hash


def _i8_timers(history: list[ev.Recorded]) -> None:
    for record in history:
        if isinstance(record.event, ev.TimerFired):
            assert record.at_ms >= record.event.due_ms, f"I8: a timer fired early: {record}"
    fired = [(r.event.step, r.event.due_ms) for r in history if isinstance(r.event, ev.TimerFired)]
    assert len(fired) == len(set(fired)), f"I8: a timer fired twice: {fired}"


def _i9_state(row: StoredExecution, events: list[ev.AnyEvent]) -> None:
    state = TurnState()
    for event in events:
        evolve(state, event)
    assert encode_state(state) == row.state, (
        f"I9: {row.execution_id}: the events do not give the stored state"
    )


def _e6_keys(by_step: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    keys = {}
    for step, entries in by_step.items():
        found = {e["key"] for e in entries}
        assert len(found) == 1, f"E6: {step} had the keys {found}"
        key = found.pop()
        assert keys.setdefault(key, step) == step, f"E6: {key} is of {step} and {keys[key]}"
