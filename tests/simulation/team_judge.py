"""The judge of trees of executions, after all of `judge`: begun once, ended once, nobody left behind."""

from perdure.core import events as ev
from perdure.core.machines.turn_state import decode_state
from perdure.core.model import Usage
from perdure.engine.ports import TERMINAL_STATUSES, ExecutionFilter, StoredExecution
from tests.simulation.judge import Histories, judge
from tests.simulation.world import World

Rows = dict[str, StoredExecution]
# What an execution does first, once it is its turn.
WORK = (
    ev.ModelRequested,
    ev.ToolRequested,
    ev.FunctionRequested,
    ev.ChildRequested,
    ev.JudgeRequested,
    ev.CondenseRequested,
    ev.CallsPrefilled,
    ev.GuardDecided,
)
ENDS = {"failed": ev.ExecutionFailed, "cancelled": ev.ExecutionCancelled}


async def judge_teams(world: World) -> str:
    """Raise AssertionError on any violation; give a digest of all that happened."""
    digest = await judge(world)
    rows = {r.execution_id: r for r in await world.disk.find(ExecutionFilter(limit=100_000))}
    histories = {i: await world.disk.events(i) for i in rows}
    orphans = await world.disk.orphans()
    assert not orphans, f"E9: {orphans} live on although nobody waits for them"
    for row in rows.values():
        assert row.status in TERMINAL_STATUSES, f"I11: {row.execution_id} is {row.status}"
    requested = _requests(rows, histories)
    _begun(rows, histories, requested)
    for execution_id in rows:
        _ends(execution_id, rows, histories)
        _usage(execution_id, rows, histories)
    _sessions(rows, histories)
    _stopped_in_time(world, rows, histories)
    return digest


def _sessions(rows: Rows, histories: Histories) -> None:
    """The executions of a session and an agent are one after the other, each going on from the one before it."""
    places: dict[tuple[str, str], list[str]] = {}
    for execution_id, row in rows.items():
        if row.parent_id is None and row.session_id is not None:
            places.setdefault((row.session_id, row.agent), []).append(execution_id)
    for place, ids in places.items():
        following: dict[str | None, str] = {}
        for execution_id in ids:
            before = _goes_on_from(histories[execution_id])
            assert before not in following, f"{place}: two executions go on from {before}"
            following[before] = execution_id
        ended_ms, current = 0, following.pop(None, None)
        while current is not None:
            history = histories[current]
            began_ms = next((r.at_ms for r in history if isinstance(r.event, WORK)), None)
            assert began_ms is None or began_ms >= ended_ms, f"{place}: {current} began before its turn"
            ended_ms = max(ended_ms, history[-1].at_ms)
            current = following.pop(current, None)
        assert not following, f"{place}: {following} go on from what is not in the session"


def _goes_on_from(history: list[ev.Recorded]) -> str | None:
    started = history[0].event
    assert isinstance(started, ev.ExecutionStarted)
    return started.history.execution_id if started.history is not None else None


def _requests(rows: Rows, histories: Histories) -> dict[str, tuple[str, ev.Recorded]]:
    """Who asked for each child; asked for once in all journals."""
    found: dict[str, tuple[str, ev.Recorded]] = {}
    for execution_id in rows:
        for record in histories[execution_id]:
            if isinstance(record.event, ev.ChildRequested):
                child = record.event.child_id
                assert child not in found, f"E4: the child {child} is asked for twice"
                found[child] = (execution_id, record)
    return found


def _begun(rows: Rows, histories: Histories, requested: dict[str, tuple[str, ev.Recorded]]) -> None:
    """E1: each child stands below the step that asked for it, and began after it was asked for."""
    for execution_id, row in rows.items():
        if row.parent_id is None:
            continue
        assert execution_id in requested, f"E1: {execution_id} was begun, and nobody asked for it"
        parent_id, record = requested[execution_id]
        started = histories[execution_id][0].event
        assert isinstance(started, ev.ExecutionStarted)
        assert isinstance(record.event, ev.ChildRequested)
        assert started.parent is not None
        place = (started.parent.execution_id, started.parent.step)
        assert place == (parent_id, record.event.step) == (row.parent_id, record.event.step)
        assert started.input == record.event.input, f"I7: {execution_id} was given something else"
        assert histories[execution_id][0].at_ms >= record.at_ms, f"E1: {execution_id} began too early"


def _ends(parent_id: str, rows: Rows, histories: Histories) -> None:
    """E3: what a parent has recorded of a child's end is the child's end, after it; without a record it has ended."""
    asked: dict[str, str] = {}
    for record in histories[parent_id]:
        event = record.event
        if isinstance(event, ev.ChildRequested):
            asked[event.step] = event.child_id
        elif isinstance(event, ev.ChildCompleted | ev.ChildFailed):
            child = asked.pop(event.step)
            assert child in rows, f"E1: {child} has ended and was never begun"
            _same_end(event, record.at_ms, rows[child], histories[child][-1])
    # What is still open was open when the parent ended, or went on without it.
    for step, child in asked.items():
        assert child not in rows or rows[child].status in TERMINAL_STATUSES, f"E9: {child} of {step}"


def _same_end(
    told: ev.ChildCompleted | ev.ChildFailed, at_ms: int, child: StoredExecution, last: ev.Recorded
) -> None:
    where, end = f"the end of {child.execution_id} at {told.step}", last.event
    assert at_ms >= last.at_ms, f"E1: {where} was told before it was recorded"
    assert told.usage == decode_state(child.state).usage, f"{where}: another usage"
    if isinstance(told, ev.ChildCompleted):
        assert isinstance(end, ev.ExecutionCompleted), f"E3: {where} is {end}"
        said, was = (
            (told.output, told.finish_reason, told.handover),
            (end.output, end.finish_reason, end.handover),
        )
        assert said == was, f"E3: {where}: told {said}, it was {was}"
    else:
        assert isinstance(end, ENDS[told.status]), f"E3: {where} is {end}"
        assert not isinstance(end, ev.ExecutionFailed) or told.error == end.error, (
            f"E3: {where}: another error"
        )


def _usage(execution_id: str, rows: Rows, histories: Histories) -> None:
    """The usage of an execution is that of all answers below it, save those that came after it had gone on without them."""
    assert decode_state(rows[execution_id].state).usage == _used(execution_id, histories)


def _used(execution_id: str, histories: Histories) -> Usage:
    used = Usage()
    asked: dict[str, str] = {}
    for record in histories[execution_id]:
        event = record.event
        if isinstance(event, ev.ModelCompleted):
            used = used.plus(event.usage)
        elif isinstance(event, ev.ChildRequested):
            asked[event.step] = event.child_id
        elif isinstance(event, ev.ChildCompleted | ev.ChildFailed):
            used = used.plus(_used(asked[event.step], histories))
    return used


def _stopped_in_time(world: World, rows: Rows, histories: Histories) -> None:
    """E9: a child ends within seconds of its parent, save where a crash or an outage stood in the way."""
    if world.crashes or world.outages or world.rate["jump"] or world.rate["garbage"]:
        return
    most_ms = 2_000 + 4_000 * world.slowest_s
    for execution_id, row in rows.items():
        if row.parent_id is not None:
            late = histories[execution_id][-1].at_ms - histories[row.parent_id][-1].at_ms
            assert late <= most_ms, f"E9: {execution_id} lives {late} ms longer than its parent"
