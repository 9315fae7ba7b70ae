"""What the contract of messages, sessions, budgets and trees stands on: several agents, one model, crashes at every commit."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from perdure.core.errors import PerdureError
from perdure.core.ids import content_hash
from perdure.core.messages import ToolCallPart, user
from perdure.core.model import ModelReply, ModelRequest
from perdure.core.plan import Member, Plan
from perdure.engine.ports import Commit, ExecutionFilter, ExecutionView, StartRequest, StoredExecution
from tests.contract.engine.engine_harness import QUICK, Harness, OnDelta, ScriptedModel, reply
from tests.contract.engine.faulty_journal import Done, FaultyJournal
from tests.unit.core.plans import MAILBOX, REQUEST, plan, team, tool

Says = Callable[[ModelRequest], ModelReply | Awaitable[ModelReply]]


class TalkingModel(ScriptedModel):
    """`Models` in which each agent has its own voice, found by its instructions; without one it repeats what it was told.

    `by_agent` has every request, by agent.
    """

    def __init__(self, **voices: Says) -> None:
        super().__init__()
        self.voices = voices
        self.by_agent: dict[str, list[ModelRequest]] = {}

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        shown = msgspec.structs.replace(request, messages=list(request.messages))
        self.requests.append(shown)
        agent = request.instructions.partition("\n")[0]
        self.by_agent.setdefault(agent, []).append(shown)
        voice = self.voices.get(agent, echo)
        said = voice(shown)
        return said if isinstance(said, ModelReply) else await said


def echo(request: ModelRequest) -> ModelReply:
    """What was said last, by the one who repeats it."""
    return reply(f"{request.instructions or 'summary'} heard: {request.messages[-1].text}")


def texts(request: ModelRequest) -> list[str]:
    """The texts of what a model was shown."""
    return [m.text for m in request.messages]


def agent(name: str, **changed: Any) -> Plan:
    """An agent without tools, whose instructions are its name."""
    fields: dict[str, Any] = {"agent": name, "instructions": name, "tools": {}, "model_retry": QUICK}
    return plan(**{**fields, **changed})


def member(made: Plan, **about: Any) -> Member:
    """An agent as another one knows it."""
    return Member(made.agent, content_hash(made), **about)


def of(strategy: Any, name: str, *members: Plan, **changed: Any) -> Plan:
    """A team."""
    return team(strategy, *(member(m) for m in members), agent=name, instructions=name, **changed)


def caller(name: str, *called: Plan, **changed: Any) -> Plan:
    """An agent that has the others as tools, by their names."""
    tools = dict(tool(m.agent, REQUEST, kind="agent", agent=member(m)) for m in called)
    return agent(name, tools={**tools, **changed.pop("more", {})}, **changed)


def listener(name: str = "helper", **changed: Any) -> Plan:
    """An agent that can wait for messages (`listen`) and look for them (`glance`)."""
    return agent(name, tools=MAILBOX, **changed)


def request_of(root: Plan, *below: Plan, prompt: str = "Hello.", **fields: Any) -> StartRequest:
    """A start of *root*, with the plans of all agents below it."""
    members = {content_hash(p): p for p in below}
    return StartRequest(root, content_hash(root), user(prompt), "tester", members=members, **fields)


async def begin(h: Harness, root: Plan, *below: Plan, **fields: Any) -> str:
    """Start *root*."""
    return (await h.executions.start(request_of(root, *below, **fields))).execution_id


async def children(h: Harness, execution_id: str) -> list[StoredExecution]:
    """The children of an execution, oldest first."""
    found = await h.journal.find(ExecutionFilter(parent_id=execution_id, limit=500))
    return sorted(found, key=lambda row: row.execution_id)


async def tree(h: Harness, execution_id: str) -> list[StoredExecution]:
    """All executions below an execution."""
    below = await children(h, execution_id)
    return [*below, *[row for child in below for row in await tree(h, child.execution_id)]]


def called(request: ModelRequest, *calls: ToolCallPart, then: str = "Done.") -> ModelReply:
    """The calls in the first turn, *then* the answer."""
    ours = request.messages[request.earlier :]
    return reply(then) if any(m.tool_calls for m in ours) else reply(*calls)


class CrashingJournal(FaultyJournal):
    """A journal whose process dies right after a commit is durable: nobody hears of it, and nothing is written any more."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.crashed = asyncio.Event()
        self._left: int | None = None

    def arm(self, commits: int | None) -> None:
        """Die after so many commits; None: never."""
        self.crashed.clear()
        self._left = commits

    def commit(self, commit: Commit, done: Done) -> None:
        if self._left is None:
            super().commit(commit, done)
        elif self._left > 1:
            self._left -= 1
            super().commit(commit, done)
        elif self._left == 1:
            self._left = 0
            super().commit(commit, lambda _: self.crashed.set())


Client = Callable[[str], Awaitable[None]]


async def at_every_commit(h: Harness, client: Client, *, most: int = 200) -> int:
    """Run *client* again and again, each time with a crash one commit later, until one goes through without any.

    The client is given a name of its own each time, for its idempotency keys and the ids of its messages. After the
    crash it is run again with the same name, as one who lost the answer does. Gives how many crashes there were.
    """
    if h.journal is None:
        h.wrap = CrashingJournal
        await h.open()
    journal: CrashingJournal = h.journal
    for number in itertools.count(1):
        assert number <= most, "it does not come to an end"
        journal.arm(number)
        first = asyncio.ensure_future(client(f"n{number}"))
        crash = asyncio.ensure_future(journal.crashed.wait())
        try:
            async with asyncio.timeout(20):
                await asyncio.wait({first, crash}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            crashed = journal.crashed.is_set()
            for task in (first, crash) if crashed else (crash,):
                task.cancel()
            await asyncio.gather(first, crash, return_exceptions=True)
        journal.arm(None)
        if not crashed:
            first.result()
            return number - 1
        await h.restart()
        async with asyncio.timeout(20):
            await client(f"n{number}")
    raise AssertionError


async def tolerant(work: Awaitable[Any], *codes: str) -> ExecutionView | None:
    """The answer, or None when it is refused with one of these codes."""
    try:
        view: ExecutionView = await work
    except PerdureError as error:
        if error.code not in codes:
            raise
        return None
    return view
