"""The driver's errors in our words, and the one that nobody may survive.

After a failed fsync the kernel may have dropped the dirty pages and marked them clean: a second fsync then
succeeds and the data is gone. So a failed write or sync is never retried: the process ends, and the next start
reads what the disk really has.
"""

import errno

import apsw

from perdure.core.errors import JournalError

# SQLite refuses these rows, whatever the state of the disk.
_MISFIT = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError)

IO_EXIT_CODE = 74  # EX_IOERR of sysexits.h


def is_full(error: Exception) -> bool:
    """Whether the disk has no room: nothing was written, and later commits may work again."""
    if isinstance(error, apsw.FullError):
        return True
    # The index of the write-ahead log could not grow; its own errno is not passed on by the driver.
    return (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    )


def is_fatal(error: Exception) -> bool:
    """Whether the disk failed in a way after which nothing in memory can be trusted."""
    return isinstance(error, apsw.IOError) and not is_full(error)


def translate(error: Exception, where: str) -> JournalError:
    """A driver's or system's error as a `JournalError`."""
    why = str(error) or type(error).__name__
    if isinstance(error, JournalError):
        return error
    if is_full(error) or (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}):
        return JournalError(
            "E0501",
            "The disk is full, so nothing was written; what was stored before is safe",
            where=where,
            why=why,
            fix="Free space on this disk; the server goes on by itself.",
        )
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return JournalError(
            "E0503",
            "The journal's file is damaged or is not a journal",
            where=where,
            why=why,
            fix="Restore the data directory from a backup.",
        )
    if not isinstance(error, (apsw.Error, OSError)) or isinstance(error, _MISFIT):
        # Not the disk's doing: waiting does not help, and nobody else's commit is touched (E10).
        return JournalError(
            "E0503",
            "What is stored does not fit what was to be written",
            where=where,
            why=why,
            fix="Keep a copy of the data directory and report it; other executions are not touched.",
        )
    return JournalError(
        "E0506",
        "The journal cannot be used at the moment",
        where=where,
        why=why,
        fix="Look at the disk, the directory's permissions and the server's log, then try again.",
    )


def not_open(where: str) -> JournalError:
    """E0506 for a journal that is closed or was never opened."""
    return JournalError(
        "E0506", "The journal is not open", where=where, fix="Start the server, or wait until it has started."
    )


def not_storable(error: Exception, execution_id: str) -> JournalError:
    """E0508 for a commit that cannot be written as JSON and text."""
    return JournalError(
        "E0508",
        "A value of this commit cannot be stored",
        where=f"execution {execution_id!a}",
        why=f"{type(error).__name__}: {error}",
        fix="Values must be JSON: valid Unicode text, numbers of at most 64 bits, not nested too deeply.",
    )


def conflict(execution_id: str, expected_seq: int, last_seq: int | None) -> JournalError:
    """E0505 for a commit whose `expected_seq` is not the last one."""
    why = "No such execution." if last_seq is None else f"Its last event is {last_seq}, not {expected_seq}."
    return JournalError(
        "E0505",
        "The execution moved on in the meantime, so nothing was written",
        where=f"execution {execution_id}",
        why=why,
        fix="Load the execution again and decide anew.",
        last_seq=last_seq,
        expected_seq=expected_seq,
    )
