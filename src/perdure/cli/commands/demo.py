"""`perdure demo`: the main job, in one command."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import demo as story
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation
from perdure.core.errors import PerdureError

app = command_group()
SIGNALLED = 128  # a program that a signal ended: 128 and its number
STUCK = frozenset({"E0702", "E0705"})  # a process that did not start, or nothing happened for too long


@app.command(
    "demo", epilog=examples("perdure demo", "perdure demo --model openai/gpt-5-mini", "perdure demo --keep")
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
    place = home.resolve() if home else Path(tempfile.mkdtemp(prefix="perdure-demo-"))
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep = keep or home is not None
    try:
        code = asyncio.run(_run(call, place, model, base_url, keep=keep))
    except PerdureError as error:
        if error.code in STUCK:
            keep = True  # the logs say more
            call.screen.note(f"The demo's journal and logs are in {place}")
        raise
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    raise typer.Exit(code)


async def _run(call: Invocation, home: Path, model: str | None, base_url: str | None, *, keep: bool) -> int:
    asked: list[int] = []
    with _signals(asked):
        told = story.Demo(call, home, model, base_url, answer=story.asks(call))
        try:
            report = await told.run()
        except asyncio.CancelledError:
            call.screen.note("Stopped; the processes of the demo have ended.")
            if not asked:
                raise
            return SIGNALLED + asked[0]
    return story.tell(told, report, kept_home=keep)


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
