"""A program in a real pseudo-terminal: what a person sees and types."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class PseudoTerminal:
    """The person's end.

    Attributes:
        raw: everything that was printed, escape sequences included.
    """

    def __init__(
        self, command: list[str], environ: dict[str, str], cwd: str, *, rows: int, columns: int
    ) -> None:
        self._fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.mode = termios.tcgetattr(inner)
        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            # A runner may say how wide its own terminal is; this one is as wide as it says itself.
            env={k: v for k, v in environ.items() if k not in {"COLUMNS", "LINES"}}
            | {"TERM": "xterm-256color"},
            cwd=cwd,
            start_new_session=True,
            # Its controlling terminal: Ctrl-C typed here becomes a signal there.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else runs here
        )
        self._inner = inner
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        """What was printed, without escape sequences."""
        return ESCAPES.sub("", self.raw).replace("\r", "")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def expect(self, words: str, timeout: float = 60) -> None:
        """Wait until *words* were printed after those that were expected before."""
        give_up_at = time.monotonic() + timeout
        while (at := self.text.find(words, self._seen)) < 0:
            assert time.monotonic() < give_up_at, f"not seen: {words!r} in {self.text[-3000:]}"
            assert self._read(0.1) or self.process.poll() is None, (
                f"ended before {words!r}: {self.text[-3000:]}"
            )
        self._seen = at + len(words)

    def end(self, timeout: float = 60) -> int:
        """Read until the program ends; its exit code."""
        give_up_at = time.monotonic() + timeout
        while self.process.poll() is None:
            self._read(0.1)
            assert time.monotonic() < give_up_at, self.text[-3000:]
        while self._read(0.05):
            pass
        return self.process.returncode

    def mode_now(self) -> list:
        """The terminal's mode, to be compared with `mode`."""
        return termios.tcgetattr(self._inner)

    def close(self) -> None:
        """End the program, if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait()
        os.close(self._inner)
        os.close(self._fd)

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return False
        try:
            piece = os.read(self._fd, 65_536)
        except OSError:  # the other end is closed
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)


@contextlib.contextmanager
def in_terminal(
    command: list[str], environ: dict[str, str], cwd: object, *, rows: int = 40, columns: int = 110
) -> Iterator[PseudoTerminal]:
    """A program that runs in a terminal of this size; ended at the end."""
    terminal = PseudoTerminal(command, environ, str(cwd), rows=rows, columns=columns)
    try:
        yield terminal
    finally:
        terminal.close()
