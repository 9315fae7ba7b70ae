"""The contract of the ports `Journal` and `Catalog`, test by test, over every adapter."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure.core.errors import JournalError
from perdure.engine.ports import ExecutionFilter
from tests.contract.journal.samples import (
    T0,
    approval_events,
    approval_row,
    commit,
    commit_all,
    completed,
    every_body_event,
    first,
    plan,
    started,
    then,
    tool_events,
    turn,
)


@asynccontextmanager
async def opened(journal: Any):
    """The journal, open."""
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def run(journal: Any, body: Callable[[Any], Awaitable[None]]) -> None:
    """Run *body* with the open journal."""

    async def inside() -> None:
        async with opened(journal):
            await body(journal)

    asyncio.run(inside())


def test_commits_append_and_are_read_back(journal):
    """Events get the next seqs and the commit's time, and the row shows the last state."""

    async def body(j):
        assert await commit(j, first("x1", new_session_id="s1", new_request_hash="r")) is None
        assert await commit(j, then("x1", 1, turn(1), "waiting:approval", next_due_ms=T0 + 50)) is None
        found = await j.events("x1")
        assert [(r.seq, r.at_ms) for r in found] == [(1, T0), (2, T0 + 1), (3, T0 + 1)]
        assert [r.event for r in found] == [started(), *turn(1)]
        row = await j.load("x1")
        assert (row.status, row.last_seq, row.state) == ("waiting:approval", 3, b'{"seq":1}')
        assert (row.created_at_ms, row.updated_at_ms, row.next_due_ms) == (T0, T0 + 1, T0 + 50)
        assert (row.agent, row.session_id, row.request_hash, row.idempotency_key) == (
            "helper",
            "s1",
            "r",
            None,
        )

    run(journal, body)


def test_what_is_not_there_is_empty(journal):
    """Questions about nothing answer None or an empty list."""

    async def body(j):
        assert await j.load("x1") is None
        assert await j.events("x1") == []
        assert await j.find(ExecutionFilter()) == []
        assert await j.unfinished() == []
        assert await j.due(T0, 10) == []
        assert await j.next_due() is None
        assert await j.counts() == {}
        assert await j.approvals() == []
        assert await j.approval("a1") is None
        assert await j.get_plan("p") is None
        assert await j.deployed() == []

    run(journal, body)


def test_conflicts_write_nothing_and_harm_no_other(journal):
    """A wrong `expected_seq` is E0505 for that commit alone, in whatever company it comes."""

    async def body(j):
        await commit(j, first("x1"))
        answers = await commit_all(
            j,
            [
                then("x1", 0),
                first("x2"),
                then("x1", 2),
                then("unknown", 0),
                first("x1"),
                then("x1", 1),
                first("x3", expected_seq=1),
            ],
        )
        codes = [a.code if isinstance(a, JournalError) else a for a in answers]
        assert codes == ["E0505", None, "E0505", "E0505", "E0505", None, "E0505"]
        assert [r.seq for r in await j.events("x1")] == [1, 2, 3]
        assert {row.execution_id for row in await j.find(ExecutionFilter())} == {"x1", "x2"}

    run(journal, body)


def test_a_used_idempotency_key_gives_the_existing_execution(journal):
    """The same key starts nothing again, also when both starts come at once and after a restart."""

    async def body(j):
        key = {"new_idempotency_key": "order-7"}
        one, two = await commit_all(j, [first("x1", **key), first("x2", **key)])
        assert one is None
        assert (two.execution_id, two.idempotency_key) == ("x1", "order-7")
        await commit(j, then("x1", 1))
        again = await commit(j, first("x3", **key))
        assert (again.execution_id, again.last_seq) == ("x1", 3)
        assert again == await j.load("x1")
        await j.close()
        await j.open()
        assert (await commit(j, first("x1", **key))).execution_id == "x1"
        assert await j.load("x2") is None
        assert await j.load("x3") is None

    run(journal, body)


