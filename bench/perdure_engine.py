"""The engine in this process, on a model that does the step of all sides."""

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench import measure
from perdure.clock import SystemClock
from perdure.core.definition import RetryPolicy
from perdure.core.ids import content_hash
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, ModelSettings, Usage
from perdure.core.plan import Plan
from perdure.engine.engine import Engine
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import ExecutionView, Models, StartRequest


class StepModel:
    """Implements `Models`: each answer is cut off at its length, so that the next turn follows, up to *steps*."""

    def __init__(self, steps: int, output_bytes: int, on_step: Callable[[int], None]) -> None:
        self.steps = steps
        self.output_bytes = output_bytes
        self.on_step = on_step
        self.began: dict[str, float] = {}
        self.step_ms: list[float] = []
        self.count: dict[str, int] = defaultdict(int)

    def check(self, model: ModelRef) -> None:
        """Always ready."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        """The step: the last text in, another out."""
        self.lap(request.execution_id)
        number = self.count[request.execution_id] = self.count[request.execution_id] + 1
        said = measure.step(request.messages[-1 if number == 1 else -2].text, self.output_bytes)
        self.on_step(number)
        return ModelReply(
            Message("assistant", (TextPart(said),)),
            Usage(self.output_bytes // 4, self.output_bytes // 4),
            "stop" if number >= self.steps else "length",
        )

    def lap(self, execution_id: str) -> None:
        """A step's time is from its beginning to that of the next, the commit between them included."""
        now = time.perf_counter()
        if (before := self.began.get(execution_id)) is not None:
            self.step_ms.append((now - before) * 1000)
        self.began[execution_id] = now

    async def aclose(self) -> None:
        """Nothing is open."""


def plan_of(steps: int) -> Plan:
    """An agent without tools that may take that many turns."""
    settings, retry = ModelSettings(), RetryPolicy()
    return Plan("bench", "-", ModelRef("bench", "step"), settings, "", {}, None, steps, 0, 0, retry)


async def execute(engine: Engine, plan: Plan, prompt: str) -> ExecutionView:
    """One execution from start to end."""
    request = StartRequest(plan, content_hash(plan), user(prompt), "bench")
    started = await engine.executions.start(request)
    ended = await engine.executions.wait(started.execution_id, 600_000)
    if ended.status != "completed":
        raise RuntimeError(f"{ended.status}: {ended.error}")
    return ended


def engine_on(folder: Path, model: Models) -> Engine:
    """An engine as `perdure.app` makes it, with *model* in place of all providers."""
    clock = SystemClock()
    journal = SqliteJournal(folder, clock)
    return Engine(journal, journal, model, clock)
