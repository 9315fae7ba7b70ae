"""Memories in Postgres, searched by the pgvector extension: for several machines.

One table, made with the first use, and one of two lines that says its form and its vector space. Search is exact by
default; with `index="hnsw"` it is approximate and stays quick with millions of entries. Verbs are one transaction
each. Two processes that add the same id wait for each other, and the second is told that it was there.

A pool of connections belongs to the event loop that it was made in, so the store has a loop of its own, in a thread, and
may be used from any other.
"""

# ruff: noqa: S608 - only the table's checked name and our own conditions are put in; values are bound

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from perdure.client.portal import Portal
from perdure.core.errors import SemanticMemoryError
from perdure.memory.filters import EVERYTHING, MemoryFilter, tokens
from perdure.memory.ports import Added, MemoryEntry, Vector, VectorSpace
from perdure.memory.stores.failures import closed, missing_library, other_space, unavailable, unreadable
from perdure.memory.stores.rows import metadata_text, stored_entry

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

FORM = 1
_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_MOST_CONNECTIONS = 8
_TRIES = 4  # transactions that the database breaks off to end a deadlock
_HNSW_DIMENSIONS = 2000  # what pgvector can index
_HNSW_CANDIDATES = (100, 1000)  # at least, and the most that pgvector takes
_COLUMNS = "id, namespace, content, digest, metadata, created_at_ms, expires_at_ms"


