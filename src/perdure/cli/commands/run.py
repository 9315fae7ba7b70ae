"""`perdure run`, `perdure start`, `perdure worker`: beginning executions, and serving the tools of an agent."""

import asyncio
import contextlib
import json
import signal
from typing import Annotated, Any

import typer

from perdure.agents.agent import Agent
from perdure.agents.definitions import agent_definition
from perdure.cli import follow, text
from perdure.cli.connect import connection
from perdure.cli.options import FormatOption, Invocation, command_group, examples, invocation
from perdure.cli.references import is_reference, load_agent
from perdure.client.connection import Connection
from perdure.core.errors import ClientError
from perdure.wire.types import StartAnswer, StartBody
from perdure.worker.functions import dependencies_of, metadata_of, queue_functions

app = command_group()

AgentArgument = Annotated[
    str,
    typer.Argument(help="A deployed agent's name, or module:attribute, or path/file.py:attribute."),
]
PromptArgument = Annotated[str, typer.Argument(help="What the agent is asked; - reads it from stdin.")]
SessionOption = Annotated[
    str | None, typer.Option("--session", help="The conversation that this belongs to.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same key with the same request gives the same execution."),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="JSON", help="A JSON object that the agent's tools can read."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Limit of the whole execution, waiting included."),
]


@app.command(
    "run",
    epilog=examples(
        'perdure run agent.py:agent "Where is order A-1001?"', 'perdure run support "Hello" -o json'
    ),
)
def run(
    ctx: typer.Context,
    agent: AgentArgument,
    prompt: PromptArgument,
    session: SessionOption = None,
    idempotency_key: KeyOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = None,
    output: FormatOption = None,
) -> None:
    """Start an agent and watch it until it ends; approvals are answered in place.

    AGENT is the name of a deployed agent, or names one in your code: module:attribute or path/file.py:attribute. The
    tools of an agent in your code are served by this process. PROMPT - is read from stdin. Ctrl-C once leaves the execution
    running, twice cancels it.
    """
    call = invocation(ctx, output)
    body = _body(call, prompt, session, idempotency_key, context, timeout)
    raise typer.Exit(asyncio.run(_run(call, agent, body)))


async def _run(call: Invocation, typed: str, body: StartBody) -> int:
    loaded = _load(typed)
    async with connection(call, start=True) as open_:
        started = await open_.api.start(_addressed(body, typed, loaded))
        leaving = ""
        if loaded is not None:
            _serve(open_, loaded)
            if started.worker_tools:
                leaving = f"Its tools stop with this program; serve them with: perdure worker {typed}"
        elif call.screen.for_people:
            await _warn_unserved(call, open_, started)
        return await follow.to_the_end(call, open_.api, started.execution_id, leaving=leaving)


async def _warn_unserved(call: Invocation, open_: Connection, started: StartAnswer) -> None:
    served = {tool for worker in (await open_.api.workers()).workers for tool in worker.tools}
    missing = sorted(set(started.worker_tools) - served)
    if missing:
        call.screen.note(
            f"No worker serves {', '.join(map(text.line, missing))} now; begin one with: perdure worker"
        )


@app.command(
    "start",
    epilog=examples(
        'perdure start support "Where is order A-1001?"', 'ID=$(perdure start agent.py:agent "Hello")'
    ),
)
def start(
    ctx: typer.Context,
    agent: AgentArgument,
    prompt: PromptArgument,
    session: SessionOption = None,
    idempotency_key: KeyOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = None,
    output: FormatOption = None,
) -> None:
    """Start an agent and print the execution's id, nothing else.

    AGENT is the name of a deployed agent, or names one in your code: module:attribute or path/file.py:attribute, whose
    tools then need a worker (`perdure worker`). PROMPT - is read from stdin.
    """
    call = invocation(ctx, output)
    body = _body(call, prompt, session, idempotency_key, context, timeout)
    started = asyncio.run(_start(call, agent, body))
    if call.screen.for_people:
        call.screen.line(started.execution_id)
    else:
        call.screen.data(started)


async def _start(call: Invocation, typed: str, body: StartBody) -> StartAnswer:
    loaded = _load(typed)
    async with connection(call, start=True) as open_:
        return await open_.api.start(_addressed(body, typed, loaded))


@app.command(
    "worker",
    epilog=examples(
        "perdure worker agent.py:agent", "perdure worker shop.agents:support shop.agents:billing --no-deploy"
    ),
)
def worker(
    ctx: typer.Context,
    agents: Annotated[list[str], typer.Argument(help="module:attribute or path/file.py:attribute.")],
    deploy: Annotated[  # noqa: FBT002 - typer's way to declare a flag
        bool, typer.Option("--deploy/--no-deploy", help="Make the agents startable by name first.")
    ] = True,
) -> None:
    """Serve the tools of agents in this process, until it is stopped. A server that is not there yet is waited for.

    AGENT names an agent in your code: module:attribute or path/file.py:attribute.
    """
    asyncio.run(_work(invocation(ctx), agents, deploy=deploy))


async def _work(call: Invocation, references: list[str], *, deploy: bool) -> None:
    loaded = [load_agent(typed) for typed in references]
    async with connection(call, start=True, wait=True) as open_:
        # Only now: as long as there is no server nothing is in hand, and a signal ends the process at once.
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        for agent in loaded:
            if deploy:
                answer = await open_.api.deploy(agent_definition(agent))
                call.screen.line(f"deployed {answer.agent} version {answer.version}")
            _serve(open_, agent)
            tools = ", ".join(t.name for t in agent.tools if t.func is not None) or "no tools of its own"
            call.screen.line(
                f'serving {agent.name}: {tools}  (start it with: perdure run {agent.name} "...")'
            )
        await stop.wait()
        call.screen.line("stopping: finishing what is in hand")


def _serve(open_: Connection, agent: Agent) -> None:
    """Run the agent's tools in this process from now on."""
    open_.serve(queue_functions(agent), metadata_of(agent), dependencies_of(agent))


def _load(typed: str) -> Agent | None:
    return load_agent(typed) if is_reference(typed) else None


def _addressed(body: StartBody, typed: str, loaded: Agent | None) -> StartBody:
    """The request with the agent in it: by name, or as a definition."""
    return StartBody(
        body.prompt,
        definition=None if loaded is None else agent_definition(loaded),
        agent=typed if loaded is None else None,
        context=body.context,
        session_id=body.session_id,
        idempotency_key=body.idempotency_key,
        timeout_ms=body.timeout_ms,
    )


def _body(
    call: Invocation,
    prompt: str,
    session: str | None,
    key: str | None,
    context: str | None,
    timeout: float | None,
) -> StartBody:
    words = call.screen.stdin.read() if prompt == "-" else prompt
    if not words.strip():
        raise ClientError(
            "E0704", "There is nothing to run", why="The prompt is empty.", fix="Say what to do."
        )
    return StartBody(
        words,
        context=None if context is None else _json_object(context),
        session_id=session,
        idempotency_key=key,
        timeout_ms=None if timeout is None else round(timeout * 1000),
    )


def _json_object(typed: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(typed)
        if isinstance(value, dict):
            return value
    raise typer.BadParameter('--context must be a JSON object, e.g. \'{"user": "ada"}\'')
