"""Where commands print: the format asked for, and what kind of terminal there is, if any.

Data goes to stdout and nothing else does: with `-o json` a command prints one JSON value, with `-o jsonl` one value
per line, and every remark, question and error goes to stderr. rich is imported when the first table is printed.
"""

import enum
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from perdure.cli import text
from perdure.core.errors import PerdureError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 200  # no terminal tells its width: lines are not wrapped, tables have room


class Format(enum.StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Screen:
    """The output of one run of the command line.

    Args:
        format: of the data on stdout.
        interactive: whether a person can be asked: both stdin and stdout are terminals, and it is not CI.
    """

    def __init__(
        self, stdin: TextIO, stdout: TextIO, stderr: TextIO, environ: "os._Environ[str] | dict[str, str]"
    ) -> None:
        self.format = Format.TABLE
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.environ = environ
        self.terminal = stdout.isatty() and environ.get("TERM", "") != "dumb"
        self.interactive = self.terminal and stdin.isatty()

    @cached_property
    def out(self) -> "Console":
        """What is for people, on stdout."""
        return self._console(self.stdout, terminal=self.terminal)

    @cached_property
    def err(self) -> "Console":
        """What is for people, on stderr."""
        return self._console(self.stderr, terminal=self.stderr.isatty())

    def _console(self, file: TextIO, *, terminal: bool) -> "Console":
        from rich.console import Console

        return Console(
            file=file,
            force_terminal=terminal,
            no_color=bool(self.environ.get("NO_COLOR")) or None,
            width=None if terminal else PIPE_WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def for_people(self) -> bool:
        """Whether stdout is read by a person."""
        return self.format is Format.TABLE

    def data(self, value: Any) -> None:
        """One value: a JSON object, for programs."""
        plain = msgspec.to_builtins(value)
        self.line(text.machine(plain, indent=2 if self.format is Format.JSON else None))

    def rows(self, values: Sequence[Any]) -> None:
        """A list of values: one JSON array, or one value per line."""
        plain = [msgspec.to_builtins(v) for v in values]
        if self.format is Format.JSON:
            self.line(text.machine(plain, indent=2))
        else:
            for value in plain:
                self.line(text.machine(value))

    def line(self, words: str = "") -> None:
        """One line of safe text on stdout, as it is."""
        self.stdout.write(words + "\n")
        self.stdout.flush()

    def note(self, words: str) -> None:
        """A remark for the person: on stderr, so that it never gets among the data."""
        self.stderr.write(words + "\n")
        self.stderr.flush()

    def lines(self, rows: Iterable["RenderableType"]) -> None:
        """Rich lines on stdout; in a terminal too long ones are wrapped by the terminal itself."""
        for row in rows:
            self.out.print(row, soft_wrap=True)
        self.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
        """A table of safe texts, or the remark *empty* when there is no row.

        Without a terminal the columns are joined by two spaces or more and nothing is cut.
        """
        from rich.table import Table
        from rich.text import Text

        rows = [list(row) for row in rows]
        if not rows:
            self.note(empty)
            return
        if not self.terminal:
            widths = [max(len(r[i]) for r in [list(columns), *rows]) for i in range(len(columns))]
            for row in [[c.upper() for c in columns], *rows]:
                self.line("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(
                name, no_wrap=name != "title", overflow="ellipsis" if name == "title" else "fold"
            )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.out.print(table)

    def error(self, error: PerdureError) -> None:
        """An error in the coded form: what, where, why, fix; as JSON when a program reads."""
        if not self.for_people:
            self.note(text.machine({"error": error.to_wire()}))
            return
        from rich.text import Text

        head, *rest = str(error).splitlines()
        self.err.print(Text(text.block(head), "bold red"), soft_wrap=True)
        for row in rest:
            self.err.print(Text(text.block(row)), soft_wrap=True)


def system_screen() -> Screen:
    """The screen of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its code; the program does not end over it.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return Screen(sys.stdin, sys.stdout, sys.stderr, os.environ)
