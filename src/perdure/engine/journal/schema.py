"""The tables, how they came to be, and the settings of every connection.

`PRAGMA user_version` is the number of the last migration that ran. A migration and its number are one
transaction, so a crash leaves either all of it or nothing. A file with a greater number was written by a newer
version, and is not touched (E0504).

    executions  one row each, rewritten at every commit: state, status, last seq, last link of the chain
    events      append-only, in the order of commits; found by (xid, seq)
    blobs       large bodies, once each
    approvals   one row each, as JSON, with the columns that are asked for
    plans       by hash
    deployed    every version of every agent's name; the greatest is the current one

Pages are 8 KiB: three events of a usual size fit one page, where 4 KiB would hold one and waste half.
"""

import os
from pathlib import Path
from typing import Literal

import apsw
import msgspec

from perdure.core.errors import JournalError
from perdure.engine.journal.failures import translate

DATABASE_FILE = "perdure.db"
PAGE_BYTES = 8192
SAFE_SQLITE = (3, 51, 3)  # the first with the fix of the WAL-reset bug, which can corrupt the file
WAL_FILE_LIMIT_BYTES = 64 * 1024 * 1024  # a larger write-ahead log is cut to this once it is checkpointed


class SqliteOptions(msgspec.Struct, frozen=True):
    """Settings of the SQLite journal; the defaults are the ones that are safe.

    Attributes:
        synchronous: NORMAL does not sync at commit and loses acknowledged work with the power; it is here for
            the test which shows that the power-loss test would notice.
        checkpoint_bytes: the size of the write-ahead log at which it is copied into the database file.
        vfs: name of a registered SQLite file system, for tests; None: the system's.
        busy_ms: how long a connection waits for another one's lock.
        readers: connections, and threads, that answer questions.
    """

    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    checkpoint_bytes: int = 16 * 1024 * 1024
    vfs: str | None = None
    busy_ms: int = 5_000
    readers: int = 2


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, as data. A released migration never changes."""

    version: int
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        (
            """CREATE TABLE executions(
                xid INTEGER PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                agent TEXT NOT NULL,
                plan_hash TEXT NOT NULL,
                title TEXT NOT NULL,
                started_by TEXT NOT NULL,
                status TEXT NOT NULL,
                last_seq INTEGER NOT NULL,
                created_at_ms INTEGER NOT NULL,
                updated_at_ms INTEGER NOT NULL,
                next_due_ms INTEGER,
                session_id TEXT,
                idempotency_key TEXT,
                request_hash TEXT NOT NULL,
                state BLOB NOT NULL,
                chain BLOB NOT NULL,
                sum INTEGER NOT NULL
            ) STRICT""",
            "CREATE UNIQUE INDEX executions_key ON executions(idempotency_key) WHERE idempotency_key IS NOT NULL",
            "CREATE INDEX executions_due ON executions(next_due_ms, xid) WHERE next_due_ms IS NOT NULL",
            "CREATE INDEX executions_status ON executions(status, xid)",
            "CREATE INDEX executions_agent ON executions(agent, xid)",
            "CREATE INDEX executions_session ON executions(session_id, xid) WHERE session_id IS NOT NULL",
            """CREATE TABLE events(
                pos INTEGER PRIMARY KEY,
                xid INTEGER NOT NULL,
                seq INTEGER NOT NULL,
                at_ms INTEGER NOT NULL,
                payload BLOB NOT NULL,
                body_hash BLOB,
                chain BLOB NOT NULL
            ) STRICT""",
            "CREATE UNIQUE INDEX events_seq ON events(xid, seq)",
            """CREATE TABLE blobs(
                hash BLOB NOT NULL UNIQUE,
                size INTEGER NOT NULL,
                encoding INTEGER NOT NULL,
                data BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE approvals(
                approval_id TEXT NOT NULL UNIQUE,
                execution_id TEXT NOT NULL,
                requested_at_ms INTEGER NOT NULL,
                decided INTEGER NOT NULL,
                payload BLOB NOT NULL,
                sum INTEGER NOT NULL
            ) STRICT""",
            "CREATE INDEX approvals_pending ON approvals(requested_at_ms, approval_id) WHERE decided = 0",
            "CREATE INDEX approvals_execution ON approvals(execution_id, requested_at_ms)",
            """CREATE TABLE plans(
                hash TEXT NOT NULL PRIMARY KEY,
                stored_at_ms INTEGER NOT NULL,
                payload BLOB NOT NULL,
                sum INTEGER NOT NULL
            ) STRICT""",
            """CREATE TABLE deployed(
                agent TEXT NOT NULL,
                version INTEGER NOT NULL,
                plan_hash TEXT NOT NULL,
                deployed_at_ms INTEGER NOT NULL,
                PRIMARY KEY (agent, version)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        2,
        (
            "ALTER TABLE executions ADD COLUMN parent_id TEXT",
            "CREATE INDEX executions_parent ON executions(parent_id, xid) WHERE parent_id IS NOT NULL",
        ),
    ),
)
SCHEMA_VERSION = MIGRATIONS[-1].version


