"""Options that many commands share, and what every command is handed."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from perdure.cli.screen import Format, Screen
from perdure.clock import Clock, SystemClock

FormatOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="How data is printed: table (for people), json, or jsonl."),
]
ByOption = Annotated[
    str | None,
    typer.Option("--by", help="Who decides, as it is recorded. Without it: the name of the API key."),
]
IdArgument = Annotated[
    str,
    typer.Argument(help="The execution's id, or the beginning of it if no other begins so."),
]


@dataclass
class Invocation:
    """One run of the command line: where it prints, its environment (a copy that options change), its clock."""

    screen: Screen
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Clock = field(default_factory=SystemClock)


def command_group(**settings: Any) -> typer.Typer:
    """A group of commands with this program's habits: plain help, `-h`, no frames that print local variables."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **settings,
    )


def examples(*lines: str) -> str:
    """The end of a command's help."""
    # The first line tells the formatter to keep the lines as they are.
    return "\n".join(("\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)))


def invocation(ctx: typer.Context, output: Format | None = None) -> Invocation:
    """What the command was called with; a format named after the command wins over one named before it."""
    found: Invocation = ctx.obj
    if output is not None:
        found.screen.format = output
    return found
