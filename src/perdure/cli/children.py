"""Processes of our own that a command starts and watches: a server, a worker.

Each is a session of its own, so that Ctrl-C reaches this program alone, which then ends them; its output goes to a
log file. `started` is the only way to get one, and it never leaves one behind: on leaving the block the child is
asked to stop, and after a grace killed.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from perdure.clock import Clock
from perdure.core.errors import ClientError

STOP_S = 5.0
READY_S = 30.0
POLL_S = 0.05
TAIL_LINES = 12


class Child:
    """A running `python -m perdure ...`."""

    def __init__(self, name: str, process: Process, log: Path | None) -> None:
        self.name, self.process, self.log = name, process, log

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    async def kill(self) -> int:
        """SIGKILL: it has no chance to clean up. Returns the number of the signal that it died of."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        return -await self.process.wait()

    async def stop(self) -> None:
        """Ask it to stop; kill it when it does not."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_S)
        except TimeoutError:
            await self.kill()

    def check(self) -> None:
        """Say that it has ended, if it has.

        Raises:
            ClientError: E0702, with the end of its log.
        """
        if self.process.returncode is None:
            return
        tail = "".join(f"\n    {line}" for line in self._logged().splitlines()[-TAIL_LINES:])
        raise ClientError(
            "E0702",
            f"The {self.name} ended with status {self.process.returncode}",
            where=str(self.log or ""),
            why=f"its log ends with:{tail}" if tail else "",
            fix="Mend what the log says and begin again.",
        )

    def _logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log else ""

    async def said(self, words: str, clock: Clock) -> None:
        """Wait until its log holds *words*.

        Raises:
            ClientError: E0702 it ended first, or was silent for 30 s.
        """
        give_up_at = clock.monotonic() + READY_S
        while words not in self._logged():
            self.check()
            if clock.monotonic() > give_up_at:
                raise ClientError(
                    "E0702", f"The {self.name} is not ready after {READY_S:g} s", where=str(self.log)
                )
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def started(
    name: str,
    arguments: Sequence[str],
    environ: Mapping[str, str],
    log: Path | None,
    *,
    module: str = "perdure",
) -> AsyncIterator[Child]:
    """A child that runs `python -m *module* *arguments*`; stopped at the end.

    Its output goes to *log*, which is emptied first; None: to our own stdout and stderr.
    """
    descriptor = None
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    finally:
        if descriptor is not None:
            os.close(descriptor)
    child = Child(name, process, log)
    try:
        yield child
    finally:
        await asyncio.shield(child.stop())
