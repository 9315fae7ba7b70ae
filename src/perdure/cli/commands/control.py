"""`perdure cancel`, `perdure pause`, `perdure resume`, `perdure stop`, `perdure signal`."""

import asyncio
from typing import Annotated, Literal

import typer

from perdure.cli import resolve, text
from perdure.cli.connect import connected
from perdure.cli.options import (
    ByOption,
    FormatOption,
    IdArgument,
    Invocation,
    command_group,
    examples,
    invocation,
)
from perdure.wire.types import ControlBody, ExecutionAnswer, MessageBody

app = command_group()
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for those who look later.")]
Verb = Literal["cancel", "pause", "resume", "stop"]


@app.command("cancel", epilog=examples('perdure cancel x06f3 --reason "wrong customer"'))
def cancel(
    ctx: typer.Context,
    execution_id: IdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """End an execution now; what it still does is stopped."""
    _control(invocation(ctx, output), execution_id, "cancel", ControlBody(reason, by))


@app.command("pause", epilog=examples("perdure pause x06f3"))
def pause(
    ctx: typer.Context,
    execution_id: IdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Let no new step begin; steps that run may end."""
    _control(invocation(ctx, output), execution_id, "pause", ControlBody(reason, by))


@app.command("resume", epilog=examples("perdure resume x06f3"))
def resume(
    ctx: typer.Context,
    execution_id: IdArgument,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Go on after a pause, or after the execution was set aside."""
    _control(invocation(ctx, output), execution_id, "resume", ControlBody(by=by))


@app.command("stop", epilog=examples('perdure stop x06f3 --reason "good enough"'))
def stop(
    ctx: typer.Context,
    execution_id: IdArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """End an execution after the turn that it is in, with what there is."""
    _control(invocation(ctx, output), execution_id, "stop", ControlBody(reason, by))


@app.command("signal", epilog=examples('perdure signal x06f3 "Use the cheaper one." --interrupt'))
def signal(
    ctx: typer.Context,
    execution_id: IdArgument,
    message: Annotated[str, typer.Argument(metavar="TEXT", help="What is said.")],
    interrupt: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--interrupt", help="Give up the model call that runs; the next turn begins at once."),
    ] = False,
    message_id: Annotated[
        str | None, typer.Option("--message-id", help="The same id again changes nothing.")
    ] = None,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Say something to an execution while it runs; its model sees it in the next turn."""
    call = invocation(ctx, output)
    body = MessageBody(message, message_id, by, "interrupt" if interrupt else "enqueue")
    _tell(call, asyncio.run(_say(call, execution_id, body)))


def _control(call: Invocation, typed: str, verb: Verb, body: ControlBody) -> None:
    _tell(call, asyncio.run(_send(call, typed, verb, body)))


def _tell(call: Invocation, found: ExecutionAnswer) -> None:
    if call.screen.for_people:
        call.screen.line(f"{found.execution_id} is {text.line(found.status)}")
    else:
        call.screen.data(found)


async def _send(call: Invocation, typed: str, verb: Verb, body: ControlBody) -> ExecutionAnswer:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await api.control(found.execution_id, verb, body)


async def _say(call: Invocation, typed: str, body: MessageBody) -> ExecutionAnswer:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await api.say(found.execution_id, body)
