"""The one thread that writes: group commit, checkpoints, and what a failing disk means.

Commits wait in a queue. The thread takes all that are there, writes them in one transaction, and syncs once;
what arrives meanwhile is the next group. So the number of syncs a second stays what the disk can do while the
number of commits grows with the load. After COMMIT the answers of the whole group go to the event loop in one call.

A failing group is rolled back, and then:

* the disk is full: every member gets E0501; the next group tries again;
* a write or a sync failed: the process ends with status 74 and nobody is answered (see `failures`);
* anything else: the members are tried one by one, so that only the one at fault gets E0506.

Checkpoints (copying the log into the database file) run here too, between groups: one connection that both
writes and checkpoints cannot meet the WAL-reset bug, and a passive checkpoint waits for no reader.
"""

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw

from perdure.clock import Clock
from perdure.engine.faults import crash_point
from perdure.engine.journal.batch import Done, Member, Outcome, Staged
from perdure.engine.journal.failures import IO_EXIT_CODE, is_fatal, is_full, translate
from perdure.engine.journal.heads import Heads
from perdure.engine.journal.payloads import kinds_of
from perdure.engine.journal.schema import PAGE_BYTES, SqliteOptions

_FRAME_BYTES = PAGE_BYTES + 24  # a page in the write-ahead log
_GROUP_MEMBERS = 2_000
_GROUP_BYTES = 16 * 1024 * 1024
_PATIENCE = 4  # checkpoints that readers kept from finishing, before one that waits for them
_PATIENT_MS = 100  # how long that one waits: all commits wait with it

# A question that writes (plans, deployments): runs alone, in a transaction of its own.
Verb = Callable[[apsw.Connection], Any]
Answer = Callable[[Any], None]
_Item = Member | tuple[Verb, Answer] | None


