"""`perdure server start | stop | status`: this user's server."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure import app as door
from perdure.cli import exits, text
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation
from perdure.client.api import ApiClient
from perdure.client.background import Found, ensure_server
from perdure.client.discovery import ServerFile, home_of, read_server_file
from perdure.client.transport import HttpTransport
from perdure.core.errors import ClientError, PerdureError
from perdure.wire.types import HealthAnswer

app = command_group()
server = command_group(no_args_is_help=True, help="Start, stop or look at this user's server.")
app.add_typer(server, name="server")

STOP_S = 30.0
POLL_S = 0.1

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
    output: FormatOption = None,
) -> None:
    """Start the server; without --foreground, in the background, where it lives on."""
    call = invocation(ctx, output)
    environ = call.environ
    for name, value in (("PERDURE_HOST", host), ("PERDURE_PORT", port), ("PERDURE_HOME", data_dir)):
        if value is not None:
            environ[name] = str(value)
    config = door.AppConfig.from_env(environ)  # a wrong value is told here, not in the log of a child
    if foreground:
        door.serve(config, environ)
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
    if found is None or not _is_server(found.pid):
        return False
    os.kill(found.pid, signal.SIGTERM)
    give_up_at = call.clock.monotonic() + STOP_S
    while _is_server(found.pid):
        if call.clock.monotonic() > give_up_at:
            raise ClientError(
                "E0705",
                f"The server has not stopped in {STOP_S:g} s",
                where=f"pid {found.pid}",
                fix=f"See {home / 'server.log'}. Killing it loses nothing: kill -9 {found.pid}",
            )
        await asyncio.sleep(POLL_S)
    return True


def _is_server(pid: int) -> bool:
    """Whether this process exists and is a server of ours: after a crash the number may belong to another program."""
    if pid <= 0:
        return False
    shown = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["ps", "-o", "stat=,command=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "perdure" in shown and not shown.startswith("Z")
