"""The default adapter of `Journal` and `Catalog`: one SQLite file, `perdure.db`, in a data directory.

WAL with `synchronous=FULL`: a commit that was answered is on disk. One thread writes (`writer`), a few read
(`reader`); the event loop only encodes and waits. What a crash leaves is by construction a prefix of the commits:
SQLite recovers the log when the file is next opened, and nothing was answered before it was in there.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from perdure.clock import Clock
from perdure.core.errors import JournalError
from perdure.core.events import Recorded
from perdure.core.plan import Plan
from perdure.engine.journal import catalog, ownership, reader
from perdure.engine.journal.audit import audit
from perdure.engine.journal.batch import Done, make_member
from perdure.engine.journal.failures import not_open, not_storable, translate
from perdure.engine.journal.reader import Readers
from perdure.engine.journal.schema import DATABASE_FILE, SqliteOptions, check_sqlite, connect_writer
from perdure.engine.journal.writer import Verb, Writer
from perdure.engine.ports import ApprovalRow, Commit, DeployedAgent, ExecutionFilter, StoredExecution

T = TypeVar("T")


class SqliteJournal:
    """`Journal` and `Catalog` on SQLite. Nothing is touched before `open`.

    Args:
        data_dir: made when it is absent, for this user alone.
        clock: measures how long a sync takes; times that are stored come with each verb.
        options: see `SqliteOptions`.
        exit_process: ends the process at once when the disk fails; a fake in tests.
    """

    def __init__(
        self,
        data_dir: Path,
        clock: Clock,
        *,
        options: SqliteOptions | None = None,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._options = options or SqliteOptions()
        self._exit_process = exit_process
        self._where = str(data_dir / DATABASE_FILE)
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._lock: int | None = None

    # Opening and closing --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the data directory for this process alone and bring its schema up to date.

        Raises:
            JournalError: E0501 to E0504, E0506, E0507.
        """
        if self._lock is not None:
            raise JournalError(
                "E0502", "This journal is open already", where=self._where, fix="Close it first."
            )
        check_sqlite(apsw.sqlite_lib_version())
        readers = Readers(self._data_dir, self._options)
        try:
            writer = await readers.off_loop(self._take)
        except BaseException:
            readers.close()
            raise
        writer.start(asyncio.get_running_loop())
        self._readers, self._writer = readers, writer

    def _take(self) -> Writer:
        try:
            lock = ownership.take(self._data_dir)
        except OSError as error:
            raise translate(error, str(self._data_dir)) from error
        try:
            db = connect_writer(self._data_dir, self._options)
            try:
                writer = Writer(db, self._where, self._clock, self._options, self._exit_process)
            except apsw.Error as error:
                db.close()
                raise translate(error, self._where) from error
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return writer

    async def close(self) -> None:
        """Write what was given, answer it, then let go of the directory. Closing twice does nothing."""
        readers, writer, lock = self._readers, self._writer, self._lock
        if readers is None or writer is None or lock is None:
            return
        self._readers = self._writer = None

        def let_go() -> None:
            try:
                writer.drain()
                readers.close()
                writer.close()  # the last connection to close also removes the log
            finally:
                os.close(lock)
                self._lock = None

        await asyncio.to_thread(let_go)

    # Journal --------------------------------------------------------------------------------------------

    def commit(self, commit: Commit, done: Done) -> None:
        """Append durably; then call *done* once, on the event loop. See `ports.Journal.commit`.

        Besides the port's errors *done* can get E0508: a value is no JSON, or no valid text.
        """
        try:
            if self._writer is None:
                raise not_open(self._where)
            self._writer.submit(make_member(commit, done))
        except JournalError as error:
            asyncio.get_running_loop().call_soon(done, error)

    async def load(self, execution_id: str) -> StoredExecution | None:
        """One execution's row."""
        return await self._ask(reader.load, execution_id)

    async def events(self, execution_id: str, after: int = 0, limit: int | None = None) -> list[Recorded]:
        """The events with seq over *after*, checked against the chain, bodies put back."""
        return await self._ask(reader.events, execution_id, after, limit)

    async def find(self, where: ExecutionFilter) -> list[StoredExecution]:
        """Executions, newest first, without their state."""
        return await self._ask(reader.find, where)

    async def unfinished(self) -> list[StoredExecution]:
        """What a restart takes up, oldest first."""
        return await self._ask(reader.unfinished)

    async def orphans(self) -> list[str]:
        """Ids of the executions that have not ended although their parent has, or waits for them no more."""
        return await self._ask(reader.orphans)

    async def due(self, now_ms: int, limit: int) -> list[str]:
        """Ids to wake, the longest overdue first."""
        return await self._ask(reader.due, now_ms, limit)

    async def next_due(self) -> int | None:
        """The next time to wake one."""
        return await self._ask(reader.next_due)

    async def counts(self) -> dict[str, int]:
        """How many executions have each status: one pass over an index, 20 to 40 ms for 100,000 of them."""
        return await self._ask(reader.counts)

    async def approvals(
        self,
        *,
        execution_id: str | None = None,
        pending: bool = True,
        limit: int = 200,
        tree: bool = False,
    ) -> list[ApprovalRow]:
        """Approvals, the longest waiting first."""
        return await self._ask(reader.approvals, execution_id, pending=pending, limit=limit, tree=tree)

    async def approval(self, approval_id: str) -> ApprovalRow | None:
        """One approval."""
        return await self._ask(reader.approval, approval_id)

    def statistics(self) -> dict[str, float]:
        """commits, events, syncs, bytes_written, checkpoints, last_sync_seconds, and waiting (commits in the queue)."""
        writer = self._writer
        return {} if writer is None else {**writer.counters, "waiting": float(writer.waiting)}

    async def audit(self) -> list[str]:
        """Read everything; what is wrong, one line each. Takes as long as the file is large.

        Raises:
            JournalError: E0503, E0506.
        """
        return await self._ask(audit)

    # Catalog --------------------------------------------------------------------------------------------

    async def put_plan(self, plan_hash: str, plan: Plan, now_ms: int) -> None:
        """Store a plan under its hash."""
        try:
            payload = msgspec.json.encode(plan)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise not_storable(error, f"plan {plan_hash}") from error
        await self._tell(lambda db: catalog.put_plan(db, plan_hash, payload, now_ms))

    async def get_plan(self, plan_hash: str) -> Plan | None:
        """The plan of this hash."""
        return await self._ask(catalog.get_plan, plan_hash)

    async def deploy(self, agent: str, plan_hash: str, now_ms: int) -> int:
        """Make a plan the current one of an agent's name; its version."""
        version: int = await self._tell(lambda db: catalog.deploy(db, agent, plan_hash, now_ms))
        return version

    async def deployed(self, agent: str | None = None) -> list[DeployedAgent]:
        """The current plans by name."""
        return await self._ask(catalog.deployed, agent)

    # ----------------------------------------------------------------------------------------------------

    async def _ask(self, question: Callable[..., T], *args: Any, **named: Any) -> T:
        if self._readers is None:
            raise not_open(self._where)
        return await self._readers.ask(question, *args, **named)

    async def _tell(self, verb: Verb) -> Any:
        """Run a verb in the writer's thread; the answer comes after its commit (E2)."""
        if self._writer is None:
            raise not_open(self._where)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(result: Any) -> None:
            if answer.cancelled():
                return
            if isinstance(result, JournalError):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self._writer.submit((verb, settle))
        return await answer