class PgVectorStore:
    """A `MemoryStore` in Postgres 13 or newer with pgvector 0.8 or newer. Needs asyncpg (`perdure[pgvector]`).

    Args:
        dsn: `postgresql://user:password@host:port/database`; the user may create tables.
        table: the table's name, small letters, digits and `_`; a second one with `_about` is made beside it.
        index: `none` for exact search, `hnsw` for an approximate index. Takes effect when the table is made.
    """

    def __init__(
        self, dsn: str, *, table: str = "perdure_memory", index: Literal["none", "hnsw"] = "none"
    ) -> None:
        if not _TABLE.fullmatch(table) or index not in {"none", "hnsw"}:
            raise SemanticMemoryError(
                "E0802",
                "The table or the kind of index is not valid",
                why=f"They are {table!r} and {index!r}.",
                fix='At most 41 small letters, digits and "_"; "none" or "hnsw".',
            )
        self._dsn = dsn
        self._table = table
        self._hnsw = index == "hnsw"
        self._where = f"Postgres table {table}"
        self._portal = Portal("perdure-memory-postgres")
        self._lock = threading.Lock()
        self._pool: asyncpg.Pool[Any] | None = None
        self._ready = False
        self._space: VectorSpace | None = None
        self._closed = False

    @property
    def exact(self) -> bool:
        """Whether it was made without an approximate index."""
        return not self._hnsw

    async def add(self, space: VectorSpace, entries: Sequence[MemoryEntry], now_ms: int) -> list[Added]:
        """Store what is new, in one transaction."""
        # In one order everywhere, so that two batches with the same ids do not block each other for ever.
        ordered = sorted(entries, key=lambda entry: entry.id)
        rows = [
            (
                *(e.namespace, e.id, e.content, e.digest, metadata_text(e), tokens(e.metadata)),
                *(e.created_at_ms, e.expires_at_ms, _text(e.embedding or ())),
            )
            for e in ordered
        ]

        async def work(db: "asyncpg.Connection[Any]") -> list[Added]:
            await self._settle_space(db, space)
            await db.execute(
                f"DELETE FROM {self._table} WHERE (namespace, id) IN (SELECT namespace, id FROM {self._table}"
                " WHERE namespace = ANY($1) AND expires_at_ms <= $2 FOR UPDATE SKIP LOCKED)",
                sorted({entry.namespace for entry in entries}),
                now_ms,
            )
            # The empty update locks a row that is there and gives its digest; xmax is 0 in a row that is new.
            found = await db.fetchmany(
                f"INSERT INTO {self._table}(namespace, id, content, digest, metadata, tokens, created_at_ms,"
                " expires_at_ms, embedding) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::vector)"
                " ON CONFLICT (namespace, id) DO UPDATE SET id = EXCLUDED.id"
                " RETURNING id, digest, xmax = 0 AS new",
                rows,
            )
            added = {row["id"]: Added(row["id"], new=row["new"], digest=row["digest"]) for row in found}
            return [added[entry.id] for entry in entries]

        return await self._transaction(work)

    async def search(
        self,
        space: VectorSpace,
        namespace: str,
        vector: Vector,
        limit: int,
        now_ms: int,
        where: MemoryFilter = EVERYTHING,
    ) -> list[MemoryEntry]:
        """The closest; with an index, nearly always."""
        condition, values = _condition(namespace, now_ms, where)
        n = len(values)
        # In a subquery the text is read once; a bare cast would be made again for each row by a generic plan.
        distance = f"embedding <=> (SELECT ${n + 1}::text::vector)"
        statement = (
            f"SELECT {_COLUMNS}, 1 - ({distance}) AS score FROM {self._table}"
            f" WHERE {condition} ORDER BY {distance} LIMIT ${n + 2}"
        )

        async def work(db: "asyncpg.Connection[Any]") -> list[MemoryEntry]:
            if not await self._knows_space(db, space):
                return []
            if self._hnsw:
                least, most = _HNSW_CANDIDATES
                await db.execute(f"SET LOCAL hnsw.ef_search = {min(most, max(least, limit))}")
                await db.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            return [self._entry(row) for row in await db.fetch(statement, *values, _text(vector), limit)]

        return await self._transaction(work)

    async def delete(
        self, namespace: str, ids: Sequence[str], now_ms: int, where: MemoryFilter = EVERYTHING
    ) -> int:
        """Remove the entries with these ids."""
        condition, values = _condition(namespace, now_ms, where)
        return await self._remove(f"{condition} AND id = ANY(${len(values) + 1})", [*values, list(ids)])

    async def clear(self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING) -> int:
        """Remove all that pass."""
        return await self._remove(*_condition(namespace, now_ms, where))

    async def list_all(
        self, namespace: str, now_ms: int, where: MemoryFilter = EVERYTHING, limit: int | None = None
    ) -> list[MemoryEntry]:
        """All that pass, oldest first."""
        condition, values = _condition(namespace, now_ms, where)
        statement = (
            f"SELECT {_COLUMNS}, NULL::float8 AS score FROM {self._table} WHERE {condition}"
            f' ORDER BY created_at_ms, id COLLATE "C" LIMIT ${len(values) + 1}'
        )

        async def work(db: "asyncpg.Connection[Any]") -> list[MemoryEntry]:
            return [self._entry(row) for row in await db.fetch(statement, *values, limit)]

        return await self._transaction(work)

    async def close(self) -> None:
        """Close the connections and end the store's thread."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if was_closed:
            return

        async def last() -> None:
            pool, self._pool = self._pool, None
            if pool is not None:
                await pool.close()  # waits for what is running

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(last(), self._portal.loop()))
        await asyncio.to_thread(self._portal.close)

    # ----------------------------------------------------------------------------------------------------------

    async def _remove(self, condition: str, values: Sequence[Any]) -> int:
        statement = f"DELETE FROM {self._table} WHERE {condition}"

        async def work(db: "asyncpg.Connection[Any]") -> int:
            return int((await db.execute(statement, *values)).rpartition(" ")[2])  # "DELETE 3"

        return await self._transaction(work)

    async def _transaction(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[T]]") -> T:
        with self._lock:
            if self._closed:
                raise closed(self._where)
            future = asyncio.run_coroutine_threadsafe(self._tried(work), self._portal.loop())
        return await asyncio.wrap_future(future)

    async def _tried(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[T]]") -> T:
        asyncpg = _library()
        for attempt in range(_TRIES):
            try:
                if self._pool is None:
                    # Connections are made when they are needed, so this waits for nothing and makes one pool.
                    self._pool = asyncpg.create_pool(self._dsn, min_size=0, max_size=_MOST_CONNECTIONS)
                pool = await self._pool
                async with pool.acquire() as db, db.transaction():
                    if not self._ready:
                        await self._make_tables(db)
                    answer = await work(db)
                self._ready = True
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if attempt == _TRIES - 1:
                    raise unavailable(self._where, error) from error
            except asyncpg.UndefinedFileError as error:
                raise SemanticMemoryError(
                    "E0801",
                    "The pgvector extension is not installed in the database server",
                    where=self._where,
                    why=str(error),
                    fix="Install the server's pgvector package, or use an image that has it.",
                ) from error
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                if self._closed:
                    raise closed(self._where) from error
                raise unavailable(self._where, error) from error
            else:
                return answer
        raise AssertionError("unreachable")

    async def _make_tables(self, db: "asyncpg.Connection[Any]") -> None:
        # One process at a time: even IF NOT EXISTS fails when two create the same thing at once.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"perdure {self._table}")
        if not await db.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'vector'"):
            await db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        await db.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table}_about(key text PRIMARY KEY, value text NOT NULL)"
        )
        await db.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table}(namespace text NOT NULL, id text NOT NULL,"
            " content text NOT NULL, digest text NOT NULL, metadata text NOT NULL, tokens text[] NOT NULL,"
            " created_at_ms bigint NOT NULL, expires_at_ms bigint, embedding vector NOT NULL,"
            " PRIMARY KEY (namespace, id))"
        )
        for name, what in (
            ("time", "(namespace, created_at_ms, id)"),
            ("expiry", "(namespace, expires_at_ms) WHERE expires_at_ms IS NOT NULL"),
            ("tokens", "USING gin (tokens)"),
        ):
            on = f"{self._table} {what}" if what.startswith("USING") else f"{self._table}{what}"
            await db.execute(f"CREATE INDEX IF NOT EXISTS {self._table}_{name} ON {on}")
        await db.execute(
            f"INSERT INTO {self._table}_about VALUES ('form', $1) ON CONFLICT (key) DO NOTHING", str(FORM)
        )
        form = await db.fetchval(f"SELECT value FROM {self._table}_about WHERE key = 'form'")
        if form != str(FORM):
            raise unreadable(self._where, f"It has the form {form}, and this version knows {FORM}.")

    async def _knows_space(self, db: "asyncpg.Connection[Any]", asked: VectorSpace) -> bool:
        """Whether something was ever stored; E0803 if it was of another space."""
        if self._space is None:
            about = dict(await db.fetch(f"SELECT key, value FROM {self._table}_about"))
            if "embedder" in about:
                self._space = VectorSpace(about["embedder"], int(about["dimension"]))
        if self._space is not None and self._space != asked:
            raise other_space(self._where, self._space, asked)
        return self._space is not None

    async def _settle_space(self, db: "asyncpg.Connection[Any]", space: VectorSpace) -> None:
        if await self._knows_space(db, space):
            return
        await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"perdure {self._table}")
        if await self._knows_space(db, space):  # another process was first
            return
        if self._hnsw and space.dimension > _HNSW_DIMENSIONS:
            raise SemanticMemoryError(
                "E0802", f"pgvector indexes at most {_HNSW_DIMENSIONS} numbers", fix='Use index="none".'
            )
        await db.executemany(
            f"INSERT INTO {self._table}_about VALUES ($1, $2)",
            [("embedder", space.embedder), ("dimension", str(space.dimension))],
        )
        column = f"ALTER TABLE {self._table} ALTER COLUMN embedding TYPE vector({int(space.dimension)})"
        await db.execute(column)
        if self._hnsw:
            await db.execute(
                f"CREATE INDEX {self._table}_hnsw ON {self._table} USING hnsw (embedding vector_cosine_ops)"
            )

    def _entry(self, row: Any) -> MemoryEntry:
        return stored_entry(self._where, **dict(row))


def _library() -> Any:
    try:
        import asyncpg
    except ImportError as error:
        raise missing_library("asyncpg", "pgvector", error) from error
    return asyncpg


def _condition(namespace: str, now_ms: int, where: MemoryFilter) -> tuple[str, list[Any]]:
    """The filter as SQL, with the values of `$1` and so on."""
    values: list[Any] = [namespace, now_ms]
    parts = ["namespace = $1", "(expires_at_ms IS NULL OR expires_at_ms > $2)"]

    def add(text: str, value: Any) -> None:
        values.append(value)
        parts.append(text.format(f"${len(values)}"))

    for group in where.groups():
        add("tokens && {}::text[]", group)
    if banned := where.banned():
        add("NOT tokens && {}::text[]", banned)
    if where.created_from_ms is not None:
        add("created_at_ms >= {}", where.created_from_ms)
    if where.created_before_ms is not None:
        add("created_at_ms < {}", where.created_before_ms)
    return " AND ".join(parts), values


def _text(vector: Vector) -> str:
    return "[" + ",".join(map(repr, map(float, vector))) + "]"
