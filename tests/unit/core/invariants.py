"""The named invariants of `reliability`, stated over any journal, whatever made it."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from perdure.core import events as ev
from perdure.core import ids
from perdure.core.messages import Message, ToolResultPart

OPENING = (
    ev.ModelRequested,
    ev.ToolRequested,
    ev.ApprovalRequested,
    ev.FunctionRequested,
    ev.ChildRequested,
    ev.JudgeRequested,
    ev.CondenseRequested,
    ev.MessageAwaited,
    ev.SessionAwaited,
)


SETTLING = (
    ev.ModelCompleted,
    ev.ModelInterrupted,
    ev.BudgetReached,
    ev.ToolCompleted,
    ev.ToolRefused,
    ev.ChildCompleted,
    ev.ChildFailed,
    ev.MessagesTaken,
    ev.SessionJoined,
)


def check_journal(records: Sequence[ev.Recorded]) -> None:
    """All of them."""
    gapless(records)
    terminal_is_final(records)
    one_winner(records)
    turns_have_no_gap(records)
    attempts_are_visible(records)
    approvals_bind(records)
    keys_are_stable_and_unique(records)
    children_end_once(records)


def gapless(records: Sequence[ev.Recorded]) -> None:
    """I2: seq counts 1, 2, 3, and the first event is the start, once."""
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    starts = [r.seq for r in records if isinstance(r.event, ev.ExecutionStarted)]
    assert starts == [1]


def terminal_is_final(records: Sequence[ev.Recorded]) -> None:
    """I3: at most one terminal event, and nothing after it."""
    ends = [r.seq for r in records if isinstance(r.event, ev.TERMINAL)]
    assert ends in ([], [len(records)]), "I3: something stands after the end"


def settles(event: ev.Event) -> str | None:
    """The step that *event* gives its one result to, if it does."""
    if isinstance(event, SETTLING):
        return event.step
    if isinstance(event, ev.ToolFailed) and event.retry_at_ms is None:
        return event.step
    if isinstance(event, ev.ToolLost) and event.policy == "fail":
        return event.step
    if isinstance(event, ev.ApprovalDecided) and event.decision == "rejected":
        return event.step
    return None


def settled_by(records: Sequence[ev.Recorded]) -> Iterator[tuple[ev.Recorded, str | None]]:
    """Each record with the step that it gives its one result to, if it does; a question's answer is its result."""
    questions: set[str] = set()
    for record in records:
        event = record.event
        if isinstance(event, ev.ApprovalRequested) and event.asks != "call":
            questions.add(event.approval_id)
        if isinstance(event, ev.ApprovalDecided) and event.approval_id in questions:
            yield record, event.step
        else:
            yield record, settles(event)


def one_winner(records: Sequence[ev.Recorded]) -> None:
    """I4: a step has at most one result, and nothing happens to it afterwards but a rejected output."""
    settled: set[str] = set()
    for record, result in settled_by(records):
        step = getattr(record.event, "step", None)
        if isinstance(record.event, ev.OutputRejected):
            assert step in settled
            continue
        if isinstance(record.event, ev.AnswerRefused):
            continue  # about an answer, which is settled, or about a joint, which is no step
        assert step is None or step not in settled, f"I4: {step} goes on after its result (seq {record.seq})"
        if result is not None:
            settled.add(result)


def turns_have_no_gap(records: Sequence[ev.Recorded]) -> None:
    """Turns count 1, 2, 3; attempts at a model step too; a turn begins when all of the last one is settled."""
    turn, attempt = 0, 0
    opened: set[str] = set()
    for record, step in settled_by(records):
        event = record.event
        if isinstance(event, ev.ModelRequested):
            if event.turn == turn:
                assert event.attempt == attempt + 1
            else:
                assert (event.turn, event.attempt) == (turn + 1, 1)
                assert not opened, f"turn {event.turn} begins while {opened} are open"
            turn, attempt = event.turn, event.attempt
            assert event.step == f"t{turn}.m"
        if isinstance(event, OPENING):
            opened.add(event.step)
        if step is not None:
            opened.discard(step)


