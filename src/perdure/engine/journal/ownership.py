"""One server for one data directory: an advisory lock that the kernel drops when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from perdure.core.errors import JournalError

LOCK_FILE = "perdure.lock"


def take(data_dir: Path) -> int:
    """Make the directory if need be and lock it; the file holds this process's id for people to read.

    Returns:
        A descriptor that holds the lock until it is closed.

    Raises:
        JournalError: E0502 another process has the lock; its id is in the text and in the field `pid`.
        OSError: the directory cannot be written.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise JournalError(
            "E0502",
            f"Another server uses this data directory (process {pid})",
            where=str(data_dir),
            why="The journal has one writer.",
            fix=f"Stop process {pid}, or give this server another data directory.",
            pid=int(pid) if pid.isdecimal() else None,
        ) from None
    except BaseException:
        os.close(handle)
        raise
    return handle
