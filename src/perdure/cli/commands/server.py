"""`perdure server start | stop | status`: this user's server."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from perdure import app as door
from perdure.cli import exits, text
from perdure.cli.foreground import health, serve_in_foreground, shown_as, stop_process
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation
from perdure.client.background import GIVES_WAY, Found, ensure_server
from perdure.client.discovery import ServerFile, home_of, read_server_file

app = command_group()
server = command_group(no_args_is_help=True, help="Start, stop or look at this user's server.")
app.add_typer(server, name="server")

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Journal, keys and address of the server. Default: PERDURE_HOME, or ~/.perdure."
    ),
]


@server.command(
    "start",
    epilog=examples("perdure server start", "perdure server start --foreground --port 0 --data-dir ./state"),
)
def start(
    ctx: typer.Context,
    foreground: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--foreground", help="Stay in this process until stopped.")
    ] = False,
    host: Annotated[str | None, typer.Option("--host", help="Where to listen. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="0 takes any free one. Default: 6767.")] = None,
    data_dir: DataDirOption = None,
    gives_way: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option(GIVES_WAY, hidden=True)
    ] = False,
    output: FormatOption = None,
) -> None:
    """Start the server; without --foreground, in the background, where it lives on.

    One that runs in the background on the same data directory gives way to one that is started with --foreground.
    """
    call = invocation(ctx, output)
    environ = call.environ
    for name, value in (("PERDURE_HOST", host), ("PERDURE_PORT", port), ("PERDURE_HOME", data_dir)):
        if value is not None:
            environ[name] = str(value)
    config = door.AppConfig.from_env(environ)  # a wrong value is told here, not in the log of a child
    if foreground:
        serve_in_foreground(call, msgspec.structs.replace(config, gives_way=gives_way))
        return
    asyncio.run(_start(call, config.data_dir))


async def _start(call: Invocation, home: Path) -> None:
    before = read_server_file(home)
    running = before is not None and await health(call, before.url) is not None
    url = await ensure_server(home, dict(call.environ), call.clock, lambda: _look(call, home))
    found = read_server_file(home) or ServerFile(url)
    if call.screen.for_people:
        words = "runs already" if running else "started"
        call.screen.line(f"The server {words} at {url} (pid {found.pid}, data in {home})")
    else:
        call.screen.data({"url": url, "pid": found.pid, "data_dir": str(home), "started": not running})


async def _look(call: Invocation, home: Path) -> Found:
    """The server of this very home: another one on the default port is not it."""
    found = read_server_file(home)
    answer = None if found is None else await health(call, found.url)
    if found is None or answer is None:
        return Found(None)
    return Found(None, stopping=True) if answer.status == "stopping" else Found(found.url)


@server.command("status", epilog=examples("perdure server status -o json"))
def status(ctx: typer.Context, data_dir: DataDirOption = None, output: FormatOption = None) -> None:
    """Say whether the server runs, and where. Exit code 5 when it does not."""
    call = invocation(ctx, output)
    home = home_of(data_dir, call.environ)
    raise typer.Exit(asyncio.run(_status(call, home)))


async def _status(call: Invocation, home: Path) -> int:
    found = read_server_file(home)
    answer = None if found is None else await health(call, found.url)
    known: dict[str, Any] = {"running": answer is not None, "data_dir": str(home)}
    if found is not None and answer is not None:
        known |= {"url": found.url, "pid": found.pid, "status": answer.status, "version": answer.version}
    if not call.screen.for_people:
        call.screen.data(known)
    elif answer is None:
        call.screen.line(f"No server runs (data in {home})")
    else:
        words = f"{answer.status}, version {answer.version}, pid {known['pid']}, data in {home}"
        call.screen.line(f"The server answers at {known['url']}: {text.line(words)}")
    return exits.OK if answer is not None else exits.UNREACHABLE


@server.command("stop", epilog=examples("perdure server stop"))
def stop(ctx: typer.Context, data_dir: DataDirOption = None, output: FormatOption = None) -> None:
    """Stop the server; what runs goes on when it is started again."""
    call = invocation(ctx, output)
    home = home_of(data_dir, call.environ)
    stopped = asyncio.run(_stop(call, home))
    if not call.screen.for_people:
        call.screen.data({"stopped": stopped})
    else:
        call.screen.line("The server has stopped." if stopped else "No server runs.")


async def _stop(call: Invocation, home: Path) -> bool:
    found = read_server_file(home)
    if found is None or not shown_as(found.pid, "perdure"):
        return False
    await stop_process(call, home, found.pid)
    return True