def check_sqlite(version: str) -> None:
    """Refuse a SQLite build that can corrupt a write-ahead log.

    Raises:
        JournalError: E0507.
    """
    if tuple(int(part) for part in version.split(".")[:3]) < SAFE_SQLITE:
        safe = ".".join(map(str, SAFE_SQLITE))
        raise JournalError(
            "E0507",
            f"SQLite {version} can corrupt a write-ahead log",
            where="the SQLite build that the package apsw carries",
            why=f"The WAL-reset bug was fixed in {safe}.",
            fix="pip install --upgrade apsw",
        )


def connect_writer(data_dir: Path, options: SqliteOptions) -> apsw.Connection:
    """The one connection that writes, with the schema brought up to date.

    Raises:
        JournalError: E0501, E0503, E0504, E0506.
    """
    path = data_dir / DATABASE_FILE
    try:
        _make_file(path)
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=options.vfs)
    except (OSError, apsw.Error) as error:
        raise translate(error, str(path)) from error
    try:
        _settings(db, options)
        _refuse_newer(db, path)
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        _use_log(db, path)
        db.execute(f"PRAGMA synchronous = {options.synchronous}")
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(f"PRAGMA journal_size_limit = {WAL_FILE_LIMIT_BYTES}")
        _migrate(db)
    except apsw.Error as error:
        db.close()
        raise translate(error, str(path)) from error
    except BaseException:
        db.close()
        raise
    return db


def connect_reader(data_dir: Path, options: SqliteOptions) -> apsw.Connection:
    """A connection that cannot write.

    Raises:
        JournalError: E0503, E0506.
    """
    path = data_dir / DATABASE_FILE
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=options.vfs)
        _settings(db, options)
    except apsw.Error as error:
        raise translate(error, str(path)) from error
    return db


def schema_version(db: apsw.Connection) -> int:
    """The number of the last migration that ran."""
    return int(db.pragma("user_version"))


def _make_file(path: Path) -> None:
    """An empty file that only this user reads; SQLite gives its side files the same rights."""
    if path.exists():
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # else the name of the file can be lost with the power, and all commits with it
    finally:
        os.close(directory)


def _settings(db: apsw.Connection, options: SqliteOptions) -> None:
    db.set_busy_timeout(options.busy_ms)
    db.execute("PRAGMA mmap_size = 0")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cache_size = -16384")


def _use_log(db: apsw.Connection, path: Path) -> None:
    """Switch to the write-ahead log. Where that fails SQLite says so in its answer, and raises nothing."""
    mode = db.pragma("journal_mode", "wal")
    if mode != "wal":
        raise JournalError(
            "E0506",
            "The journal's write-ahead log cannot be made",
            where=str(path),
            why=f"The journal mode is {mode}: the disk failed, or its file system cannot share memory.",
            fix="Look at the disk, or use a data directory on a local one, then start again.",
        )


def _refuse_newer(db: apsw.Connection, path: Path) -> None:
    version = schema_version(db)
    if version > SCHEMA_VERSION:
        raise JournalError(
            "E0504",
            f"The journal has format {version}; this version knows formats up to {SCHEMA_VERSION}",
            where=str(path),
            why="A newer version of perdure wrote it.",
            fix="pip install --upgrade perdure, or use another data directory.",
        )


def _migrate(db: apsw.Connection) -> None:
    for migration in MIGRATIONS:
        if migration.version <= schema_version(db):
            continue
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in migration.statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {migration.version}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
