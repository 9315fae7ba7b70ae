"""What the contract of the engine's ports stands on: a model that does as it is told, and engines over one store.

The tests call `Executions` and `Tasks` alone, through `Harness.executions` and `Harness.tasks`; how an engine is
opened, restarted and looked into is the harness's affair, so that another engine can be put behind the same tests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from perdure.clock import SystemClock
from perdure.core.definition import RetryPolicy
from perdure.core.errors import ModelError, PerdureError
from perdure.core.events import AnyEvent, Recorded, kind_of
from perdure.core.ids import content_hash
from perdure.core.messages import Message, Part, TextPart, ToolCallPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Plan
from perdure.engine.config import EngineConfig
from perdure.engine.engine import Engine
from perdure.engine.history_ports import Histories, HistoryRequest
from perdure.engine.ports import (
    Decision,
    Executions,
    ExecutionView,
    LeaseRef,
    StartRequest,
    StreamItem,
    Task,
    TaskResult,
    Tasks,
)
from tests.unit.core.plans import AMOUNT, plan, tool

LEASE_MS = 250
QUICK = RetryPolicy(max_attempts=3, delay_ms=20, jitter=0)
TOOLS = dict(
    [
        tool("look", {}, retry=QUICK),
        tool("refund", AMOUNT, retry=QUICK, approval_required=True),
        tool("email", {}, retry=QUICK, on_unknown="ask"),
        tool("charge", {}, retry=QUICK, on_unknown="fail"),
    ]
)
QUEUES = [f"helper.{name}" for name in TOOLS]

OnDelta = Callable[[Delta], None]
Turn = ModelReply | ModelError | Callable[[ModelRequest, OnDelta], Awaitable[ModelReply]]


def reply(*said: str | ToolCallPart, finish: Any = None) -> ModelReply:
    """An answer: texts and calls, in order."""
    parts: tuple[Part, ...] = tuple(TextPart(s) if isinstance(s, str) else s for s in said)
    calls = any(isinstance(s, ToolCallPart) for s in said)
    return ModelReply(
        Message("assistant", parts), Usage(10, 5), finish or ("tool_calls" if calls else "stop")
    )


def call(name: str, call_id: str = "c", **arguments: Any) -> ToolCallPart:
    """A tool call."""
    return ToolCallPart(f"{call_id}-{name}", name, arguments)


class ScriptedModel:
    """`Models` that answers turn n with the n-th entry of its script, the last one for ever.

    An entry that is a list is gone through attempt by attempt. `requests` has every call that was made.
    """

    def __init__(self, *turns: Turn | list[Turn]) -> None:
        self.turns: list[Turn | list[Turn]] = list(turns) or [reply("Done.")]
        self.requests: list[ModelRequest] = []
        self.closed = False

    def check(self, model: ModelRef) -> None:
        """Every model can be called."""

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        # The conversation goes on; what this call was shown is what its list held.
        self.requests.append(msgspec.structs.replace(request, messages=list(request.messages)))
        turn = sum(m.role == "assistant" for m in request.messages)
        entry = self.turns[min(turn, len(self.turns) - 1)]
        if isinstance(entry, list):
            entry = entry[min(request.attempt, len(entry)) - 1]
        if isinstance(entry, ModelError):
            raise entry
        if isinstance(entry, ModelReply):
            return entry
        return await entry(request, on_delta)

    async def aclose(self) -> None:
        self.closed = True


class Gate:
    """A turn of the model that waits until it is opened; `reached` is set when the call arrives."""

    def __init__(self, answer: ModelReply, *deltas: str) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = False
        self._answer = answer
        self._deltas = deltas

    async def __call__(self, _request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        for text in self._deltas:
            on_delta(Delta("text", text))
        self.reached.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self._answer


class Harness:
    """Engines over one store, one at a time. `open` is called by the first test line that needs one."""

    def __init__(self, make_journal: Callable[[], Any]) -> None:
        self._make_journal = make_journal
        self.clock = SystemClock()
        self.model = ScriptedModel()
        self.wrap: Callable[[Any], Any] = lambda journal: journal
        self.config = EngineConfig(lease_ms=LEASE_MS, storage_retry_ms=50, idle_ms=100)
        self._engine: Engine | None = None
        self.journal: Any = None

    # The life of engines --------------------------------------------------------------------------------

    async def open(self, *turns: Turn | list[Turn]) -> None:
        """Open an engine; with *turns*, on a model of this script."""
        if turns:
            self.model = ScriptedModel(*turns)
        self.journal = self.wrap(self._make_journal() if self.journal is None else self.journal)
        self._engine = Engine(self.journal, self.journal, self.model, self.clock, self.config)
        await self._engine.open()

    async def close(self) -> None:
        """Close the engine if one is open."""
        if self._engine is not None:
            await self._engine.close()
            self._engine = None

    async def restart(self, *turns: Turn | list[Turn]) -> None:
        """Close, and open another engine on what was stored."""
        await self.close()
        self.wrap = lambda journal: journal
        await self.open(*turns)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def executions(self) -> Executions:
        return self.engine.executions

    @property
    def histories(self) -> Histories:
        return self.engine.histories

    @property
    def tasks(self) -> Tasks:
        return self.engine.tasks

    def gauge(self, name: str) -> float:
        """One of the engine's statistics."""
        return self.engine.statistics()[name]

    # What tests do again and again -----------------------------------------------------------------------

    async def start(
        self, prompt: str = "Hello.", *, changed: dict[str, Any] | None = None, **request: Any
    ) -> str:
        """Start an execution; *changed* are fields of its plan."""
        return (await self.executions.start(start_request(prompt, changed, **request))).execution_id

    async def take(self, *queues: str, worker: str = "w1", want: int = 1, wait_ms: int = 5_000) -> Task:
        """Poll until there is a task."""
        tasks = await self.tasks.poll(worker, list(queues) or QUEUES, want, wait_ms)
        assert tasks, "no task came"
        return tasks[0]

    async def no_task(self, *queues: str, wait_ms: int = 60) -> None:
        """Nothing is on offer."""
        assert await self.tasks.poll("nobody", list(queues) or QUEUES, 10, wait_ms) == []

    async def hand_in(
        self, task: Task, result: Any = "fine", worker: str = "w1", **fields: Any
    ) -> str | None:
        """Complete a task; the code of the refusal, or None."""
        (answer,) = await self.tasks.complete([result_of(task, result, worker, **fields)])
        return None if answer is None else str(answer["code"])

    async def ended(self, execution_id: str, seconds: float = 10) -> ExecutionView:
        """The execution once it has ended."""
        view = await self.executions.wait(execution_id, int(seconds * 1000))
        assert view.status in ("completed", "failed", "cancelled"), view
        return view

    async def until(self, execution_id: str, status: str) -> ExecutionView:
        """The execution once it has this status."""
        for _ in range(1_000):
            view = await self.executions.get(execution_id)
            if view.status == status:
                return view
            await asyncio.sleep(0.01)
        raise AssertionError(f"it is {view.status}, not {status}")

    async def records(self, execution_id: str) -> list[Recorded]:
        """All its events."""
        return await self.executions.events(execution_id, 0, 100_000)

    async def kinds(self, execution_id: str) -> list[str]:
        """The kinds of all its events."""
        return [kind_of(r.event) for r in await self.records(execution_id)]

    async def found(self, execution_id: str, kind: type[AnyEvent]) -> list[Any]:
        """Its events of one kind."""
        return [r.event for r in await self.records(execution_id) if isinstance(r.event, kind)]


