"""The server in this process, and in place of one in the background.

Where systemd, a container or a person in a terminal keeps a server running (`perdure server start --foreground`), the
clients of the same home may have started one of their own while it was away. That one is a stopgap: it is asked to
stop, what it was doing is taken up from the journal, and its clients find the new server by themselves. Without this
the two would stand in each other's way: the one that is meant to run would end with E0502 or E0614, again and again.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from perdure import app as door
from perdure.cli.options import Invocation
from perdure.client.api import ApiClient
from perdure.client.background import GIVES_WAY, LOCK_FILE, START_TIMEOUT_S, lock_file
from perdure.client.discovery import read_server_file
from perdure.client.transport import HttpTransport
from perdure.core.errors import ClientError, PerdureError
from perdure.wire.types import HealthAnswer

STOP_S = 30.0
POLL_S = 0.1


def serve_in_foreground(call: Invocation, config: door.AppConfig) -> None:
    """Run the server until it is told to stop; one that runs in the background on its data directory is stopped first.

    Raises:
        ClientError: E0705 the one in the background does not stop.
        PerdureError: as `app.serve`.
    """
    if config.gives_way:  # whoever started it holds the lock
        door.serve(config, call.environ)
        return
    with contextlib.ExitStack() as held:
        asyncio.run(_take_place(call, config.data_dir, _lock(config.data_dir, held)))
        door.serve(config, call.environ, held.close)


def _lock(home: Path, held: contextlib.ExitStack) -> Callable[[], bool]:
    """A function that tries to get the lock of those who start a server."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return held.enter_context(lock_file(home / LOCK_FILE))
    except OSError:  # a home that cannot be used: starting the server says so in its own words
        return lambda: True


async def _take_place(call: Invocation, home: Path, try_lock: Callable[[], bool]) -> None:
    """Keep clients from starting a server, and stop the one that they have started."""
    give_up_at = call.clock.monotonic() + START_TIMEOUT_S
    # Not for ever: at last the port and the data directory decide who runs.
    while not try_lock() and call.clock.monotonic() < give_up_at:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    found = read_server_file(home)
    if found is None or not found.gives_way or not shown_as(found.pid, GIVES_WAY):
        return
    if await _answers(call, found.url):
        call.screen.note(f"Taking the place of the server in the background (pid {found.pid})")
        await stop_process(call, home, found.pid)


async def _answers(call: Invocation, url: str) -> bool:
    """Whether a server is there, be it one of another version."""
    try:
        return await health(call, url) is not None
    except PerdureError:
        return True


async def health(call: Invocation, url: str) -> HealthAnswer | None:
    """What the server at *url* says of itself; None when nothing answers there."""
    client = ApiClient(HttpTransport(url, connect_timeout_s=2.0), call.clock)
    try:
        return await client.health(timeout_s=2.0)
    except PerdureError as error:
        if error.code == "E0701":
            return None
        raise
    finally:
        await client.aclose()


async def stop_process(call: Invocation, home: Path, pid: int) -> None:
    """Ask the server of *home* to stop, and wait until its process is gone.

    Raises:
        ClientError: E0705 it is still there after 30 s.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    give_up_at = call.clock.monotonic() + STOP_S
    while shown_as(pid, "perdure"):
        if call.clock.monotonic() > give_up_at:
            raise ClientError(
                "E0705",
                f"The server has not stopped in {STOP_S:g} s",
                where=f"pid {pid}",
                fix=f"See {home / 'server.log'}. Killing it loses nothing: kill -9 {pid}",
            )
        await asyncio.sleep(POLL_S)


def shown_as(pid: int, words: str) -> bool:
    """Whether this process exists and has *words* in its command: after a crash its number may be another program's."""
    if pid <= 0 or pid == os.getpid():
        return False
    command = _command_of(pid)
    return "perdure" in command and words in command


def _command_of(pid: int) -> str:
    """How a process was started; empty when it is gone, or has ended and is not waited for yet."""
    if Path("/proc/self/cmdline").exists():  # a container may have no `ps`
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    shown = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["ps", "-o", "stat=,command=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "" if shown.startswith("Z") else shown