@pytest.mark.parametrize("size", [10, 3_900, 5_000, 70_000])
def test_bodies_of_any_size_come_back_as_they_were(journal, size):
    """Every kind with a body reads back equal, small, large and compressed."""

    async def body(j):
        events = every_body_event("Grüße\u0000 " * (size // 8))
        await commit(j, first("x1", events=events))
        await commit(j, then("x1", len(events), events))
        found = [r.event for r in await j.events("x1")]
        assert found == [*events, *events]
        assert [type(event) for event in found] == [type(event) for event in (*events, *events)]

    run(journal, body)


def test_events_are_paged(journal):
    """`after` and `limit` cut the list at any place."""

    async def body(j):
        await commit(j, first("x1"))
        await commit(j, then("x1", 1, tool_events("t1", {"ok": True})))
        everything = await j.events("x1")
        assert len(everything) == 6
        for after in range(8):
            for limit in (None, 0, 1, 4, 100):
                expected = everything[after:] if limit is None else everything[after : after + limit]
                assert await j.events("x1", after, limit) == expected

    run(journal, body)


def test_find_lists_newest_first_in_pages(journal):
    """Filters combine; `before` goes on after the last row of the page before."""

    async def body(j):
        for i in range(7):
            await commit(j, first(f"x{i}", new_agent="ab"[i % 2], new_session_id="s" if i > 3 else None))
        await commit(j, completed("x2", 1))
        await commit(j, completed("x4", 1))

        async def ids(**where):
            rows = await j.find(ExecutionFilter(**where))
            return [row.execution_id for row in rows]

        assert await ids() == ["x6", "x5", "x4", "x3", "x2", "x1", "x0"]
        assert await ids(limit=2) == ["x6", "x5"]
        assert await ids(limit=2, before="x5") == ["x4", "x3"]
        assert await ids(agent="a") == ["x6", "x4", "x2", "x0"]
        assert await ids(status=("completed",)) == ["x4", "x2"]
        assert await ids(status=("completed", "failed"), agent="a", session_id="s") == ["x4"]
        assert await ids(session_id="s", before="x5") == ["x4"]
        assert await ids(before="unknown") == []

    run(journal, body)


def test_orphans_are_those_that_nobody_waits_for(journal):
    """A running child is one when its parent has ended, or has its id no more in its state; the oldest first."""

    async def body(j):
        await commit(j, first("x1", state=b'{"steps":{"c1":{"child_id":"x3"}}}', status="waiting:child"))
        await commit(j, first("x2", status="completed"))
        for child, parent in (("x3", "x1"), ("x4", "x1"), ("x5", "x2"), ("x6", None)):
            await commit(j, first(child, new_parent_id=parent))
        await commit(j, first("x7", status="failed", new_parent_id="x2"))
        assert await j.orphans() == ["x4", "x5"]

    run(journal, body)


def test_unfinished_is_what_a_restart_takes_up(journal):
    """What can have had a step in flight, oldest first, with its state; nothing that waits for a person or a timer."""

    async def body(j):
        statuses = ["running", "waiting:approval", "waiting:worker", "paused", "waiting:timer", "quarantined"]
        for i, status in enumerate(statuses):
            await commit(j, first(f"x{i}", status=status, state=b'{"n":%d}' % i))
        await commit(j, first("x9"))
        await commit(j, completed("x9", 1))
        found = [(r.execution_id, r.state) for r in await j.unfinished()]
        assert found == [(f"x{i}", b'{"n":%d}' % i) for i in (0, 2, 3, 5)]
        await commit(j, then("x0", 1, (), "waiting:timer"))
        await commit(j, then("x1", 1, (), "running"))
        assert [r.execution_id for r in await j.unfinished()] == ["x1", "x2", "x3", "x5"]

    run(journal, body)


def test_counts_are_by_status_and_follow_every_commit(journal):
    """`counts` has every execution once, under the status of its last commit, ended ones too."""

    async def body(j):
        for i, status in enumerate(["running", "waiting:approval", "running", "paused"]):
            await commit(j, first(f"x{i}", status=status))
        assert await j.counts() == {"running": 2, "waiting:approval": 1, "paused": 1}
        await commit(j, then("x1", 1, (), "running"))
        await commit(j, completed("x0", 1))
        assert await j.counts() == {"running": 2, "completed": 1, "paused": 1}

    run(journal, body)


def test_timers_come_due_in_order_and_end_with_the_execution(journal):
    """`due` and `next_due` follow each commit's `next_due_ms`; an ended execution has none."""

    async def body(j):
        for i, due in enumerate((T0 + 30, T0 + 10, None, T0 + 20)):
            await commit(j, first(f"x{i}", next_due_ms=due, status="waiting:timer"))
        assert await j.next_due() == T0 + 10
        assert await j.due(T0 + 9, 10) == []
        assert await j.due(T0 + 20, 10) == ["x1", "x3"]
        assert await j.due(T0 + 99, 2) == ["x1", "x3"]
        await commit(j, then("x1", 1, next_due_ms=T0 + 40))
        ending = then("x3", 1, status="failed", next_due_ms=T0 + 1)
        await commit(j, ending)
        assert await j.due(T0 + 99, 10) == ["x0", "x1"]
        assert (await j.load("x3")).next_due_ms is None
        assert await j.next_due() == T0 + 30

    run(journal, body)


def test_approvals_are_records_of_their_own(journal):
    """A row is put in, found by execution, decided once by replacement, and then no longer pending."""

    async def body(j):
        early = approval_row("a2", "x1", requested_at_ms=T0 - 5)
        late = approval_row("a1", "x2", unknown_epoch=2)
        await commit(j, first("x2", approvals=(late,), events=(started(), approval_events("a1", {})[0])))
        await commit(j, first("x1", approvals=(early,)))
        assert await j.approvals() == [early, late]
        assert await j.approvals(limit=1) == [early]
        assert await j.approvals(execution_id="x2") == [late]
        decided = approval_row(
            "a2", "x1", requested_at_ms=T0 - 5, decision="rejected", decided_by="ann", reason="too much",
            decided_at_ms=T0 + 9, channel="cli", decided_arguments={"order": 8},
        )  # fmt: skip
        await commit(j, then("x1", 1, approvals=(decided,)))
        assert await j.approvals() == [late]
        assert await j.approvals(pending=False) == [decided, late]
        assert await j.approval("a2") == decided

    run(journal, body)


def test_a_refused_commit_leaves_no_approval(journal):
    """A conflict takes its approvals with it."""

    async def body(j):
        await commit(j, first("x1"))
        await commit_all(j, [then("x1", 7, approvals=(approval_row("a1", "x1"),))])
        assert await j.approval("a1") is None

    run(journal, body)


@pytest.mark.parametrize(
    "bad",
    [
        {"events": (started("lone \ud800 surrogate"),)},
        {"events": tool_events("t1", {"deep": {1, 2}, "object": object()})},
        {"new_title": "\udfff"},
        {"new_idempotency_key": "\udfff"},
        {"approvals": (approval_row("a\ud800", "x1"),)},
        {"at_ms": 2**63},
    ],
    ids=["surrogate", "object", "title", "key", "approval", "time"],
)
def test_what_cannot_be_stored_stops_its_own_commit(journal, bad):
    """Text that is no Unicode and values that are no JSON are E0508; commits beside them are written."""

    async def body(j):
        answers = await commit_all(j, [first("x1"), first("x2", **bad), first("x3")])
        assert [a and a.code for a in answers] == [None, "E0508", None]
        assert await j.load("x2") is None
        assert await j.load("x3") is not None

    run(journal, body)


def test_plans_and_deployments(journal):
    """A plan is stored once under its hash; a name's version counts changes of its plan."""

    async def body(j):
        await j.put_plan("h1", plan(), T0)
        await j.put_plan("h1", plan(instructions="Be unkind."), T0 + 1)
        assert await j.get_plan("h1") == plan()
        assert await j.deploy("b", "h1", T0) == 1
        assert await j.deploy("a", "h1", T0) == 1
        assert await j.deploy("b", "h2", T0 + 1) == 2
        assert await j.deploy("b", "h2", T0 + 2) == 2
        assert await j.deploy("b", "h1", T0 + 3) == 3
        rows = [(d.agent, d.plan_hash, d.version, d.deployed_at_ms) for d in await j.deployed()]
        assert rows == [("a", "h1", 1, T0), ("b", "h1", 3, T0 + 3)]
        assert [d.agent for d in await j.deployed("b")] == ["b"]
        assert await j.deployed("unknown") == []

    run(journal, body)


def test_everything_outlives_a_restart(journal):
    """Closing and opening again changes no answer."""

    async def body(j):
        await j.put_plan("h1", plan(), T0)
        await j.deploy("helper", "h1", T0)
        await commit(j, first("x1", approvals=(approval_row("a1", "x1"),), next_due_ms=T0))
        await commit(j, then("x1", 1, every_body_event("z" * 9000)))

        async def answers():
            return [
                await j.load("x1"), await j.events("x1"), await j.approvals(), await j.deployed(),
                await j.get_plan("h1"), await j.unfinished(), await j.next_due(), await j.counts(),
            ]  # fmt: skip

        before = await answers()
        await j.close()
        await j.open()
        assert await answers() == before
        assert await commit(j, then("x1", before[0].last_seq)) is None

    run(journal, body)


def test_close_writes_what_was_given(journal):
    """Commits under way when `close` is called are written and answered."""

    async def body(j):
        answers: list[Any] = []
        for i in range(50):
            j.commit(first(f"x{i}"), answers.append)
        await j.close()
        await asyncio.sleep(0)
        assert answers == [None] * 50
        await j.open()
        assert len(await j.find(ExecutionFilter(limit=100))) == 50

    run(journal, body)


def test_a_closed_journal_says_so(journal):
    """Before `open` and after `close` every verb is E0506, and `commit` answers through *done*."""

    async def body():
        for _ in range(2):
            with pytest.raises(JournalError) as caught:
                await commit(journal, first("x1"))
            assert caught.value.code == "E0506"
            for verb in (journal.load("x1"), journal.put_plan("h", plan(), T0), journal.deployed()):
                with pytest.raises(JournalError) as caught:
                    await verb
                assert caught.value.code == "E0506"
            await journal.open()
            await journal.close()
            await journal.close()

    asyncio.run(body())


def test_open_twice_is_refused(journal):
    """A journal that is open is not opened again (E0502), and stays open."""

    async def body(j):
        with pytest.raises(JournalError) as caught:
            await j.open()
        assert caught.value.code == "E0502"
        assert await commit(j, first("x1")) is None

    run(journal, body)


def test_a_callback_that_raises_keeps_no_other_from_its_answer(journal):
    """Each commit of a group gets its answer whatever the others' callbacks do; the loop reports the error."""

    async def body(j):
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context)))

        def broken(_):
            raise RuntimeError("a bug of the caller")

        j.commit(first("x1"), broken)
        j.commit(first("x2"), broken)
        assert await commit(j, first("x3")) is None
        assert len(reported) == 2
        assert await j.load("x1") is not None

    run(journal, body)


def test_statistics_count(journal):
    """Commits and events are counted; refused commits are not."""

    async def body(j):
        await commit_all(j, [first("x1"), first("x2"), then("x3", 4)])
        await commit(j, then("x1", 1))
        figures = j.statistics()
        assert (figures["commits"], figures["events"]) == (3, 4)
        assert {"syncs", "bytes_written", "last_sync_seconds", "waiting", "checkpoints"} <= set(figures)

    run(journal, body)
