"""`perdure cancel`, `perdure pause`, `perdure resume`."""

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
from perdure.wire.types import ControlBody, ExecutionAnswer

app = command_group()
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for those who look later.")]
Verb = Literal["cancel", "pause", "resume"]


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


def _control(call: Invocation, typed: str, verb: Verb, body: ControlBody) -> None:
    found = asyncio.run(_send(call, typed, verb, body))
    if call.screen.for_people:
        call.screen.line(f"{found.execution_id} is {text.line(found.status)}")
    else:
        call.screen.data(found)


async def _send(call: Invocation, typed: str, verb: Verb, body: ControlBody) -> ExecutionAnswer:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await api.control(found.execution_id, verb, body)
