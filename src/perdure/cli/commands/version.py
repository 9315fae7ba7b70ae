"""`perdure version`."""

import importlib.metadata
import platform

import typer

from perdure.cli.options import FormatOption, command_group, examples, invocation
from perdure.wire import WIRE_VERSION

app = command_group()


@app.command("version", epilog=examples("perdure version -o json"))
def version(ctx: typer.Context, output: FormatOption = None) -> None:
    """Print the version of this program, and of the wire protocol it speaks."""
    screen = invocation(ctx, output).screen
    number = importlib.metadata.version("perdure")
    if screen.for_people:
        screen.line(f"perdure {number} (wire {WIRE_VERSION}, Python {platform.python_version()})")
    else:
        screen.data({"version": number, "wire": WIRE_VERSION, "python": platform.python_version()})
