"""Following an execution to its end: what `run` and `watch` show.

In a terminal it is a live tree, redrawn at most ten times a second, in which approvals are answered by a key;
otherwise one line per event. Ctrl-C once detaches, twice within two seconds asks for the cancellation. The
execution does not depend on this: it is only watched, and the watching outlives restarts of the server.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

from rich.console import Group
from rich.live import Live
from rich.text import Text

from perdure.cli import decide, plain, render
from perdure.cli.forest import Forest
from perdure.cli.keys import Keyboard
from perdure.cli.options import Invocation
from perdure.cli.screen import Format
from perdure.cli.view import View
from perdure.client.api import ApiClient
from perdure.client.tree import follow
from perdure.core.errors import PerdureError
from perdure.wire.types import ControlBody, EventRecord

FRAME_S = 0.1
DETACH_S = 2.0
PING_S = 1.0
AWAY_AFTER_S = 1.5
ROWS_KEPT = 6  # of the terminal's height: header, remarks, the prompt


class Watch:
    """One execution being followed, with all executions below it.

    Attributes:
        view: what was seen of it so far.
        forest: what was seen of those below it as well.
        detached: the person left before the end.
    """

    def __init__(self, call: Invocation, api: ApiClient, execution_id: str) -> None:
        self.call, self.api, self.forest = call, api, Forest(execution_id)
        self.view = self.forest.root
        self.detached = False
        self._interrupts = 0
        self._interrupted_at = 0.0
        self._cancelling: asyncio.Task[None] | None = None
        self._heard_at = call.clock.monotonic()
        self._away = False
        self._keyboard: Keyboard | None = None

    async def run(self) -> View:
        """Follow until the end, or until the person leaves.

        Raises:
            PerdureError: the server refuses, or is away for longer than the client's patience.
        """
        screen = self.call.screen
        people = screen.for_people
        async with _interrupts(self._interrupt):
            reader = asyncio.create_task(self._read(lines=not (people and screen.terminal)))
            ping = asyncio.create_task(self._ping())
            try:
                if people and screen.terminal:
                    await self._draw(reader)
                else:
                    await self._wait(reader)
                if reader.done():
                    reader.result()
            finally:
                for task in (reader, ping, self._cancelling):
                    if task is not None:
                        task.cancel()
                        with contextlib.suppress(asyncio.CancelledError, PerdureError):
                            await task
        return self.view

    # The stream ------------------------------------------------------------------------------------------

    async def _read(self, *, lines: bool) -> None:
        stream = follow(self.api, self.view.execution_id)
        async with contextlib.aclosing(stream):
            async for record in stream:
                self._heard_at = self.call.clock.monotonic()
                if self.forest.apply(record) and lines and isinstance(record, EventRecord):
                    self._print(record)

    def _print(self, record: EventRecord) -> None:
        screen = self.call.screen
        if screen.format is Format.JSONL:
            screen.data(record)
        elif screen.for_people:
            view = self.forest.of(record)
            screen.line(plain.event_line(view, record, "" if view is self.view else view.agent))
            if record.event.get("kind") == "approval_requested":
                verb = decide.verb_of(record.event.get("asks", "call"))
                screen.line(f"               decide with: perdure {verb} {self.view.execution_id}")

    async def _ping(self) -> None:
        """Notice that the server is away; the stream itself just waits for it."""
        clock = self.call.clock
        while True:
            await asyncio.sleep(PING_S)
            if clock.monotonic() - self._heard_at < AWAY_AFTER_S:
                self._set_away(away=False)
                continue
            try:
                await self.api.health(timeout_s=PING_S)
            except PerdureError as error:
                self._set_away(away=error.code == "E0701")
            else:
                self._set_away(away=False)

    def _set_away(self, *, away: bool) -> None:
        if away != self._away and not self.call.screen.terminal:
            words = "The server does not answer; waiting for it." if away else "The server is back."
            self.call.screen.note(words)
        self._away = away

    # Interrupts ------------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        if self._keyboard is not None and self._keyboard.give_up():
            return
        self._interrupts += 1
        self._interrupted_at = self.call.clock.monotonic()
        if self._interrupts == 1 and not self.call.screen.terminal:
            self.call.screen.note("Leaving; the execution goes on. Ctrl-C again to cancel it.")
        elif self._interrupts == 2:  # noqa: PLR2004 - the second Ctrl-C
            self._cancelling = asyncio.create_task(self._cancel())

    async def _cancel(self) -> None:
        body = ControlBody(reason="Ctrl-C twice in the terminal")
        await self.api.control(self.view.execution_id, "cancel", body)

    def _left(self) -> bool:
        """Whether the time for a second Ctrl-C is over, or the cancellation could not be asked for."""
        if self._cancelling is not None:
            if self._cancelling.done() and self._cancelling.exception() is not None:
                self._cancelling.result()
            return False
        if not self._interrupts:
            return False
        self.detached = self.call.clock.monotonic() - self._interrupted_at >= DETACH_S
        return self.detached

    # Output ----------------------------------------------------------------------------------------------

    async def _wait(self, reader: asyncio.Task[None]) -> None:
        while not reader.done() and not self._left():
            await asyncio.wait([reader], timeout=FRAME_S)

    async def _draw(self, reader: asyncio.Task[None]) -> None:
        out = self.call.screen.out
        with contextlib.ExitStack() as stack:
            if self.call.screen.interactive:
                self._keyboard = stack.enter_context(Keyboard(self.call.screen.stdin.fileno()))
            live = Live(console=out, auto_refresh=False, vertical_overflow="crop", transient=True)
            stack.enter_context(live)
            desk = decide.Desk(self.call, self.api, self.forest, self._keyboard, live)
            while not reader.done() and not self._left():
                live.update(self._frame(desk.hint()), refresh=True)
                await asyncio.wait([reader], timeout=FRAME_S)
                if self._keyboard is not None and not reader.done():
                    await desk.attend()
        self._keyboard = None
        for row in self._tree(_turns(out.height * 3)):
            out.print(row, no_wrap=True, overflow="ellipsis")

    def _tree(self, turns: int) -> list[Text]:
        detail = render.Detail(below=self.forest.views)
        return render.tree(self.view, self.call.clock.now_ms(), detail=detail, turns=turns)

    def _frame(self, hint: Text | None) -> Group:
        height = self.call.screen.out.height
        rows = self._tree(_turns(height))
        limit = max(height - ROWS_KEPT, 3)
        if len(rows) > limit:
            rows = [rows[0], Text("⋮", "dim"), *rows[-(limit - 2) :]]
        if self._away:
            rows.append(Text("The server does not answer; waiting for it.", "yellow"))
        if self._cancelling is not None:
            rows.append(Text("Cancelling …", "yellow"))
        elif self._interrupts:
            rows.append(Text("Leaving; the execution goes on. Ctrl-C again to cancel it.", "yellow"))
        elif hint is not None:
            rows.append(hint)
        for row in rows:
            row.no_wrap, row.overflow = True, "ellipsis"
        return Group(*rows)


def _turns(height: int) -> int:
    return max(height // 2, 3)


@contextlib.asynccontextmanager
async def _interrupts(handler: Callable[[], None]) -> AsyncIterator[None]:
    """SIGINT calls *handler* instead of ending the program."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, handler)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
