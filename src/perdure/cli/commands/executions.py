"""`perdure ls`, `perdure show`, `perdure watch`: looking at executions."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import typer

from perdure.cli import follow, render, resolve, text
from perdure.cli.connect import connected
from perdure.cli.decide import verb_of
from perdure.cli.forest import Forest
from perdure.cli.options import FormatOption, IdArgument, Invocation, command_group, examples, invocation
from perdure.cli.times import age, date_time
from perdure.cli.view import View
from perdure.client.api import ApiClient
from perdure.core.errors import PerdureError
from perdure.wire.types import EventRecord, ExecutionAnswer, WaitInfo

app = command_group()
SHORT_ID = 14  # the time in milliseconds and a little more: enough to be unambiguous in practice
WIDE = 110
PAGE = 500
VALUE_LIMIT = 2_000
PAGE_OF_LS = 200
WAITS_FOR_PEOPLE = frozenset({"waiting", "waiting:approval", "quarantined"})


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
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="ID", help="Only the children of this one.")
    ] = None,
    all_: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--all", help="Those too that an agent of a team began.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many, the newest.")] = 20,
    output: FormatOption = None,
) -> None:
    """List executions, newest first; those below others only with --all, --parent, or a --status of waiting for people."""
    call = invocation(ctx, output)
    for_people = bool(WAITS_FOR_PEOPLE & {s for one in status or () for s in one.split(",")})
    roots = not (all_ or parent or for_people)
    wanted: dict[str, Any] = {"status": status or [], "agent": agent, "session_id": session, "roots": roots}
    found = asyncio.run(_list(call, wanted, parent, limit))
    if not call.screen.for_people:
        call.screen.rows(found)
        return
    now = call.clock.now_ms()
    short = call.screen.terminal and call.screen.out.width < WIDE
    rows = [
        [
            e.execution_id[:SHORT_ID] if short else e.execution_id,
            text.line(e.status),
            text.line(e.agent, 30),
            age(e.created_at_ms, now),
            str(e.turn),
            text.count(e.usage.total_tokens),
            text.line(e.title, 60),
        ]
        for e in found
    ]
    columns = ["id", "status", "agent", "age", "turns", "tokens", "title"]
    if any(e.parent_id for e in found):
        columns.insert(3, "of")
        for row, e in zip(rows, found, strict=True):
            row.insert(3, (e.parent_id or "-")[: SHORT_ID if short else None])
    call.screen.table(columns, rows, empty="No executions. Begin with: perdure demo")


async def _list(
    call: Invocation, wanted: Mapping[str, Any], parent: str | None, limit: int
) -> list[ExecutionAnswer]:
    found: list[ExecutionAnswer] = []
    before: str | None = None
    async with connected(call) as api:
        parent_id = None if parent is None else (await resolve.execution(api, parent)).execution_id
        while len(found) < limit:
            size = min(limit - len(found), PAGE_OF_LS)
            page = await api.executions(**wanted, parent_id=parent_id, before=before, limit=size)
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
    tree: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--tree/--no-tree", help="With what the agents below it do.")
    ] = True,
    output: FormatOption = None,
) -> None:
    """Tell the whole story of an execution: turns, tools, arguments, results, errors, waits, approvals.

    With -o json: the execution, its events and its children; with -o jsonl: all their events, one per line.
    """
    call = invocation(ctx, output)
    found, stories = asyncio.run(_story(call, execution_id, tree=tree))
    if call.screen.format == "jsonl":
        call.screen.rows([record for story in stories.values() for record in story.events])
        return
    if not call.screen.for_people:
        call.screen.data(_nested(found, stories))
        return
    forest = Forest(found.execution_id)
    for story in stories.values():
        for record in story.events:
            forest.apply(record)
    view = forest.root
    detail = render.Detail(limit=None if full else VALUE_LIMIT, story=True, below=forest.views)
    call.screen.lines(render.tree(view, call.clock.now_ms(), detail=detail))
    call.screen.line()
    call.screen.lines(render.closing(view))
    for line in _facts(found, view):
        call.screen.line(line)


class Story(NamedTuple):
    """One execution of a tree: its journal, and the executions that it asked for."""

    events: list[EventRecord]
    children: list[str]


async def _story(call: Invocation, typed: str, *, tree: bool) -> tuple[ExecutionAnswer, dict[str, Story]]:
    """The execution, and the stories of it and all below it, parents first."""
    stories: dict[str, Story] = {}
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        ahead = [found.execution_id]
        while ahead:
            one = ahead.pop(0)
            events = await _all_events(api, one, is_child=one != found.execution_id)
            asked = [r.event["child_id"] for r in events if r.event.get("kind") == "child_requested"]
            stories[one] = Story(events, asked)
            ahead += asked if tree else []
    return found, stories


def _nested(found: ExecutionAnswer, stories: Mapping[str, Story]) -> dict[str, Any]:
    """The story as one value: each child has its own events and children."""

    def nested(execution_id: str) -> dict[str, Any]:
        story = stories[execution_id]
        children = [nested(c) for c in story.children if c in stories]
        return {"execution_id": execution_id, "events": story.events, "children": children}

    top = nested(found.execution_id)
    return {"execution": found, "events": top["events"], "children": top["children"]}


async def _all_events(api: ApiClient, execution_id: str, *, is_child: bool) -> list[EventRecord]:
    events: list[EventRecord] = []
    while True:
        try:
            page = await api.events(execution_id, after=len(events), limit=PAGE)
        except PerdureError as error:
            if is_child and error.code == "E0401":
                return []  # asked for, and not begun
            raise
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
        facts.append(("waits for", f"{_waited_for(wait, found)}{due}"))
    if verbs := sorted({verb_of(w.asks or "call") for w in found.waits if w.kind == "approval"}):
        commands = [f"perdure {verb} {found.execution_id}" for verb in verbs]
        facts.append(("decide", f"{', '.join(commands)}, or perdure reject {found.execution_id} --reason …"))
    return [f"{name:<10}{words}" for name, words in facts if words]


def _waited_for(wait: WaitInfo, found: ExecutionAnswer) -> str:
    if wait.kind == "child":
        status = wait.child_status or "not begun"
        return f"agent {text.line(wait.agent or '')}, {wait.child_id}, {text.line(status)}"
    of = f" of {text.line(wait.agent or '')}" if wait.execution_id != found.execution_id else ""
    return f"{wait.kind} {text.line(wait.tool or '')}".strip() + of


@app.command("watch", epilog=examples("perdure watch x06f3", "perdure watch x06f3 -o jsonl"))
def watch(ctx: typer.Context, execution_id: IdArgument, output: FormatOption = None) -> None:
    """Watch an execution until it ends; approvals are answered in place. Survives restarts of the server.

    Ctrl-C once leaves it running, twice cancels it. With -o jsonl: its events and those of all executions below it, one
    per line, as they come.
    """
    call = invocation(ctx, output)
    raise typer.Exit(asyncio.run(_watch(call, execution_id)))


async def _watch(call: Invocation, typed: str) -> int:
    async with connected(call) as api:
        found = await resolve.execution(api, typed)
        return await follow.to_the_end(call, api, found.execution_id)
