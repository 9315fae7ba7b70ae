"""Parents and children in the journal: who is whose child, what is orphaned, whose approvals are found from above."""

import asyncio
from pathlib import Path

import apsw
import msgspec

from perdure.clock import SystemClock
from perdure.engine.journal import schema
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import ExecutionFilter
from tests.contract.journal.samples import (
    T0,
    approval_row,
    commit,
    completed,
    first,
    plan,
    started,
    then,
    turn,
)
from tests.contract.journal.test_journal_contract import run


def test_children_are_found_by_their_parent_and_roots_without_one(journal):
    """`parent_id` lists the children of one execution, `roots` what is nobody's child; both page newest first."""

    async def body(j):
        await commit(j, first("x1"))
        for child in ("x2", "x3", "x4"):
            await commit(j, first(child, new_parent_id="x1"))
        await commit(j, first("x5", new_parent_id="x2"))
        await commit(j, first("x6"))
        found = await j.find(ExecutionFilter(parent_id="x1"))
        assert [r.execution_id for r in found] == ["x4", "x3", "x2"]
        assert [
            r.execution_id for r in await j.find(ExecutionFilter(parent_id="x1", limit=1, before="x4"))
        ] == ["x3"]
        assert [r.execution_id for r in await j.find(ExecutionFilter(roots=True))] == ["x6", "x1"]
        assert await j.find(ExecutionFilter(parent_id="nobody")) == []
        assert (await j.load("x5")).parent_id == "x2"
        assert (await j.load("x1")).parent_id is None

    run(journal, body)


def test_orphans_are_what_goes_on_under_a_parent_that_has_ended(journal):
    """Only executions that have not ended, and whose own parent has, oldest first."""

    async def body(j):
        open_children = {"x1": b'["x2","x4","x5"]', "x2": b'["x3"]'}
        for name, parent in (("x1", None), ("x2", "x1"), ("x3", "x2"), ("x4", "x1"), ("x5", "x1")):
            begun = first(name, new_parent_id=parent)
            await commit(j, msgspec.structs.replace(begun, state=open_children.get(name, begun.state)))
        assert await j.orphans() == []
        await commit(j, completed("x4", 1))
        await commit(j, then("x1", 1, (), "cancelled"))
        assert await j.orphans() == ["x2", "x5"]
        await commit(j, then("x2", 1, (), "failed"))
        assert await j.orphans() == ["x3", "x5"]
        await commit(j, completed("x3", 1))
        await commit(j, completed("x5", 1))
        assert await j.orphans() == []

    run(journal, body)


def test_approvals_of_a_whole_tree(journal):
    """With `tree` the approvals of all that is below an execution are listed too, the longest waiting first."""

    async def body(j):
        for number, (name, parent) in enumerate((("x1", None), ("x2", "x1"), ("x3", "x2"), ("x4", None))):
            row = approval_row(f"a{number}", name, requested_at_ms=T0 - number)
            await commit(j, first(name, new_parent_id=parent, approvals=(row,)))

        async def ids(execution_id, **how):
            return [row.approval_id for row in await j.approvals(execution_id=execution_id, **how)]

        assert await ids("x1") == ["a0"]
        assert await ids("x1", tree=True) == ["a2", "a1", "a0"]
        assert await ids("x2", tree=True) == ["a2", "a1"]
        assert await ids("x1", tree=True, limit=2) == ["a2", "a1"]
        assert await ids("x4", tree=True) == ["a3"]

    run(journal, body)


def test_what_waits_for_a_child_is_taken_up_after_a_restart(journal):
    """`unfinished` has what waits for another execution, besides what runs."""

    async def body(j):
        for number, status in enumerate(
            ("waiting:child", "waiting:session", "waiting:approval", "waiting:message")
        ):
            await commit(j, first(f"x{number}", status=status))
        assert [r.execution_id for r in await j.unfinished()] == ["x0", "x1"]

    run(journal, body)


def _first_schema(folder: Path) -> None:
    """The file of a journal that the first schema wrote: what was added since is taken out again."""
    db = apsw.Connection(str(folder / schema.DATABASE_FILE))
    try:
        db.execute("DROP INDEX executions_parent")
        db.execute("ALTER TABLE executions DROP COLUMN parent_id")
        db.execute("PRAGMA user_version = 1")
    finally:
        db.close()


def test_a_file_of_the_first_schema_is_brought_up_to_date(tmp_path):
    """Its rows keep their checksums and are read as before, and children can be added to them."""
    folder = tmp_path / "data"

    async def write() -> list[object]:
        j = SqliteJournal(folder, SystemClock())
        await j.open()
        await commit(j, first("x1", new_session_id="s1", new_idempotency_key="k1"))
        await commit(j, then("x1", 1, turn(1, 9_000)))
        await j.put_plan("plan-1", plan(), T0)
        found = [await j.load("x1"), await j.events("x1")]
        await j.close()
        return found

    async def read() -> list[object]:
        j = SqliteJournal(folder, SystemClock())
        await j.open()
        found = [await j.load("x1"), await j.events("x1")]
        await commit(j, first("x2", new_parent_id="x1", events=(started(),)))
        await commit(j, then("x1", 3, turn(3)))
        assert [r.execution_id for r in await j.find(ExecutionFilter(parent_id="x1"))] == ["x2"]
        assert (await j.load("x1")).last_seq == 5
        assert await j.get_plan("plan-1") == plan()
        await j.close()
        return found

    before = asyncio.run(write())
    _first_schema(folder)
    assert asyncio.run(read()) == before
    db = schema.connect_reader(folder, schema.SqliteOptions())
    try:
        assert schema.schema_version(db) == schema.SCHEMA_VERSION
    finally:
        db.close()
