"""Starting this user's server in the background, once, however many processes want it at the same time.

The one that gets the lock file starts it; the others wait for the lock and then find it running. The server
is a session of its own: it lives on when the program ends, and an interrupt of the program does not reach it.

It is a stopgap, and gives way to a server that somebody starts in the foreground on the same home, as systemd or a
container does (`cli.foreground`). Whoever starts a server of either kind holds the lock file until it listens, so that
the two never start at the same time and take port or data directory from each other. A foreground server that has
gone without a stop is given a moment to come back before another is started in its place (`await_return`).
"""

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from perdure.client.discovery import read_server_file
from perdure.clock import Clock
from perdure.core.errors import ClientError

_log = logging.getLogger("perdure.client")

START_TIMEOUT_S = 30.0
RETURN_S = 5.0  # systemd and containers start a server again within a second or so of its death
POLL_S = 0.05
LOCK_FILE = "server.start.lock"
GIVES_WAY = "--gives-way"  # of `perdure server start`; also how a process shows that it is such a server
TAIL_LINES = 15


class Found(NamedTuple):
    """What a look for a server found: where a healthy one answers, or that one is on its way out."""

    url: str | None
    stopping: bool = False


Probe = Callable[[], Awaitable[Found]]


async def ensure_server(home: Path, environ: Mapping[str, str], clock: Clock, probe: Probe) -> str:
    """The URL of this user's server, which is started unless it runs.

    Raises:
        ClientError: E0702 it does not become healthy in 30 s, or ends at once; `why` has the end of its log.
    """
    await asyncio.to_thread(home.mkdir, mode=0o700, parents=True, exist_ok=True)
    deadline = clock.monotonic() + START_TIMEOUT_S
    with lock_file(home / LOCK_FILE) as try_lock:
        while not try_lock():
            # Another process is starting it; when it is done, the probe finds the server without the lock.
            if (found := await probe()).url is not None:
                return found.url
            if clock.monotonic() > deadline:
                raise _failed(home, "another process has been starting it for too long")
            await asyncio.sleep(POLL_S)
        # While an old one stops, it still has the data directory.
        while (found := await probe()).stopping and clock.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        if found.url is not None:
            return found.url
        process = _spawn(home, environ)
        while (found := await probe()).url is None:
            if process.poll() is not None:
                raise _failed(home, f"it ended with status {process.returncode}")
            if clock.monotonic() > deadline:
                process.terminate()
                raise _failed(home, f"it did not answer within {START_TIMEOUT_S:g} s")
            await asyncio.sleep(POLL_S)
        return found.url


async def await_return(home: Path, clock: Clock, probe: Probe) -> str | None:
    """The URL of a foreground server that was killed and is back within some seconds; None: it is not, or there was none.

    One that was stopped in good order has taken its `server.json` with it and is not waited for.
    """
    found = read_server_file(home)
    if found is None or found.gives_way:
        return None
    _log.info("the server of %s is gone and was not stopped; it has %g s to come back", home, RETURN_S)
    deadline = clock.monotonic() + RETURN_S
    while (url := (await probe()).url) is None and clock.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    return url


@contextmanager
def lock_file(path: Path) -> Iterator[Callable[[], bool]]:
    """A function that tries to take the lock; what it took is let go at the end of the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield try_lock
    finally:
        os.close(descriptor)


def _spawn(home: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server, detached, its output appended to `server.log`."""
    log = os.open(home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
            [sys.executable, "-m", "perdure", "server", "start", "--foreground", GIVES_WAY],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environ, "PERDURE_HOME": str(home)},
            start_new_session=True,
        )
    finally:
        os.close(log)
    # Reaps it if it ends before this program does; the thread never keeps the program from ending.
    threading.Thread(target=process.wait, name="perdure-server-reaper", daemon=True).start()
    return process


def _failed(home: Path, why: str) -> ClientError:
    log = home / "server.log"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        lines = []
    tail = "".join(f"\n    {line}" for line in lines)
    return ClientError(
        "E0702",
        "The background server did not start",
        where=str(log),
        why=f"{why}; the log ends with:{tail}" if tail else why,
        fix="Run `perdure server start --foreground` to see what stops it, or use AgentRuntime(embedded=True).",
    )
