"""Teams of plan_execute over the engine's ports: their definitions, a model for each part, a worker, a server that dies."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.compiler.compile import compile_definition
from perdure.core.definition import AgentDefinition, GuardrailDefinition, RetryPolicy, ToolDefinition
from perdure.core.errors import PerdureError
from perdure.core.ids import content_hash
from perdure.core.messages import user
from perdure.core.model import ModelReply, ModelRequest
from perdure.engine.ports import Commit, StartRequest, Task
from tests.contract.engine.engine_harness import Harness, OnDelta, ScriptedModel, reply, result_of
from tests.contract.engine.faulty_journal import Done, FaultyJournal

QUICK = RetryPolicy(max_attempts=2, delay_ms=10, jitter=0)
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
WRITER = "write the arguments"


def tool(name: str, **fields: Any) -> ToolDefinition:
    """A tool of the team."""
    return ToolDefinition(name, retry=QUICK, **fields)


def tools(*guards: GuardrailDefinition) -> tuple[ToolDefinition, ...]:
    """The tools of a team; the guardrails stand at `fetch`."""
    expert = AgentDefinition("expert", "mock/m", instructions="expert.")
    return (
        tool("fetch", guardrails=guards),
        tool("write", input_schema=TEXT),
        tool("check"),
        tool("tell"),
        tool("pay", approval_required=True),
        ToolDefinition("think", kind="agent", agent=expert),
    )


def team(plan: dict[str, Any] | None = None, **fields: Any) -> AgentDefinition:
    """A team with a fixed plan, or with a planner."""
    given = {"tools": tools(), "synthesize": False} | fields
    if plan is None:
        given.setdefault("planner", agent("planner"))
    return AgentDefinition(
        "team", "mock/m", instructions="team.", strategy="plan_execute", plan=plan, **given
    )


def agent(name: str, **fields: Any) -> AgentDefinition:
    """An agent whose instructions are its name and a full stop."""
    return AgentDefinition(name, "mock/m", instructions=f"{name}.", **fields)


class PartModel(ScriptedModel):
    """Answers each agent, and the writer of arguments, from a list of its own; the last answer for ever.

    Which answer follows from what the request says of earlier ones, so that a call that is made again gets the same.
    """

    def __init__(self, **said: Sequence[str | dict[str, Any]]) -> None:
        super().__init__()
        self.said = said
        self.answered: Counter[str] = Counter()

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        self.requests.append(msgspec.structs.replace(request, messages=list(request.messages)))
        part = "writer" if WRITER in request.instructions else request.instructions.split(".")[0]
        tried = sum(m.role == "assistant" for m in request.messages)
        tried += "You answered this before" in request.messages[0].text
        answers = self.said[part]
        self.answered[part] += 1
        answer = answers[min(tried, len(answers) - 1)]
        return reply(answer if isinstance(answer, str) else json.dumps(answer))

    def shown_to(self, part: str) -> list[ModelRequest]:
        """The requests of one part."""
        word = WRITER if part == "writer" else f"{part}."
        return [r for r in self.requests if word in r.instructions]


async def start(h: Harness, definition: AgentDefinition, prompt: str = "Do it.") -> str:
    """Start a team."""
    bundle = compile_definition(definition)
    request = StartRequest(
        bundle.plan, content_hash(bundle.plan), user(prompt), "tester", members=bundle.members
    )
    return (await h.executions.start(request)).execution_id


class Worker:
    """Runs the team's tools: `results` says what each gives; `done` counts what was done, by idempotency key."""

    def __init__(self, h: Harness, **results: Any) -> None:
        self.h = h
        self.results = results
        self.done: Counter[str] = Counter()
        self.tasks: list[Task] = []
        self.queues = [f"team.{t.name}" for t in tools()] + ["team.@guard.clean", "team.@before_tool"]

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            for task in await self.h.tasks.poll("w1", self.queues, 10, 5_000):
                await self.work(task)

    async def work(self, task: Task) -> None:
        """Do one task."""
        self.tasks.append(task)
        self.done[f"{task.step} {task.idempotency_key}"] += 1
        result = self.results.get(task.tool, f"{task.tool} done")
        result = result(task) if callable(result) else result
        if isinstance(result, PerdureError):
            fields = {"error": {"code": result.code, "what": result.what}, "retryable": False}
            await self.h.tasks.complete([result_of(task, None, **fields)])
        else:
            await self.h.tasks.complete([result_of(task, result)])

    def of(self, tool: str) -> list[Task]:
        """The tasks of one tool, in the order in which they were done."""
        return [t for t in self.tasks if t.tool == tool]


async def worked(h: Harness, execution_id: str, worker: Worker) -> Any:
    """The execution once it has ended, with a worker at work."""
    working = asyncio.get_running_loop().create_task(worker.run())
    try:
        return await h.ended(execution_id)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


class DyingJournal(FaultyJournal):
    """After so many commits the server is dead: the last one is durable, and nobody hears of it or of any later."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.left: int | None = None
        self.died = asyncio.Event()

    def commit(self, commit: Commit, done: Done) -> None:
        if self.left is None:
            self.inner.commit(commit, done)
            return
        self.left -= 1
        if self.left == 0:
            self.inner.commit(commit, lambda _: self.died.set())
        elif self.left > 0:
            self.inner.commit(commit, done)
