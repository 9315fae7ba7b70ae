"""The entry point: finds the command, runs it, turns errors into exit codes.

`COMMANDS` names every command and the module that holds it. The module is imported when the command is named (or
when the list of commands is printed), which is the one lazy door of this package.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from perdure.cli import exits
from perdure.cli.options import FormatOption, Invocation, command_group, invocation
from perdure.cli.screen import system_screen
from perdure.core.errors import PerdureError

_HERE = "perdure.cli.commands."
COMMANDS: dict[str, str] = {
    "demo": "demo",
    "dev": "dev",
    "run": "run",
    "start": "run",
    "worker": "run",
    "ls": "executions",
    "show": "executions",
    "watch": "executions",
    "approve": "approvals",
    "reject": "approvals",
    "respond": "approvals",
    "cancel": "control",
    "pause": "control",
    "resume": "control",
    "signal": "control",
    "stop": "control",
    "retry": "history",
    "rerun": "history",
    "fork": "history",
    "replay": "history",
    "diff": "history",
    "server": "server",
    "doctor": "doctor",
    "version": "version",
}
EPILOG = """\b
Examples:
  perdure demo                                   see an agent be killed and go on
  perdure dev agent.py:agent                     server and worker, reloaded when the file changes
  perdure run agent.py:agent "Where is A-1001?"  run and watch
  perdure ls --status waiting:approval           who waits for a person
  perdure show x06f3 -o json                     the whole story, for programs

\b
Exit codes:
  0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 server unreachable, 130 interrupted
"""


class _LazyGroup(TyperGroup):
    """A group whose commands are imported by name."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base class's signature
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(_HERE + COMMANDS[cmd_name])
            self.commands.update(typer.main.get_group(module.app).commands)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


app = command_group(cls=_LazyGroup, name="perdure", epilog=EPILOG, no_args_is_help=True)


@app.callback()
def root(
    ctx: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="The server's address. Default: PERDURE_SERVER_URL, or the one of this user.",
        ),
    ] = None,
    output: FormatOption = None,
) -> None:
    """Agents that survive crashes, and wait for people without losing state."""
    call = invocation(ctx, output)
    if server is not None:
        call.environ["PERDURE_SERVER_URL"] = server


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code.

    Args:
        argv: the arguments without the program's name; by default those of this process.
    """
    call = Invocation(system_screen())
    command: Any = typer.main.get_command(app)  # its `main` ends in SystemExit, whatever its type says
    try:
        command.main(list(sys.argv[1:] if argv is None else argv), prog_name="perdure", obj=call)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exits.FAILED
    except PerdureError as error:
        call.screen.error(error)
        return exits.exit_code(error)
    return exits.OK
