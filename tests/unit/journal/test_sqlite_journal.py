"""What only the SQLite adapter does: group commit, checkpoints, schema, settings, the end of the process."""

import asyncio
import errno
import stat
import threading

import apsw
import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine import faults
from perdure.engine.journal import failures, schema
from perdure.engine.journal.schema import DATABASE_FILE, SCHEMA_VERSION, SqliteOptions
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.journal.statements import ManyRows
from tests.contract.journal.samples import commit, commit_all, every_body_event, first, then, turn


def run(folder, body, **kw):
    """Run *body* with an open journal in *folder*."""

    async def inside():
        journal = SqliteJournal(folder, SystemClock(), **kw)
        await journal.open()
        try:
            await body(journal)
        finally:
            await journal.close()

    asyncio.run(inside())


def ask(folder, question):
    """One answer straight from the file."""
    db = apsw.Connection(str(folder / DATABASE_FILE))
    try:
        return db.execute(question).get
    finally:
        db.close()


def test_commits_that_come_together_share_a_sync(tmp_path):
    """300 commits given at once take a few syncs, not 300."""

    async def body(journal):
        assert await commit_all(journal, [first(f"x{i}") for i in range(300)]) == [None] * 300
        figures = journal.statistics()
        assert figures["commits"] == 300
        assert figures["syncs"] <= 20
        assert figures["last_sync_seconds"] > 0
        assert figures["bytes_written"] > 300 * 300

    run(tmp_path, body)


def test_a_large_body_is_stored_once(tmp_path):
    """The same body in ten commits is one blob: bytes on disk grow by the heads alone."""
    events = every_body_event("unique " * 20_000)

    async def body(journal):
        await commit(journal, first("x1", events=events))
        before = journal.statistics()["bytes_written"]
        for i in range(1, 11):
            await commit(journal, then("x1", i * len(events), events))
        assert journal.statistics()["bytes_written"] - before < 10 * 60_000

    run(tmp_path, body)
    assert ask(tmp_path, "SELECT count(*) FROM blobs") == len(events) - 2  # one is shared, one has no body


def test_the_log_is_checkpointed_and_cut(tmp_path):
    """The write-ahead log stays near its limit however much is written, and is gone after `close`."""
    log = tmp_path / f"{DATABASE_FILE}-wal"
    sizes: list[int] = []

    async def body(journal):
        await commit(journal, first("x1"))
        for i in range(150):
            await commit(journal, then("x1", 1 + 2 * i, turn(i, 3_000)))
            sizes.append(log.stat().st_size)
        assert journal.statistics()["checkpoints"] >= 5
        assert len(await journal.events("x1")) == 301

    run(tmp_path, body, options=SqliteOptions(checkpoint_bytes=200_000))
    assert max(sizes) < 600_000
    assert not log.exists()


def test_a_reader_that_holds_on_does_not_stop_commits(tmp_path):
    """While another connection reads, the log grows and commits go on; afterwards it is cut."""

    async def body(journal):
        await commit(journal, first("x1"))
        reader = apsw.Connection(str(tmp_path / DATABASE_FILE))
        reader.execute("BEGIN; SELECT count(*) FROM events")
        for i in range(60):
            await commit(journal, then("x1", 1 + 2 * i, turn(i, 3_000)))
        grown = (tmp_path / f"{DATABASE_FILE}-wal").stat().st_size
        reader.close()
        for i in range(60, 90):
            await commit(journal, then("x1", 1 + 2 * i, turn(i, 3_000)))
        assert grown > 400_000
        assert (tmp_path / f"{DATABASE_FILE}-wal").stat().st_size < grown

    run(tmp_path, body, options=SqliteOptions(checkpoint_bytes=100_000))


def test_every_crash_point_is_passed_with_every_kind(tmp_path):
    """The points of the commit path see the kinds of the whole group."""

    async def body(journal):
        faults.arm("count")
        await commit_all(journal, [first("x1"), first("x2")])
        await commit_all(journal, [then("x1", 1, every_body_event("b")), then("x2", 1, turn(1))])
        await journal.close()

    try:
        run(tmp_path, body)
        counted = faults.counts()
    finally:
        faults.disarm()
    for point in ("before_commit", "mid_commit", "after_commit"):
        assert counted[point] >= 2
        assert counted[f"{point}:execution_started"] >= 2
        for kind in ("tool_completed", "model_requested", "approval_decided", "execution_completed"):
            assert counted[f"{point}:{kind}"] == 1
    assert counted["before_checkpoint"] == 1


def test_settings_of_the_file(tmp_path):
    """WAL, full sync, pages of 8 KiB, only for this user."""
    run(tmp_path / "new" / "data", lambda journal: commit(journal, first("x1")))
    folder = tmp_path / "new" / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / DATABASE_FILE).stat().st_mode) == 0o600
    assert ask(folder, "PRAGMA journal_mode") == "wal"
    assert ask(folder, "PRAGMA page_size") == 8192
    assert ask(folder, "PRAGMA user_version") == SCHEMA_VERSION
    db = schema.connect_writer(folder, SqliteOptions())
    try:
        assert [db.pragma(name) for name in ("synchronous", "wal_autocheckpoint", "mmap_size")] == [2, 0, 0]
        assert db.pragma("busy_timeout") == 5_000
    finally:
        db.close()


