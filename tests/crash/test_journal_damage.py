"""What was written is changed behind the journal's back: it is noticed, named, and harms no other execution (I2, E10)."""

import asyncio
import random
import shutil
from pathlib import Path

import apsw
import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine.journal.schema import DATABASE_FILE, SCHEMA_VERSION
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import ExecutionFilter
from tests.contract.journal.samples import (
    T0,
    approval_row,
    commit,
    every_body_event,
    first,
    plan,
    then,
    tool_events,
    turn,
)

FLIPS = 120


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A closed journal of three executions: small events, tool calls, large bodies."""
    folder = tmp_path_factory.mktemp("sound")

    async def body():
        journal = SqliteJournal(folder, SystemClock())
        await journal.open()
        await journal.put_plan("h1", plan(), T0)
        for name in ("x1", "x2", "x3"):
            await commit(journal, first(name, approvals=(approval_row(f"a-{name}", name),)))
            await commit(journal, then(name, 1, turn(1)))
            await commit(journal, then(name, 3, tool_events("t1", {"from": name})))
            await commit(journal, then(name, 8, every_body_event(name * 3_000)))
        await journal.close()

    asyncio.run(body())
    return folder


@pytest.fixture
def damaged(sound, tmp_path):
    """Makes a copy of the sound journal and runs SQL on it."""

    def make(*statements: str) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(sound, folder)
        db = apsw.Connection(str(folder / DATABASE_FILE))
        for statement in statements:
            db.execute(statement)
            assert db.changes() > 0 or statement.startswith("PRAGMA")
        db.close()
        return folder

    return make


X2 = "xid = (SELECT xid FROM executions WHERE id = 'x2')"
LAST = 8 + len(every_body_event(""))  # seq of each execution's last event


def replaced(column: str, old: str, new: str) -> str:
    """SQL: the bytes of a column with some of them changed."""
    return f"{column} = CAST(replace(CAST({column} AS TEXT), '{old}', '{new}') AS BLOB)"


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        (f"UPDATE events SET {replaced('payload', 'refund', 'refunD')} WHERE {X2} AND seq = 4", 4),
        (f"UPDATE events SET at_ms = at_ms + 1 WHERE {X2} AND seq = 5", 5),
        (f"UPDATE events SET chain = zeroblob(16) WHERE {X2} AND seq = 6", 6),
        (f"UPDATE events SET body_hash = NULL WHERE {X2} AND seq = 9", 9),
        (f"UPDATE events SET body_hash = (SELECT max(hash) FROM blobs) WHERE {X2} AND seq = 9", 9),
        (f"DELETE FROM events WHERE {X2} AND seq = 7", 7),
        (f"DELETE FROM events WHERE {X2} AND seq = {LAST}", LAST),
        (f"DELETE FROM blobs WHERE hash = (SELECT body_hash FROM events WHERE {X2} AND seq = 9)", 9),
        (
            (
                f"UPDATE blobs SET {replaced('data', 'x2', 'x9')} WHERE hash = "
                f"(SELECT body_hash FROM events WHERE {X2} AND seq = 10)"
            ),
            10,
        ),
        (
            (
                "UPDATE events SET (payload, body_hash, chain) ="
                " (SELECT payload, body_hash, chain FROM events AS other"
                f" WHERE other.seq = 3 AND other.xid <> events.xid LIMIT 1) WHERE {X2} AND seq = 3"
            ),
            3,
        ),
    ],
    ids=[
        "payload",
        "time",
        "chain",
        "hash removed",
        "other hash",
        "gap",
        "end cut",
        "blob gone",
        "blob",
        "other row",
    ],
)
def test_a_changed_event_is_named(damaged, statement, seq):
    """E0503 names execution and seq, from wherever the reading begins; the others read whole and go on."""
    folder = damaged(statement)

    async def body():
        journal = SqliteJournal(folder, SystemClock())
        await journal.open()
        try:
            for after in (0, seq - 1):
                with pytest.raises(JournalError) as caught:
                    await journal.events("x2", after)
                assert caught.value.code == "E0503"
                assert caught.value.fields == {"execution_id": "x2", "seq": seq}
                assert f"execution x2, event {seq}" in caught.value.where
            assert await journal.audit() != []
            for other in ("x1", "x3"):
                assert len(await journal.events(other)) == LAST
                assert await commit(journal, then(other, LAST)) is None
        finally:
            await journal.close()

    asyncio.run(body())


def test_a_changed_row_stops_its_execution_alone(damaged, caplog):
    """A row that does not fit its checksum is not loaded, not taken up, and takes no commit; the others go on."""
    folder = damaged(
        f"UPDATE executions SET {replaced('state', 'seq', 'sEq')} WHERE id = 'x2'",
        f"UPDATE approvals SET {replaced('payload', '12.5', '99.5')} WHERE approval_id = 'a-x2'",
        f"UPDATE plans SET {replaced('payload', 'kind', 'rude')}",
    )

    async def body():
        journal = SqliteJournal(folder, SystemClock())
        await journal.open()
        try:
            verbs = (
                journal.load("x2"),
                commit(journal, then("x2", LAST)),
                journal.approval("a-x2"),
                journal.get_plan("h1"),
            )
            for verb in verbs:
                with pytest.raises(JournalError) as caught:
                    await verb
                assert caught.value.code == "E0503"
            assert [row.execution_id for row in await journal.unfinished()] == ["x1", "x3"]
            assert [row.execution_id for row in await journal.find(ExecutionFilter())] == ["x3", "x1"]
            assert [row.approval_id for row in await journal.approvals()] == ["a-x1", "a-x3"]
            assert await commit(journal, then("x1", LAST)) is None
            assert len(await journal.audit()) == 3
        finally:
            await journal.close()

    asyncio.run(body())
    assert "execution x2" in caplog.text


def test_a_newer_format_is_not_touched(damaged):
    """E0504 for a file of a newer version, which is left as it was."""
    folder = damaged(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = (folder / DATABASE_FILE).read_bytes()
    with pytest.raises(JournalError) as caught:
        asyncio.run(SqliteJournal(folder, SystemClock()).open())
    assert caught.value.code == "E0504"
    assert (folder / DATABASE_FILE).read_bytes() == before


def test_a_file_that_is_no_database(tmp_path):
    """E0503 names the file."""
    (tmp_path / DATABASE_FILE).write_bytes(b"this is no database" * 1_000)
    with pytest.raises(JournalError) as caught:
        asyncio.run(SqliteJournal(tmp_path, SystemClock()).open())
    assert caught.value.code == "E0503"
    assert DATABASE_FILE in caught.value.where


async def _history(journal: SqliteJournal) -> dict[str, object]:
    """All that a server could learn from the journal; a refusal is an answer."""
    answers: dict[str, object] = {}
    for name in ("x1", "x2", "x3"):
        for verb in (journal.load, journal.events):
            try:
                answers[f"{verb.__name__} {name}"] = await verb(name)
            except JournalError as error:
                answers[f"{verb.__name__} {name}"] = error.code
    try:
        answers["plan"] = await journal.get_plan("h1")
        answers["unfinished"] = [row.execution_id for row in await journal.unfinished()]
    except JournalError as error:
        answers["plan"] = error.code
    return answers


def test_flipped_bits_never_tell_another_history(sound, tmp_path):
    """One random bit, many times: each answer is the right one or an error; a hidden row is found by the audit."""
    seed = 7
    rng = random.Random(seed)
    original = (sound / DATABASE_FILE).read_bytes()
    noticed = 0

    async def ask(folder: Path) -> tuple[dict[str, object], list[str]]:
        journal = SqliteJournal(folder, SystemClock())
        await journal.open()
        try:
            try:
                findings = await journal.audit()
            except JournalError as error:
                findings = [str(error)]
            return await _history(journal), findings
        finally:
            await journal.close()

    expected, _ = asyncio.run(ask(sound))
    for number in range(FLIPS):
        place, bit = rng.randrange(len(original)), rng.randrange(8)
        copy = bytearray(original)
        copy[place] ^= 1 << bit
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / DATABASE_FILE).write_bytes(copy)
        try:
            history, findings = asyncio.run(ask(folder))
        except JournalError:
            noticed += 1
            continue
        changed = {
            k for k, answer in history.items() if answer != expected[k] and not isinstance(answer, str)
        }
        noticed += bool(findings)
        assert not changed or findings, f"seed {seed}, flip {number} at {place}.{bit}: {changed}"
        shutil.rmtree(folder)
    assert noticed > FLIPS // 4
