"""What the contract of guardrails and callbacks stands on: one agent, one tool, a judge, and a worker for all functions.

The word `bad` is what no guardrail lets pass; a guardrail that can offer something else has `good` in its place.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import ModelError, PerdureError
from perdure.core.events import Recorded
from perdure.core.history import text_of
from perdure.core.model import ModelReply, ModelRequest
from perdure.engine.ports import Task
from tests.contract.engine.engine_harness import (
    QUICK,
    Harness,
    OnDelta,
    ScriptedModel,
    Turn,
    call,
    reply,
    result_of,
)
from tests.unit.core import invariants
from tests.unit.core.plans import tool

QUERY = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
WHY = "bad words are not allowed"
KINDS = ("regex", "function", "llm", "external")
PLACES = ("agent input", "agent output", "tool input", "tool output")
ACTIONS = ("retry", "raise", "fix", "human")

Function = Callable[[Task], Any]


class JudgedModel(ScriptedModel):
    """The scripted model, beside a judge: `judged` has what the judge was asked, `verdict` is how it answers."""

    def __init__(self, *turns: Turn | list[Turn]) -> None:
        super().__init__(*turns)
        self.judged: list[ModelRequest] = []
        self.verdict: Callable[[ModelRequest], ModelReply | ModelError | Awaitable[ModelReply]] = verdict

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        if request.output_name != "Verdict":
            return await super().complete(request, on_delta)
        self.judged.append(msgspec.structs.replace(request, messages=list(request.messages)))
        answer = self.verdict(request)
        if isinstance(answer, ModelError):
            raise answer
        return answer if isinstance(answer, ModelReply) else await answer


def verdict(request: ModelRequest) -> ModelReply:
    """What an honest judge says."""
    passed = "bad" not in request.messages[-1].text.partition("<<<")[2]
    return reply(msgspec.json.encode({"passed": passed, "reason": "" if passed else WHY}).decode())


def guard(kind: str, place: str, on_fail: str, **changed: Any) -> GuardrailDefinition:
    """A guardrail of the name `g` at this place."""
    own: dict[str, Any] = {
        "regex": {"patterns": ("bad",), "message": WHY if on_fail != "fix" else ""},
        "llm": {"model": "mock/judge", "policy": "No bad words.", "max_tokens": 50},
    }.get(kind, {})
    fields = {"name": "g", "kind": kind, "position": place.split()[1], "on_fail": on_fail, **own, **changed}
    return GuardrailDefinition(**fields)


def guarded(place: str, *guards: GuardrailDefinition, **fields: Any) -> dict[str, Any]:
    """The fields of a plan with a tool `look` and these guardrails at this place."""
    on_tool = place.startswith("tool")
    tools = dict([tool("look", QUERY, retry=QUICK, guards=guards if on_tool else ())])
    return {"tools": tools, "guards": () if on_tool else guards, "max_turns": 9, **fields}


def good(value: Any) -> Any:
    """The content with every `bad` mended."""
    return msgspec.json.decode(msgspec.json.encode(value).replace(b"bad", b"good"))


def check(task: Task) -> dict[str, Any]:
    """What the function of a guardrail gives."""
    content = task.arguments["content"]
    if "bad" not in text_of(content):
        return {"passed": True, "message": "", "fixed": None}
    return {"passed": False, "message": WHY, "fixed": good(content)}


class Worker:
    """A worker that runs what *functions* say, by the name of the tool; `ran` has every task that it was given."""

    def __init__(self, h: Harness, functions: dict[str, Function]) -> None:
        self.ran: list[Task] = []
        self._h = h
        self._functions = {
            "look": lambda task: f"{task.arguments['q']} found",
            "@guard.g": check,
            **functions,
        }

    @property
    def looked(self) -> list[Any]:
        """With what the tool was called."""
        return [task.arguments["q"] for task in self.ran if task.tool == "look"]

    def names(self) -> list[str]:
        """Which functions and tools were run, in order."""
        return [task.tool for task in self.ran]

    async def run(self) -> None:
        """Work until it is cancelled; an engine that is closed meanwhile is waited for."""
        queues = [f"helper.{name}" for name in self._functions]
        while True:
            try:
                tasks = await self._h.tasks.poll("w1", queues, 8, 500)
                for task in tasks:
                    await self._work(task)
            except (PerdureError, AssertionError):  # between two engines
                await asyncio.sleep(0.005)

    async def _work(self, task: Task) -> None:
        self.ran.append(task)
        made = self._functions[task.tool](task)
        failed = isinstance(made, Exception)
        fields = {"error": {"code": "E0301", "what": str(made)}} if failed else {}
        await self._h.tasks.complete([result_of(task, None if failed else made, **fields)])


@contextlib.asynccontextmanager
async def working(h: Harness, **functions: Function) -> AsyncIterator[Worker]:
    """A worker for `look`, for the guardrail and for *functions* (`before_model` is `@before_model`)."""
    named = {name if name in ("look", "email") else f"@{name}": f for name, f in functions.items()}
    worker = Worker(h, named)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def script(place: str, *, stubborn: bool = False) -> list[ModelReply]:
    """What the agent's model says, so that something bad comes by this place: once, or always."""
    calls = [reply(call("look", f"c{n}", q=q)) for n, q in enumerate(("bad", "fine"))]
    turns = {
        "agent input": [reply("fine")],
        "agent output": [reply("a bad answer"), reply("fine")],
    }.get(place, [*calls, reply("fine")])
    if stubborn:
        return [reply("a bad answer")] if place == "agent output" else [calls[0]]
    return turns


async def begun(h: Harness, place: str, *guards: GuardrailDefinition, **fields: Any) -> str:
    """An execution to which something bad happens at this place."""
    prompt = "a bad prompt" if place == "agent input" else "Hello."
    return await h.start(prompt, changed=guarded(place, *guards, **fields))


async def opened(h: Harness, *turns: Turn | list[Turn]) -> JudgedModel:
    """An engine over a judged model."""
    h.model = JudgedModel(*turns)
    await h.open()
    assert isinstance(h.model, JudgedModel)
    return h.model


def shown(model: ScriptedModel, request: int = -1) -> str:
    """The last thing that the agent's model was shown, as text."""
    message = model.requests[request].messages[-1]
    if message.role == "tool":
        return "\n".join(text_of(part.result) for part in message.parts)  # type: ignore[union-attr]
    return message.text


def hold(records: list[Recorded]) -> None:
    """The invariants that hold of every journal, whatever is asked beside the model and its tools."""
    invariants.gapless(records)
    invariants.terminal_is_final(records)
    invariants.one_winner(records)
    invariants.attempts_are_visible(records)
    invariants.approvals_bind(records)
    invariants.keys_are_stable_and_unique(records)


by_place = pytest.mark.parametrize("place", PLACES)
by_kind = pytest.mark.parametrize("kind", KINDS)
