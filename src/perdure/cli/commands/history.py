"""`perdure retry`, `rerun`, `fork`, `replay`, `diff`: executions made out of others, and two compared."""

import asyncio
import json
from typing import Annotated, Any, Literal

import msgspec
import typer

from perdure.agents.definitions import agent_definition
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
from perdure.cli.references import load_agent
from perdure.client.histories import diff_lines
from perdure.client.history_calls import MakeBody
from perdure.wire.histories import (
    DiffAnswer,
    EditBody,
    ForkBody,
    MadeAnswer,
    MakeKind,
    ReplayBody,
    RerunBody,
    RetryBody,
)

app = command_group()
AgentOption = Annotated[
    str | None,
    typer.Option("--agent", metavar="REF", help="This agent instead: module:attribute or file.py:attribute."),
]


@app.command("retry", epilog=examples("perdure retry x06f3", "perdure watch $(perdure retry x06f3)"))
def retry(
    ctx: typer.Context, execution_id: IdArgument, by: ByOption = None, output: FormatOption = None
) -> None:
    """Go on from the step at which an execution failed or was cancelled, as a new execution; print its id.

    What was recorded before that step is kept and not done again.
    """
    _make(invocation(ctx, output), execution_id, "retry", RetryBody(by))


@app.command(
    "rerun",
    epilog=examples("perdure rerun x06f3", 'perdure rerun x06f3 --plan current --prompt "And A-1002?"'),
)
def rerun(
    ctx: typer.Context,
    execution_id: IdArgument,
    plan: Annotated[
        Literal["same", "current"],
        typer.Option("--plan", help="The plan of then, or what is deployed under the agent's name now."),
    ] = "same",
    prompt: Annotated[str | None, typer.Option("--prompt", help="Another prompt.")] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="JSON", help="Another context: a JSON object.")
    ] = None,
    agent: AgentOption = None,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Ask the same again from the beginning, as a new execution; print its id."""
    body = RerunBody(
        plan=plan,
        definition=None if agent is None else agent_definition(load_agent(agent)),
        prompt=prompt,
        context=None if context is None else _json("--context", context, dict),
        by=by,
    )
    _make(invocation(ctx, output), execution_id, "rerun", body)


@app.command(
    "fork",
    epilog=examples(
        "perdure fork x06f3 --at 7",
        'perdure fork x06f3 --at t1.c0 --edit \'{"result": {"status": "lost"}}\'',
        'perdure fork x06f3 --at t2.m --edit \'{"model": "openai/gpt-4o"}\'',
    ),
)
def fork(
    ctx: typer.Context,
    execution_id: IdArgument,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="POINT", help="A seq, or the name of a step. Default: the beginning."),
    ] = None,
    edit: Annotated[
        str | None,
        typer.Option(
            "--edit",
            metavar="JSON",
            help="What is put in its place: input, answer, calls, result; instructions, model, max_turns.",
        ),
    ] = None,
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Go on from a point of an execution, as a new one, with something edited there; print its id."""
    point = int(at) if at is not None and at.isascii() and at.isdigit() else at
    put = EditBody() if edit is None else _json("--edit", edit, EditBody)
    _make(invocation(ctx, output), execution_id, "fork", ForkBody(point, put, by))


@app.command(
    "replay",
    epilog=examples(
        "perdure replay x06f3 --model anthropic/claude-sonnet-4-5",
        'perdure replay x06f3 --instructions "Answer in one sentence." --on-missing ask',
    ),
)
def replay(
    ctx: typer.Context,
    execution_id: IdArgument,
    model: Annotated[str | None, typer.Option("--model", help="Another model, for all its agents.")] = None,
    instructions: Annotated[str | None, typer.Option("--instructions", help="Other instructions.")] = None,
    agent: AgentOption = None,
    on_missing: Annotated[
        Literal["fail", "ask", "live"],
        typer.Option("--on-missing", help="A call that was not recorded: tell the model, ask, or make it."),
    ] = "fail",
    by: ByOption = None,
    output: FormatOption = None,
) -> None:
    """Ask the same of another model or prompt, with every tool call answered from the recording; print the new id."""
    definition = None if agent is None else agent_definition(load_agent(agent))
    body = ReplayBody(model, instructions, definition, on_missing, by)
    _make(invocation(ctx, output), execution_id, "replay", body)


def _json(option: str, typed: str, into: Any) -> Any:
    try:
        return msgspec.json.decode(typed, type=into)
    except msgspec.MsgspecError as error:
        raise typer.BadParameter(f"{option}: {error}, e.g. {json.dumps({'input': 'Hello'})}") from error


def _make(call: Invocation, typed: str, kind: MakeKind, body: MakeBody) -> None:
    made = asyncio.run(_send(call, typed, kind, body))
    if call.screen.for_people:
        call.screen.line(made.execution_id)
    else:
        call.screen.data(made)


async def _send(call: Invocation, typed: str, kind: MakeKind, body: MakeBody) -> MadeAnswer:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await api.make(found.execution_id, kind, body)


@app.command("diff", epilog=examples("perdure diff x06f3 x06f9", "perdure diff x06f3 x06f9 -o json"))
def diff(
    ctx: typer.Context,
    execution_id: IdArgument,
    other: Annotated[str, typer.Argument(help="The execution to compare it with.")],
    output: FormatOption = None,
) -> None:
    """Lay two executions side by side: which steps are the same, where they part, and what came of each."""
    call = invocation(ctx, output)
    found = asyncio.run(_diff(call, execution_id, other))
    if call.screen.for_people:
        for line in diff_lines(found):
            call.screen.line(text.line(line))
    else:
        call.screen.data(found)


async def _diff(call: Invocation, one: str, other: str) -> DiffAnswer:
    async with connected(call) as api:
        left, right = await resolve.execution(api, one), await resolve.execution(api, other)
        return await api.diff(left.execution_id, right.execution_id)
