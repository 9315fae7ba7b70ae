"""`perdure dev`: a server and a worker for the time of writing an agent."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import text
from perdure.cli.children import Child, started
from perdure.cli.demo_agent import PROMPT
from perdure.cli.foreground import health
from perdure.cli.options import Invocation, command_group, examples, invocation
from perdure.cli.references import source_of
from perdure.client.discovery import home_of, read_server_file

app = command_group()
BUNDLED = "perdure.cli.demo_agent:agent"
POLL_S = 0.5
FILES = 5_000  # as many files are looked at; beyond it, the directory is not one of a project
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "build", "dist"})


@app.command(
    "dev", epilog=examples("perdure dev", "perdure dev agent.py:agent", "perdure dev shop.agents:support")
)
def dev(
    ctx: typer.Context,
    agent: Annotated[str, typer.Argument(help="module:attribute or path/file.py:attribute.")] = BUNDLED,
    port: Annotated[int | None, typer.Option("--port", help="Of the server; 0 takes any free one.")] = None,
    ephemeral: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--ephemeral", help="Forget everything at the end.")
    ] = False,
) -> None:
    """Run a server and a worker that is restarted when a Python file beside the agent changes.

    AGENT names an agent in your code: module:attribute or path/file.py:attribute; without it, a support agent on the
    built-in mock model is served. Executions that run stay as they are, whatever is reloaded. Ctrl-C ends both;
    what was running goes on with the next start.
    """
    call = invocation(ctx)
    place = Path(tempfile.mkdtemp(prefix="perdure-dev-")) if ephemeral else home_of(None, call.environ)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    environ = {**call.environ, "PERDURE_HOME": str(place)}
    environ.pop("PERDURE_SERVER_URL", None)
    if port is not None:
        environ["PERDURE_PORT"] = str(port)
    try:
        asyncio.run(_dev(call, agent, place, environ, source_of(agent)))
    finally:
        if ephemeral:
            shutil.rmtree(place, ignore_errors=True)


async def _dev(
    call: Invocation, reference: str, home: Path, environ: Mapping[str, str], source: Path
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    async with _server(call, home, environ, stop) as (url, server):
        _introduce(call, reference, url, home, source)
        while not stop.is_set():
            async with started(
                "worker", ("worker", reference), {**environ, "PERDURE_SERVER_URL": url}, None
            ) as worker:
                changed = await _changed(source, worker, server, stop, call)
            if changed:
                call.screen.line(f"changed: {text.line(changed)}; restarting the worker")
    call.screen.line("Stopped. What was running goes on with the next start.")


@contextlib.asynccontextmanager
async def _server(
    call: Invocation, home: Path, environ: Mapping[str, str], stop: asyncio.Event
) -> AsyncIterator[tuple[str, Child | None]]:
    """The URL of this home's server: the one that runs, or one of our own, which is ended at the end."""
    found = read_server_file(home)
    if found is not None and await health(call, found.url) is not None:
        yield found.url, None
        return
    async with started("server", ("server", "start", "--foreground"), environ, home / "server.log") as child:
        while not stop.is_set():
            found = read_server_file(home)
            if found is not None and found.pid == child.pid:
                break
            child.check()
            await asyncio.sleep(POLL_S / 10)
        yield (found.url if found is not None else ""), child


def _introduce(call: Invocation, reference: str, url: str, home: Path, source: Path) -> None:
    line = call.screen.line
    line(f"server   {url}   data and log in {home}")
    if reference == BUNDLED:
        line("worker   the bundled support agent on the built-in mock model (no key, no network)")
    else:
        line(f"worker   {text.line(reference)}, restarted when a Python file in {source.parent} changes")
    line("")
    line("In another terminal:")
    if home != home_of(None, call.environ):
        line(f"  export PERDURE_HOME={home}")
    line(f'  perdure run support "{PROMPT}"' if reference == BUNDLED else '  perdure run NAME "..."')
    line("  perdure ls")
    line("Ctrl-C ends the server and the worker.")
    line("")


async def _changed(
    source: Path, worker: Child, server: Child | None, stop: asyncio.Event, call: Invocation
) -> str:
    """The file that changed; empty when it is time to stop.

    Raises:
        ClientError: E0702 the server has ended.
    """
    before = _stamps(source.parent)
    said = False
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_S)
        if server is not None:
            server.check()
        if worker.process.returncode is not None and not said:
            call.screen.note("The worker has ended; it is started again when a file changes.")
            said = True
        now = _stamps(source.parent)
        if now != before:
            names = [path for path in {**before, **now} if before.get(path) != now.get(path)]
            return str(names[0].relative_to(source.parent))
    return ""


def _stamps(directory: Path) -> dict[Path, int]:
    """When each Python file below *directory* was last changed."""
    found: dict[Path, int] = {}
    waiting = [directory]
    while waiting and len(found) < FILES:
        with contextlib.suppress(OSError):
            for entry in waiting.pop().iterdir():
                if entry.name.startswith(".") or entry.name in SKIPPED:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    waiting.append(entry)
                elif entry.suffix == ".py":
                    found[entry] = entry.stat().st_mtime_ns
    return found