def attempts_are_visible(records: Sequence[ev.Recorded]) -> None:
    """I6: epochs of a tool step count 1, 2, 3, and every outcome belongs to the epoch begun last."""
    epochs: Counter[str] = Counter()
    for record in records:
        event = record.event
        if isinstance(event, ev.ToolStarted):
            epochs[event.step] += 1
            assert event.epoch == epochs[event.step]
        elif isinstance(event, ev.ToolCompleted | ev.ToolFailed | ev.ToolLost):
            assert event.epoch == epochs[event.step] > 0, (
                "E3: a result of an attempt that does not hold the lease"
            )


def approvals_bind(records: Sequence[ev.Recorded]) -> None:
    """I7: one decision per approval, after its request; what runs has the hash that was approved, or nothing runs."""
    asked: dict[str, ev.ApprovalRequested] = {}
    decided: dict[str, ev.ApprovalDecided] = {}
    awaited: set[str] = set()
    for record in records:
        event = record.event
        if isinstance(event, ev.ApprovalRequested):
            assert event.approval_id not in asked
            asked[event.approval_id] = event
            awaited.add(event.step)
        elif isinstance(event, ev.ApprovalDecided):
            assert event.approval_id not in decided, "I7: decided twice"
            request = asked[event.approval_id]
            assert event.arguments is not None or event.effect_hash == request.effect_hash
            decided[event.approval_id] = event
            awaited.discard(event.step)
        elif isinstance(event, ev.ToolRequested | ev.ChildRequested):
            _requested_as_approved(event, asked, decided)
        elif isinstance(event, ev.ToolStarted):
            assert event.step not in awaited, "I7: it runs while a person is asked"


def _requested_as_approved(
    event: ev.ToolRequested | ev.ChildRequested,
    asked: dict[str, ev.ApprovalRequested],
    decided: dict[str, ev.ApprovalDecided],
) -> None:
    requests = [a for a in asked.values() if a.step == event.step]
    if not requests:
        return
    decision = decided[requests[-1].approval_id]
    assert decision.decision == "approved", "I7: a rejected call runs"
    right = requests[-1].arguments if decision.arguments is None else decision.arguments
    if isinstance(event, ev.ChildRequested):
        said = right.get("note" if event.role == "handoff" else "request", "")
        assert not said or event.input.text == said, "I7: another request than was approved"
        return
    assert ids.canonical_json(event.arguments) == ids.canonical_json(right), "I7: something else runs"


def keys_are_stable_and_unique(records: Sequence[ev.Recorded]) -> None:
    """E6: a call has one key, and no other call has it."""
    keys = [r.event.key for r in records if isinstance(r.event, ev.ToolRequested | ev.FunctionRequested)]
    assert len(keys) == len(set(keys))


def children_end_once(records: Sequence[ev.Recorded]) -> None:
    """Each child execution is asked for once, under an id of its own, and ends at most once."""
    asked: dict[str, str] = {}
    for record in records:
        event = record.event
        if isinstance(event, ev.ChildRequested):
            assert event.step not in asked
            assert event.child_id not in asked.values(), "one child for two steps"
            asked[event.step] = event.child_id
    ends = [r.event.step for r in records if isinstance(r.event, ev.ChildCompleted | ev.ChildFailed)]
    assert len(ends) == len(set(ends)), "a child has ended twice"
    assert set(ends) <= set(asked)


def calls_are_answered(messages: Sequence[Message]) -> None:
    """Every call of an answer that was gone on from has one result, in the order of the calls."""
    for said, after in itertools.pairwise(messages):
        if said.tool_calls:
            assert after.role == "tool"
            results = [p for p in after.parts if isinstance(p, ToolResultPart)]
            assert [(p.call_id, p.tool) for p in results] == [(c.call_id, c.tool) for c in said.tool_calls]
