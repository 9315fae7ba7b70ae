"""The offline checker: invariants I1 to I9 over the journal, the ledger and the client's log after a fault run.

`check_run` works from rows and events alone, so that runs on real disks and simulated ones are judged alike.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.clock import SystemClock
from perdure.core import events as ev
from perdure.core.machines.turn_state import TurnState, encode_state, evolve
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import TERMINAL_STATUSES, ExecutionFilter, StoredExecution

_RESULTS = (ev.ToolCompleted, ev.ToolRefused)


Rows = Mapping[str, StoredExecution]
Histories = Mapping[str, list[ev.Recorded]]
Ledger = list[dict[str, Any]]
Acked = list[tuple[str, Any]]


async def check(home: Path, ledger: Ledger, acked: Acked) -> set[str]:
    """Raise AssertionError on any violation; give the kinds of events that the journal holds."""
    journal = SqliteJournal(home, SystemClock())
    await journal.open()
    try:
        rows = {row.execution_id: row for row in await journal.find(ExecutionFilter(limit=10_000))}
        histories = {i: await journal.events(i) for i in rows}
    finally:
        await journal.close()
    check_run(rows, histories, ledger, acked)
    for row in rows.values():
        assert row.status in TERMINAL_STATUSES, f"I11: {row.execution_id} is {row.status}"
    return {ev.kind_of(r.event) for history in histories.values() for r in history}


def check_run(rows: Rows, histories: Histories, ledger: Ledger, acked: Acked) -> None:
    """I1 to I9 and E6 over all executions of a run, at any moment of it.

    Args:
        rows: the executions' rows, by id.
        histories: their events.
        ledger: each time that a tool took effect: execution, step, epoch, key, at_ms.
        acked: what callers were told is done: ("start", id), ("decision", (id, approval, decision)), or
            (verb, (id, kind of the event that it must have left)).
    """
    _i1_durable_ack(rows, histories, acked)
    by_step: dict[tuple[str, str], Ledger] = defaultdict(list)
    by_execution: dict[str, dict[str, Ledger]] = defaultdict(dict)
    for entry in ledger:
        by_step[entry["execution"], entry["step"]].append(entry)
        by_execution[entry["execution"]][entry["step"]] = by_step[entry["execution"], entry["step"]]
    for execution_id, history in histories.items():
        events = [r.event for r in history]
        _i2_gapless(rows[execution_id], history)
        _i3_terminal(rows[execution_id], events)
        _i4_one_winner(events)
        _i8_timers(history)
        _i9_state(rows[execution_id], events)
        _i5_i6_effects(history, by_execution[execution_id])
        _i7_approvals(events, by_execution[execution_id])
    _e6_keys(by_step)


def _i1_durable_ack(rows: Rows, histories: Histories, acked: Acked) -> None:
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
    right = [len(events) - 1] if row.status in TERMINAL_STATUSES else []
    assert ends == right, f"I3: {row.execution_id}: terminal events at {ends} of {len(events)}"


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


def _i7_approvals(events: list[ev.AnyEvent], entries: Mapping[str, Ledger]) -> None:
    decided = [e for e in events if isinstance(e, ev.ApprovalDecided)]
    for request in (e for e in events if isinstance(e, ev.ApprovalRequested)):
        answers = [d for d in decided if d.approval_id == request.approval_id]
        assert len(answers) <= 1, f"I7: {len(answers)} decisions on {request.step}"
        if request.unknown_epoch is not None:
            _i7_run_again(events, request, answers)
            continue
        yes = [a for a in answers if a.decision == "approved"]
        assert yes or not entries.get(request.step), f"I7: {request.step} took effect without an approval"
        begun = [e for e in events if isinstance(e, ev.ToolStarted) and e.step == request.step]
        for start in begun:
            assert yes, f"I7: {request.step} started without an approval"
            assert events.index(yes[0]) < events.index(start), (
                f"I7: {request.step} started before its approval"
            )


def _i7_run_again(
    events: list[ev.AnyEvent], request: ev.ApprovalRequested, answers: list[ev.ApprovalDecided]
) -> None:
    """What may have taken effect runs again only after a person said so."""
    for event in events[events.index(request) :]:
        if isinstance(event, ev.ToolStarted) and event.step == request.step:
            assert answers, f"E7: {request.step} runs again, and nobody was asked"
            assert answers[0].decision == "approved", f"E7: {request.step} runs again against a person's word"
            assert events.index(answers[0]) < events.index(event), (
                f"E7: {request.step} runs before the answer"
            )


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
