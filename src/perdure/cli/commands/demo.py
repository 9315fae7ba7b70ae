"""`perdure demo`: the main job, in one command."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import demo as story
from perdure.cli import local_model
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation
from perdure.core.errors import PerdureError

app = command_group()
SIGNALLED = 128  # a program that a signal ended: 128 and its number
STUCK = frozenset({"E0702", "E0705"})  # a process that did not start, or nothing happened for too long


@app.command(
    "demo",
    epilog=examples(
        "perdure demo",
        "perdure demo --model openai/gpt-5-mini",
        "perdure demo --local",
        "perdure demo --keep",
    ),
)
def demo(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="PROVIDER/MODEL", help="A real model instead of the built-in one."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Another address of the model's server.")
    ] = None,
    local: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--local",
            help="A small real model on this machine, fetched once; --model names one of "
            f"{', '.join(local_model.MODELS)} (default: the first).",
        ),
    ] = False,
    home: Annotated[
        Path | None, typer.Option("--home", help="Where the demo's server keeps its data; kept afterwards.")
    ] = None,
    keep: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--keep", help="Do not remove the journal at the end.")
    ] = False,
    output: FormatOption = None,
) -> None:
    """Watch an agent be killed in the middle of its work, go on, wait for a person and finish.

    Starts a server and a worker of its own, kills both with SIGKILL while a tool runs, starts them again and counts
    the effects. Nothing of yours is touched. Without a terminal it answers its own question.
    """
    call = invocation(ctx, output)
    if local and base_url is not None:
        raise typer.BadParameter(
            "It goes without --local, which serves the model itself.", param_hint="--base-url"
        )
    chosen = local_model.local_model(model) if local else None
    place = home.resolve() if home else Path(tempfile.mkdtemp(prefix="perdure-demo-"))
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep = keep or home is not None
    try:
        code = asyncio.run(_run(call, place, model, base_url, local=chosen, keep=keep))
    except PerdureError as error:
        if error.code in STUCK:
            keep = True  # the logs say more
            call.screen.note(f"The demo's journal and logs are in {place}")
        raise
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    raise typer.Exit(code)


async def _run(
    call: Invocation,
    home: Path,
    model: str | None,
    base_url: str | None,
    *,
    local: local_model.LocalModel | None,
    keep: bool,
) -> int:
    asked: list[int] = []
    with _signals(asked):
        try:
            async with _served(call, home, local) as served_at:
                told = story.Demo(
                    call, home, model, base_url or served_at, answer=story.asks(call), local=local
                )
                report = await told.run()
        except asyncio.CancelledError:
            call.screen.note("Stopped; the processes of the demo have ended.")
            if not asked:
                raise
            return SIGNALLED + asked[0]
    return story.tell(told, report, kept_home=keep)


@contextlib.asynccontextmanager
async def _served(
    call: Invocation, home: Path, local: local_model.LocalModel | None
) -> AsyncIterator[str | None]:
    """The base URL of the model on this machine, when there is to be one."""
    if local is None:
        yield None
        return
    say = call.screen.line if call.screen.for_people else call.screen.note
    local_model.check_server_library()
    path = await local_model.fetch(local, call.environ, say)
    log = home / "model.log"
    async with local_model.served(local, path, call.environ, log, call.clock) as (pid, url):
        say(f"{local.title} is served by llama.cpp: pid {pid}, {url}")
        yield url


@contextlib.contextmanager
def _signals(asked: list[int]) -> Iterator[None]:
    """These end the running task, so that the processes of the demo end before it does; Ctrl-C does that by itself."""
    here, loop = asyncio.current_task(), asyncio.get_running_loop()

    def stop(number: int) -> None:
        asked.append(number)
        if here is not None:
            here.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
