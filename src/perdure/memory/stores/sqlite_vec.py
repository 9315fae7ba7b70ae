"""Memories in one SQLite file: durable, exact, searched by the sqlite-vec extension.

Three tables: the entries, their tokens (see `filters`), and the vectors in a `vec0` table, which is partitioned by
namespace and shares the entries' row numbers. They change in one transaction, WAL with `synchronous=FULL`, so what
`add` has answered survives a kill and a power cut. Several processes may use the file: writers wait for each other,
readers for nobody.

The connection lives in one thread. SQLite comes with `apsw`, since many builds of Python's own cannot load extensions.
"""

# ruff: noqa: S608 - only our own conditions are put in; values are bound

import array
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.core.ids import canonical_json
from perdure.memory.filters import EVERYTHING, MemoryFilter, tokens
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace
from perdure.memory.stores.failures import missing_library, other_space, unavailable, unreadable
from perdure.memory.stores.rows import metadata_text, stored_entry
from perdure.memory.stores.store_thread import StoreThread

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")

FORM = 1
_APPLICATION_ID = 0x7064766D  # "pdvm"
_BUSY_TIMEOUT_MS = 10_000
# Vectors that vec0 keeps together. Each namespace has at least one such chunk: 64 KiB with 256 numbers.
_CHUNK_VECTORS = 64
_MOST_RESULTS = 4096  # the limit of vec0
_FIELDS = ("id", "namespace", "content", "digest", "metadata", "created_at_ms", "expires_at_ms")
_COLUMNS = ", ".join(f"e.{field}" for field in _FIELDS)

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE memory_entries(
    entry INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    content TEXT NOT NULL,
    digest TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    UNIQUE(namespace, id)
) STRICT;
CREATE INDEX memory_by_time ON memory_entries(namespace, created_at_ms, id);
CREATE INDEX memory_by_expiry ON memory_entries(namespace, expires_at_ms); -- all that an open search reads
CREATE TABLE memory_tokens(
    token TEXT NOT NULL,
    entry INTEGER NOT NULL REFERENCES memory_entries(entry) ON DELETE CASCADE,
    PRIMARY KEY(token, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_tokens_by_entry ON memory_tokens(entry);
CREATE TABLE memory_space(only INTEGER PRIMARY KEY CHECK(only = 1), embedder TEXT NOT NULL, dimension INTEGER NOT NULL)
    STRICT;
PRAGMA user_version = {FORM};
"""


class SqliteVecStore:
    """A `MemoryStore` in a file. Needs sqlite-vec (`perdure[memory]`).

    Args:
        path: the file; it and its folder are made with the first use, readable by this user only.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._where = str(self._path)
        self._thread = StoreThread(self._where)
        self._connection: apsw.Connection | None = None
        self._space: VectorSpace | None = None

    @property
    def exact(self) -> bool:
        """It compares the query with every entry of the namespace that passes the filter."""
        return True

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store what is new, in one transaction."""

        def work(db: "apsw.Connection") -> list[Added]:
            self._settle_space(db, space)
            for namespace in {entry.namespace for entry in entries}:
                _forget_expired(db, namespace, now_ms)
            return [_insert(db, entry) for entry in entries]

        return await self._write(work)

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """The closest, all entries of the namespace compared."""
        condition, values = _condition(namespace, now_ms, where)
        statement = (
            f"WITH near AS (SELECT rowid, distance FROM memory_vectors WHERE embedding MATCH ? AND k = ?"
            f" AND namespace = ? AND rowid IN (SELECT e.entry FROM memory_entries e WHERE {condition}))"
            f" SELECT {_COLUMNS}, 1.0 - near.distance FROM near JOIN memory_entries e ON e.entry = near.rowid"
            f" ORDER BY near.distance, e.created_at_ms, e.id"
        )

        def work(db: "apsw.Connection") -> list[MemoryEntry]:
            if not self._knows_space(db, space):
                return []
            query = [_blob(vector), min(limit, _MOST_RESULTS), namespace, *values]
            return [self._entry(row) for row in db.execute(statement, query)]

        return await self._read(work)

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids."""
        condition, values = _condition(namespace, now_ms, where)
        listed = canonical_json(list(ids)).decode()

        def work(db: "apsw.Connection") -> int:
            return self._remove(
                db, f"{condition} AND e.id IN (SELECT value FROM json_each(?))", [*values, listed]
            )

        return await self._write(work)

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove all that pass."""
        condition, values = _condition(namespace, now_ms, where)
        return await self._write(lambda db: self._remove(db, condition, values))

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """All that pass, oldest first."""
        condition, values = _condition(namespace, now_ms, where)
        statement = (
            f"SELECT {_COLUMNS}, NULL FROM memory_entries e WHERE {condition}"
            " ORDER BY e.created_at_ms, e.id LIMIT ?"
        )
        most = -1 if limit is None else limit
        return await self._read(
            lambda db: [self._entry(row) for row in db.execute(statement, [*values, most])]
        )

    async def close(self) -> None:
        """Close the file."""

        def last() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await self._thread.close(last)

    # In the thread --------------------------------------------------------------------------------------------

    async def _read(self, work: "Callable[[apsw.Connection], T]") -> T:
        return await self._thread.run(lambda: self._guarded(work))

    async def _write(self, work: "Callable[[apsw.Connection], T]") -> T:
        return await self._thread.run(lambda: self._guarded(lambda db: self._in_transaction(db, work)))

    @staticmethod
    def _in_transaction(db: "apsw.Connection", work: "Callable[[apsw.Connection], T]") -> T:
        db.execute("BEGIN IMMEDIATE")  # waits for other writers here, not in the middle
        try:
            answer = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return answer

    def _guarded(self, work: "Callable[[apsw.Connection], T]") -> T:
        apsw, extension = _libraries()
        try:
            if self._connection is None:
                self._connection = self._open(apsw, extension)
            return work(self._connection)
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise unreadable(self._where, str(error)) from error
        except apsw.Error as error:
            raise unavailable(self._where, error) from error
        except OSError as error:
            raise unavailable(self._where, error) from error

    def _open(self, apsw: Any, extension: str) -> "apsw.Connection":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            self._path.touch(mode=0o600)
        db: Any = apsw.Connection(str(self._path))
        try:
            db.set_busy_timeout(_BUSY_TIMEOUT_MS)
            db.enable_load_extension(True)
            db.load_extension(extension)
            db.enable_load_extension(False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._make_tables(db)
        except BaseException:
            db.close()
            raise
        return db  # type: ignore[no-any-return]

    def _make_tables(self, db: "apsw.Connection") -> None:
        if db.pragma("user_version") == 0:
            self._in_transaction(db, self._make_new_tables)
        form = db.pragma("user_version")
        if form != FORM or db.pragma("application_id") != _APPLICATION_ID:
            raise unreadable(self._where, f"It has the form {form}, and this version knows {FORM}.")

    def _make_new_tables(self, db: "apsw.Connection") -> None:
        if db.pragma("user_version") != 0:  # another process that opened the new file was first
            return
        if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise unreadable(self._where, "It is a database of something else.")
        db.execute(_SCHEMA)

    def _knows_space(self, db: "apsw.Connection", asked: VectorSpace) -> bool:
        """Whether something was ever stored; E0803 if it was of another space."""
        if self._space is None:
            row = db.execute("SELECT embedder, dimension FROM memory_space").fetchone()
            self._space = VectorSpace(*row) if row else None
        if self._space is not None and self._space != asked:
            raise other_space(self._where, self._space, asked)
        return self._space is not None

    def _settle_space(self, db: "apsw.Connection", space: VectorSpace) -> None:
        if self._knows_space(db, space):
            return
        db.execute("INSERT INTO memory_space VALUES (1, ?, ?)", [space.embedder, space.dimension])
        db.execute(
            "CREATE VIRTUAL TABLE memory_vectors USING vec0(namespace TEXT PARTITION KEY,"
            f" embedding FLOAT[{int(space.dimension)}] DISTANCE_METRIC=cosine, chunk_size={_CHUNK_VECTORS})"
        )

    def _entry(self, row: Sequence[Any]) -> MemoryEntry:
        return stored_entry(self._where, **dict(zip((*_FIELDS, "score"), row, strict=True)))

    def _remove(self, db: "apsw.Connection", condition: str, values: Sequence[Any]) -> int:
        rows = [
            row[0] for row in db.execute(f"SELECT e.entry FROM memory_entries e WHERE {condition}", values)
        ]
        _drop(db, rows)
        return len(rows)


def _libraries() -> tuple[Any, str]:
    try:
        import apsw
        import sqlite_vec
    except ImportError as error:
        raise missing_library("sqlite-vec", "memory", error) from error
    return apsw, sqlite_vec.loadable_path()


def _insert(db: "apsw.Connection", entry: MemoryEntry) -> Added:
    there = db.execute(
        "SELECT digest FROM memory_entries WHERE namespace = ? AND id = ?", [entry.namespace, entry.id]
    ).fetchone()
    if there:
        return Added(entry.id, new=False, digest=there[0])
    metadata = metadata_text(entry)
    times = [entry.created_at_ms, entry.expires_at_ms]
    db.execute(
        "INSERT INTO memory_entries(namespace, id, content, digest, metadata, created_at_ms, expires_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [entry.namespace, entry.id, entry.content, entry.digest, metadata, *times],
    )
    row = db.last_insert_rowid()
    db.executemany("INSERT INTO memory_tokens VALUES (?, ?)", [(t, row) for t in tokens(entry.metadata)])
    db.execute(
        "INSERT INTO memory_vectors(rowid, namespace, embedding) VALUES (?, ?, ?)",
        [row, entry.namespace, _blob(entry.embedding or ())],
    )
    return Added(entry.id, new=True, digest=entry.digest)


def _forget_expired(db: "apsw.Connection", namespace: str, now_ms: int) -> None:
    rows = db.execute(
        "SELECT entry FROM memory_entries WHERE namespace = ? AND expires_at_ms <= ?", [namespace, now_ms]
    )
    _drop(db, [row[0] for row in rows])


def _drop(db: "apsw.Connection", rows: list[int]) -> None:
    db.executemany("DELETE FROM memory_vectors WHERE rowid = ?", [(row,) for row in rows])
    db.executemany("DELETE FROM memory_entries WHERE entry = ?", [(row,) for row in rows])


def _condition(namespace: str, now_ms: int, where: MemoryFilter) -> tuple[str, list[Any]]:
    """The filter as SQL over the table `e`, with its values."""
    parts = ["e.namespace = ?", "(e.expires_at_ms IS NULL OR e.expires_at_ms > ?)"]
    values: list[Any] = [namespace, now_ms]
    listed = "SELECT t.entry FROM memory_tokens t WHERE t.token IN (SELECT value FROM json_each(?))"
    for group in where.groups():
        parts.append(f"e.entry IN ({listed})")
        values.append(canonical_json(group).decode())
    if banned := where.banned():
        parts.append(f"e.entry NOT IN ({listed})")
        values.append(canonical_json(banned).decode())
    for text, bound in (
        ("e.created_at_ms >= ?", where.created_from_ms),
        ("e.created_at_ms < ?", where.created_before_ms),
    ):
        if bound is not None:
            parts.append(text)
            values.append(bound)
    return " AND ".join(parts), values


def _blob(vector: Vector) -> bytes:
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