def start_request(
    prompt: str = "Hello.", changed: dict[str, Any] | None = None, **request: Any
) -> StartRequest:
    """A start of the agent `helper`."""
    fields = {"tools": TOOLS, "model_retry": QUICK} | (changed or {})
    made: Plan = plan(**fields)
    return StartRequest(made, content_hash(made), user(prompt), "tester", **request)


def make_request(execution_id: str, kind: Any, plan_: Plan | None = None, **fields: Any) -> HistoryRequest:
    """A request for an execution out of another one of the agent `helper`."""
    made = plan_ or plan(tools=TOOLS, model_retry=QUICK)
    return HistoryRequest(execution_id, kind, made, content_hash(made), "tester", **fields)


def result_of(task: Task, result: Any = "fine", worker: str = "w1", **fields: Any) -> TaskResult:
    """The result of a task as a worker hands it in."""
    return TaskResult(task.execution_id, task.step, task.epoch, worker, result=result, **fields)


def lease_of(task: Task) -> LeaseRef:
    """What a worker says that it is working on."""
    return LeaseRef(task.execution_id, task.step, task.epoch)


def decision(verdict: Any, by: str = "ann", **fields: Any) -> Decision:
    """A person's decision."""
    return Decision(verdict, by, "test", **fields)


def broken(**fields: Any) -> dict[str, Any]:
    """Fields of a result that is an error."""
    return {"result": None, "error": {"code": "E0301", "what": "It broke"}, **fields}


async def refused(work: Awaitable[Any]) -> PerdureError:
    """The error that *work* ends in."""
    try:
        answer = await work
    except PerdureError as error:
        return error
    raise AssertionError(f"it was not refused: {answer}")


async def collect(stream: Any, items: list[StreamItem]) -> None:
    """Read a stream to its end."""
    async for item in stream:
        items.append(item)  # noqa: PERF401 - what has come so far is looked at meanwhile


def seqs(items: Sequence[StreamItem]) -> list[int]:
    """The positions of the events among *items*."""
    return [item.seq for item in items if isinstance(item, Recorded)]


async def soon(condition: Callable[[], Any], what: str = "it does not happen") -> None:
    """Wait until *condition* holds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)
