"""`perdure approve`, `perdure reject`, `perdure respond`: a person decides, about one execution or any below it."""

import asyncio
from typing import Annotated

import typer

from perdure.cli import resolve, text
from perdure.cli.connect import connected
from perdure.cli.decide import CHANNEL, parse_answer, parse_arguments
from perdure.cli.options import ByOption, FormatOption, Invocation, command_group, examples, invocation
from perdure.client import choice
from perdure.core.errors import ClientError
from perdure.wire.types import ApprovalAnswer, DecisionBody

app = command_group()
WhichArgument = Annotated[
    str,
    typer.Argument(
        help="The approval, or the execution that waits for it, or one above that; a unique beginning is enough."
    ),
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
        "approve",
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
    body = DecisionBody("rejected", reason=reason, by=by, channel=CHANNEL)
    _decide(invocation(ctx, output), approval_id, "reject", body)


@app.command(
    "respond",
    epilog=examples(
        "perdure respond x06f3",
        "perdure respond x06f3 --answer 'yes, until Friday'",
        """perdure respond x06f3 --answer '{"agent": "billing"}'""",
    ),
)
def respond(
    ctx: typer.Context,
    approval_id: WhichArgument,
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer",
            "-a",
            metavar="JSON",
            help="The answer; a text where one text is asked for. Without it, it is asked for in the terminal.",
        ),
    ] = None,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Answer what a person is asked: an agent's question, who speaks next, what stands for a text that did not pass.

    A question takes what it asks for, a pick the name of an agent (or DONE), a guardrail {"content": ...}.
    """
    call = invocation(ctx, output)
    _tell(call, asyncio.run(_respond(call, approval_id, answer, by)))


async def _respond(call: Invocation, typed: str, answer: str | None, by: str | None) -> ApprovalAnswer:
    async with connected(call) as api:
        found = await resolve.approval(api, typed, "respond")
        if answer is None:
            answer = _asked(call, found)
        value = parse_answer(answer, found.answer_schema)
        body = DecisionBody("approved", found.effect_hash, by=by, channel=CHANNEL, answer=value)
        return await api.decide(found.approval_id, body)


def _asked(call: Invocation, found: ApprovalAnswer) -> str:
    """What the person types."""
    screen = call.screen
    if not (screen.interactive and screen.for_people):
        raise ClientError(
            "E0704", "There is no answer", why="No terminal to ask in.", fix="Give it: --answer '{...}'."
        )
    screen.line(f"{text.line(found.agent)} asks ({text.line(found.tool)}):")
    screen.line(text.pretty(found.arguments))
    if found.answer_schema is not None:
        screen.line(f"The answer must fit {text.compact(found.answer_schema)}")
    screen.stdout.write("Answer (a text, or JSON): ")
    screen.stdout.flush()
    typed = screen.stdin.readline().strip()
    if not typed:
        raise ClientError("E0704", "There is no answer", fix="Type one; nothing was decided.")
    return typed


def _decide(call: Invocation, typed: str, verb: choice.Verb, body: DecisionBody) -> None:
    _tell(call, asyncio.run(_send(call, typed, verb, body)))


def _tell(call: Invocation, found: ApprovalAnswer) -> None:
    if not call.screen.for_people:
        call.screen.data(found)
        return
    used = found.decided_arguments if found.decided_arguments is not None else found.arguments
    words = f"{found.decision}: {text.line(found.tool)} {text.compact(used)}"
    if found.answer is not None:
        words += f"\nanswer: {text.compact(found.answer)}"
    call.screen.line(f"{words}\nby {text.line(found.decided_by or '')}; execution {found.execution_id}")


async def _send(call: Invocation, typed: str, verb: choice.Verb, body: DecisionBody) -> ApprovalAnswer:
    async with connected(call) as api:
        found = await resolve.approval(api, typed, verb)
        # Bound to what was looked up here: if the call were another by now, the server would refuse.
        bound = DecisionBody(
            body.decision, found.effect_hash, body.reason, body.arguments, body.by, body.channel
        )
        return await api.decide(found.approval_id, bound)