class Writer:
    """Owns the connection *db* from `start` to `close`.

    Args:
        where: the database file, for messages.
        exit_process: ends the process at once, with a status; a fake in tests may return.
    """

    def __init__(
        self,
        db: apsw.Connection,
        where: str,
        clock: Clock,
        options: SqliteOptions,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.counters = dict.fromkeys(
            ("commits", "events", "syncs", "bytes_written", "checkpoints", "last_sync_seconds"), 0.0
        )
        self._db = db
        self._where = where
        self._clock = clock
        self._exit_process = exit_process
        self._heads = Heads(db)
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="perdure-journal-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._dead = False
        self._busy_ms = options.busy_ms
        self._log_pages = 0
        self._checkpoint_pages = max(1, options.checkpoint_bytes // _FRAME_BYTES)
        self._next_checkpoint = self._checkpoint_pages
        db.set_wal_hook(self._on_log)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to write; answers go to *loop*."""
        self._loop = loop
        self._thread.start()

    def submit(self, item: Member | tuple[Verb, Answer]) -> None:
        """Put into the queue; never waits."""
        self._queue.put(item)

    @property
    def waiting(self) -> int:
        """Commits that are not yet part of a group."""
        return self._queue.qsize()

    def drain(self) -> None:
        """Write what is in the queue, then end the thread. Call it outside the event loop."""
        self._queue.put(None)
        self._thread.join()

    def close(self) -> None:
        """Copy the log into the database file and close the connection, after `drain`."""
        if not self._dead:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()

    # The thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._dead:
            item = self._queue.get()
            group: list[Member] = []
            size = 0
            while isinstance(item, Member):
                group.append(item)
                size += item.size
                full = size >= _GROUP_BYTES or len(group) >= _GROUP_MEMBERS
                if full or self._queue.empty():
                    break
                item = self._queue.get()
            if group:
                self._write_group(group)
                self._checkpoint_if_large()
            if item is None:
                return
            if isinstance(item, tuple):
                self._ask(*item)

    def _write_group(self, group: Sequence[Member]) -> None:
        try:
            answers = self._transaction(group)
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: every failure is answered or fatal
            if not self._roll_back(error):
                return
            if is_full(error) or len(group) == 1:
                failure = translate(error, self._where)
                answers = [(member.done, failure) for member in group]
            else:
                for member in group:
                    self._write_group([member])
                return
        self._deliver(answers)

    def _transaction(self, group: Sequence[Member]) -> list[tuple[Done, Outcome]]:
        crash_point("before_commit", _kinds(group))
        self._db.execute("BEGIN IMMEDIATE")
        staged = Staged(self._db, self._heads, group)
        staged.write(self._db)
        crash_point("mid_commit", _kinds(group))
        began = self._clock.monotonic()
        self._db.execute("COMMIT")
        counters = self.counters
        if staged.heads:
            counters["last_sync_seconds"] = self._clock.monotonic() - began
            counters["syncs"] += 1
            counters["commits"] += sum(outcome is None for outcome in staged.outcomes)
            counters["events"] += staged.event_count
        self._heads.settle(staged.heads, staged.next_xid)
        crash_point("after_commit", _kinds(group))
        return [(member.done, outcome) for member, outcome in zip(group, staged.outcomes, strict=True)]

    def _ask(self, verb: Verb, answer: Answer) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = verb(self._db)
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - as in `_write_group`
            if not self._roll_back(error):
                return
            result = translate(error, self._where)
        self._deliver([(answer, result)])

    def _roll_back(self, error: Exception) -> bool:
        """Undo the transaction; False when the disk failed and the process is over."""
        if not is_fatal(error):
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            except apsw.Error as second:
                error = second
            else:
                self._heads.forget()
                return True
        self._die(error)
        return False

    def _die(self, error: Exception) -> None:
        self._dead = True
        sys.stderr.write(
            f"perdure: the disk failed while the journal was written ({self._where}: {error}). Stopping at once:"
            " what was acknowledged is safe, what was not is lost. Check the disk, then start the server again.\n"
        )
        sys.stderr.flush()
        self._exit_process(IO_EXIT_CODE)

    def _deliver(self, answers: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_call_all, self._loop, answers)
        except RuntimeError:  # the loop was closed without the journal: nobody is left to be told
            self._dead = True

    # Checkpoints ----------------------------------------------------------------------------------------

    def _on_log(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        """SQLite says, after each commit, how long the log is; it starts anew after a whole checkpoint."""
        if pages < self._log_pages:
            self._log_is_new()
        self.counters["bytes_written"] += (pages - self._log_pages) * _FRAME_BYTES
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _log_is_new(self) -> None:
        self._log_pages = 0
        self._next_checkpoint = self._checkpoint_pages

    def _checkpoint_if_large(self) -> None:
        if self._dead or self._log_pages < self._next_checkpoint:
            return
        if self._log_pages < _PATIENCE * self._checkpoint_pages:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._next_checkpoint = self._log_pages + self._checkpoint_pages
        elif not self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE):
            self._next_checkpoint = self._log_pages + self._checkpoint_pages

    def _checkpoint(self, mode: int) -> bool:
        """Copy the log into the database file; whether the log was emptied."""
        crash_point("before_checkpoint")
        emptied = mode == apsw.SQLITE_CHECKPOINT_TRUNCATE
        try:
            self._db.set_busy_timeout(_PATIENT_MS)
            self._db.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if is_fatal(error):
                self._die(error)
            return False  # full or busy: the log keeps all of it, and the next one tries again
        finally:
            self._db.set_busy_timeout(self._busy_ms)
        self.counters["checkpoints"] += 1
        if emptied:
            self._log_is_new()
        return emptied


def _kinds(group: Sequence[Member]) -> Iterator[str]:
    return (kind for member in group for kind in kinds_of(member.commit.events))


def _call_all(loop: asyncio.AbstractEventLoop, answers: Sequence[tuple[Callable[[Any], None], Any]]) -> None:
    """Give each its answer; one that raises does not keep the others from theirs (E10)."""
    for done, answer in answers:
        try:
            done(answer)
        except Exception as error:  # noqa: BLE001 - reported as the loop reports a failing callback
            loop.call_exception_handler({"message": "A commit's callback failed", "exception": error})