def test_migrations_are_ordered_and_released_ones_never_change():
    """Versions count up from 1; the text of a released migration is pinned here."""
    assert [m.version for m in schema.MIGRATIONS] == list(range(1, len(schema.MIGRATIONS) + 1))
    assert len(schema.MIGRATIONS[0].statements) == 14


@pytest.mark.parametrize(("version", "safe"), [("3.51.3", True), ("3.54.1", True), ("4.0.0", True), ("3.51.2", False), ("3.7.0", False)])  # fmt: skip
def test_old_sqlite_is_refused(version, safe):
    """E0507 for every build that has the WAL-reset bug."""
    if safe:
        schema.check_sqlite(version)
        return
    with pytest.raises(JournalError) as caught:
        schema.check_sqlite(version)
    assert caught.value.code == "E0507"


def test_a_failed_write_ends_the_process_and_answers_nobody(tmp_path, capfd):
    """The group is not answered, one line goes to stderr, and the status is 74."""
    ended: list[int] = []
    vfs = FailingVFS("failing-sync")

    async def body(journal):
        answers: list[object] = []
        await commit(journal, first("x1"))
        vfs.failing = True
        journal.commit(then("x1", 1), answers.append)
        journal.commit(first("x2"), answers.append)
        while not ended:
            await asyncio.sleep(0.01)
        vfs.failing = False
        await asyncio.sleep(0.05)
        assert answers == []

    try:
        run(tmp_path, body, options=SqliteOptions(vfs=vfs.name), exit_process=ended.append)
    finally:
        vfs.unregister()
    assert ended == [failures.IO_EXIT_CODE]
    assert capfd.readouterr().err.count("the disk failed") == 1


class FailingVFS(apsw.VFS):
    """The system's files, whose syncs fail on demand."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failing = False
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return FailingFile(name, flags, self)


class FailingFile(apsw.VFSFile):
    """One file of `FailingVFS`."""

    def __init__(self, name, flags, vfs: FailingVFS) -> None:
        self.vfs = vfs
        super().__init__("", name, flags)

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        if self.vfs.failing:
            raise apsw.IOError("the disk does not answer")
        super().xSync(flags)


def test_a_row_changed_by_somebody_else_is_a_conflict_for_its_execution_alone(tmp_path):
    """When the file moved on behind the writer's back, the group is tried one by one from what the file says."""

    async def body(journal):
        await commit_all(journal, [first("x1"), first("x2"), first("x3")])
        other = apsw.Connection(str(tmp_path / DATABASE_FILE))
        other.execute("UPDATE executions SET last_seq = 5 WHERE id = 'x2'")
        other.close()
        answers = await commit_all(journal, [then("x1", 1), then("x2", 1), then("x3", 1)])
        assert [a and a.code for a in answers] == [None, "E0503", None]
        assert [len(await journal.events(name)) for name in ("x1", "x3")] == [3, 3]

    run(tmp_path, body)


def test_a_loop_that_is_gone_leaves_no_thread(tmp_path):
    """When the event loop ends without `close`, the writer ends with the next commit that it cannot answer."""
    journal = SqliteJournal(tmp_path, SystemClock())

    async def abandon():
        await journal.open()
        for i in range(3):
            journal.commit(first(f"x{i}"), lambda _: None)

    asyncio.run(abandon())
    asyncio.run(journal.close())
    assert not [t for t in threading.enumerate() if t.name.startswith("perdure-journal")]
    run(tmp_path, lambda again: again.load("x0"))


def test_a_directory_that_cannot_be_made(tmp_path):
    """E0506 says which path and why."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError) as caught:
        asyncio.run(SqliteJournal(tmp_path / "file" / "data", SystemClock()).open())
    assert caught.value.code == "E0506"
    assert "file" in caught.value.where


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (apsw.FullError("full"), "E0501"),
        (OSError(errno.ENOSPC, "full"), "E0501"),
        (OSError(errno.EROFS, "read only"), "E0506"),
        (apsw.CorruptError("malformed"), "E0503"),
        (apsw.NotADBError("not a database"), "E0503"),
        (apsw.BusyError("locked"), "E0506"),
        (RuntimeError("a bug"), "E0503"),
        (apsw.ConstraintError("UNIQUE"), "E0503"),
        (JournalError("E0504", "newer"), "E0504"),
    ],
)
def test_errors_in_our_words(error, code):
    """Each driver's error has one code, with a way out."""
    translated = failures.translate(error, "here")
    assert translated.code == code
    assert translated.fix or code == "E0504"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 511, 512, 513, 1_300])
def test_many_rows_are_all_written_in_order(count):
    """Any number of rows, in a few statements."""
    db = apsw.Connection(":memory:")
    try:
        db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, a, b)")
        rows = [(i, b"%d" % i) for i in range(count)]
        assert ManyRows("INSERT INTO t(a, b) VALUES ", 2).run(db, rows) == count
        assert db.execute("SELECT a, b FROM t ORDER BY n").fetchall() == rows
    finally:
        db.close()
