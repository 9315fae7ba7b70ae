"""`perdure ls`, `perdure show`, `perdure watch`: looking at executions."""

import asyncio
from typing import Annotated

import typer

from perdure.cli import follow, render, resolve, text
from perdure.cli.connect import connected
from perdure.cli.options import FormatOption, IdArgument, Invocation, command_group, examples, invocation
from perdure.cli.times import age, date_time
from perdure.cli.view import View
from perdure.client.api import ApiClient
from perdure.wire.types import EventRecord, ExecutionAnswer

app = command_group()
SHORT_ID = 14  # the time in milliseconds and a little more: enough to be unambiguous in practice
WIDE = 110
PAGE = 500
VALUE_LIMIT = 2_000
PAGE_OF_LS = 200


@app.command("ls", epilog=examples("perdure ls --status waiting:approval", "perdure ls -n 100 -o jsonl"))
def ls(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", "-s", help="Only these, e.g. running, waiting:approval, failed. Repeat for more."
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Only those of this agent.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only those of this session.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many, the newest.")] = 20,
    output: FormatOption = None,
) -> None:
    """List executions, newest first."""
    call = invocation(ctx, output)
    found = asyncio.run(_list(call, status or [], agent, session, limit))
    if not call.screen.for_people:
        call.screen.rows(found)
        return
    now = call.clock.now_ms()
    short = call.screen.terminal and call.screen.out.width < WIDE
    rows = [
        (
            e.execution_id[:SHORT_ID] if short else e.execution_id,
            text.line(e.status),
            text.line(e.agent, 30),
            age(e.created_at_ms, now),
            str(e.turn),
            text.count(e.usage.total_tokens),
            text.line(e.title, 60),
        )
        for e in found
    ]
    columns = ("id", "status", "agent", "age", "turns", "tokens", "title")
    call.screen.table(columns, rows, empty="No executions. Begin with: perdure demo")


async def _list(
    call: Invocation, status: list[str], agent: str | None, session: str | None, limit: int
) -> list[ExecutionAnswer]:
    found: list[ExecutionAnswer] = []
    before: str | None = None
    async with connected(call) as api:
        while len(found) < limit:
            size = min(limit - len(found), PAGE_OF_LS)
            page = await api.executions(
                status=status, agent=agent, session_id=session, before=before, limit=size
            )
            found += page.executions
            before = page.next
            if before is None:
                break
    return found


@app.command("show", epilog=examples("perdure show x06f3", "perdure show x06f3 -o json"))
def show(
    ctx: typer.Context,
    execution_id: IdArgument,
    full: Annotated[bool, typer.Option("--full", help="Leave no value out, however long.")] = False,  # noqa: FBT002
    output: FormatOption = None,
) -> None:
    """Tell the whole story of an execution: turns, tools, arguments, results, errors, waits, approvals.

    With -o json: the execution and its events; with -o jsonl: its events, one per line.
    """
    call = invocation(ctx, output)
    found, events = asyncio.run(_story(call, execution_id))
    if call.screen.format == "jsonl":
        call.screen.rows(events)
        return
    if not call.screen.for_people:
        call.screen.data({"execution": found, "events": events})
        return
    view = View(found.execution_id)
    for record in events:
        view.apply(record)
    detail = render.Detail(limit=None if full else VALUE_LIMIT, story=True)
    call.screen.lines(render.tree(view, call.clock.now_ms(), detail=detail))
    call.screen.line()
    call.screen.lines(render.closing(view))
    for line in _facts(found, view):
        call.screen.line(line)


async def _story(call: Invocation, typed: str) -> tuple[ExecutionAnswer, list[EventRecord]]:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return found, await _all_events(api, found.execution_id)


async def _all_events(api: ApiClient, execution_id: str) -> list[EventRecord]:
    events: list[EventRecord] = []
    while True:
        page = await api.events(execution_id, after=len(events), limit=PAGE)
        events += page.events
        if not page.events or events[-1].seq >= page.last_seq:
            return events


def _facts(found: ExecutionAnswer, view: View) -> list[str]:
    """What is not in the tree."""
    used = found.usage
    tokens = f"{used.input_tokens:,} in, {used.output_tokens:,} out"
    for number, name in ((used.reasoning_tokens, "reasoning"), (used.cache_read_tokens, "from the cache")):
        tokens += f", {number:,} {name}" if number else ""
    facts = [
        ("started", f"{date_time(found.created_at_ms)} by {text.line(found.started_by)}"),
        ("tokens", tokens),
        ("plan", found.plan_hash[:16]),
        ("session", text.line(found.session_id or "")),
        ("start key", text.line(found.idempotency_key or "")),
        (
            "events",
            f"{found.last_seq}"
            + (f", {view.unknown} of kinds this version does not know" if view.unknown else ""),
        ),
    ]
    for wait in found.waits:
        due = f" until {date_time(wait.due_ms)}" if wait.due_ms else ""
        facts.append(("waits for", f"{wait.kind} {text.line(wait.tool or '')}{due}".strip()))
    if any(w.kind == "approval" for w in found.waits):
        facts.append(
            (
                "decide",
                f"perdure approve {found.execution_id}, or perdure reject {found.execution_id} --reason …",
            )
        )
    return [f"{name:<10}{words}" for name, words in facts if words]


@app.command("watch", epilog=examples("perdure watch x06f3", "perdure watch x06f3 -o jsonl"))
def watch(ctx: typer.Context, execution_id: IdArgument, output: FormatOption = None) -> None:
    """Watch an execution until it ends; approvals are answered in place. Survives restarts of the server.

    Ctrl-C once leaves it running, twice cancels it. With -o jsonl: its events, one per line, as they come.
    """
    call = invocation(ctx, output)
    raise typer.Exit(asyncio.run(_watch(call, execution_id)))


async def _watch(call: Invocation, typed: str) -> int:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await follow.to_the_end(call, api, found.execution_id)
