"""`perdure approve`, `perdure reject`: a person decides about a call."""

import asyncio
from typing import Annotated

import typer

from perdure.cli import resolve, text
from perdure.cli.connect import connected
from perdure.cli.decide import CHANNEL, parse_arguments
from perdure.cli.options import ByOption, FormatOption, Invocation, command_group, examples, invocation
from perdure.wire.types import ApprovalAnswer, DecisionBody

app = command_group()
WhichArgument = Annotated[
    str,
    typer.Argument(help="The approval, or the execution that waits for it; a unique beginning is enough."),
]


@app.command(
    "approve",
    epilog=examples(
        "perdure approve x06f3", 'perdure approve x06f3 --arguments \'{"order_id": "A-1001", "amount": 20}\''
    ),
)
def approve(
    ctx: typer.Context,
    approval_id: WhichArgument,
    arguments: Annotated[
        str | None,
        typer.Option("--arguments", metavar="JSON", help="Run the call with these arguments instead."),
    ] = None,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Let a call run that waits for a person."""
    edited = None if arguments is None else parse_arguments(arguments)
    _decide(
        invocation(ctx, output),
        approval_id,
        DecisionBody("approved", arguments=edited, by=by, channel=CHANNEL),
    )


@app.command("reject", epilog=examples('perdure reject x06f3 --reason "over the limit of 50"'))
def reject(
    ctx: typer.Context,
    approval_id: WhichArgument,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; the agent sees it and goes on.")],
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Refuse a call that waits for a person."""
    _decide(
        invocation(ctx, output), approval_id, DecisionBody("rejected", reason=reason, by=by, channel=CHANNEL)
    )


def _decide(call: Invocation, typed: str, body: DecisionBody) -> None:
    found = asyncio.run(_send(call, typed, body))
    if not call.screen.for_people:
        call.screen.data(found)
        return
    used = found.decided_arguments if found.decided_arguments is not None else found.arguments
    words = f"{found.decision}: {text.line(found.tool)} {text.compact(used)}"
    call.screen.line(f"{words}\nby {text.line(found.decided_by or '')}; execution {found.execution_id}")


async def _send(call: Invocation, typed: str, body: DecisionBody) -> ApprovalAnswer:
    async with connected(call) as api:
        found = await resolve.approval(api, typed)
        # Bound to what was looked up here: if the call were another by now, the server would refuse.
        bound = DecisionBody(
            body.decision, found.effect_hash, body.reason, body.arguments, body.by, body.channel
        )
        return await api.decide(found.approval_id, bound)
