"""The keyboard of a terminal, read within the event loop: single keys, and now and then a whole line.

Keys arrive without Enter and without echo (cbreak mode); the terminal's own mode is put back on leaving. An
interrupt (Ctrl-C) still arrives as a signal.
"""

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Self

READ_BYTES = 4_096


class Keyboard:
    """The keys of the terminal at *fd*. Used within a running event loop, as a context."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._mode = termios.tcgetattr(fd)
        self._keys = ""
        self._line: asyncio.Future[str | None] | None = None
        self._typed = b""

    def __enter__(self) -> Self:
        tty.setcbreak(self._fd, termios.TCSADRAIN)
        self._loop.add_reader(self._fd, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._fd)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._mode)

    def take(self) -> str:
        """The next key that was pressed, or an empty text."""
        key, self._keys = self._keys[:1], self._keys[1:]
        return key

    def forget(self) -> None:
        """Drop what was typed so far: a key pressed before a question was shown is no answer to it."""
        termios.tcflush(self._fd, termios.TCIFLUSH)
        self._keys = ""

    async def line(self, prompt: Callable[[], None]) -> str | None:
        """A line, with echo and the terminal's own editing; None when it was given up (Ctrl-D, `give_up`).

        *prompt* shows what is asked, once the terminal is ready to take it.
        """
        self.forget()
        self._typed = b""
        self._line = self._loop.create_future()
        self.cooked()
        prompt()
        try:
            return await self._line
        finally:
            self._line = None
            tty.setcbreak(self._fd, termios.TCSADRAIN)

    def cooked(self) -> None:
        """Give the terminal its own mode back, for another program; `raw` takes it again."""
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._mode)

    def raw(self) -> None:
        """Single keys again."""
        tty.setcbreak(self._fd, termios.TCSADRAIN)
        self.forget()

    def give_up(self) -> bool:
        """End the line that is being typed, if any; the answer is whether there was one."""
        if self._line is None or self._line.done():
            return False
        self._line.set_result(None)
        return True

    def _read(self) -> None:
        data = os.read(self._fd, READ_BYTES)
        if self._line is None:
            self._keys += data.decode(errors="replace")
            if not data:
                self._loop.remove_reader(self._fd)
            return
        self._typed += data
        if self._line.done():
            return
        if not data:
            self._line.set_result(None)
        elif self._typed.endswith(b"\n"):
            self._line.set_result(self._typed[:-1].decode(errors="replace"))
