"""Agents and a model for simulations: tools of every policy, and answers of every kind."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from perdure.core.definition import RetryPolicy
from perdure.core.errors import ModelError
from perdure.core.ids import content_hash
from perdure.core.messages import Message, Part, TextPart, ToolCallPart
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Plan
from perdure.testing.virtual import VirtualLoop
from tests.unit.core.invariants import calls_are_answered
from tests.unit.core.plans import AMOUNT, FORECAST, plan, tool

QUICK = RetryPolicy(max_attempts=3, delay_ms=200, backoff="exponential", jitter=0.2)
PATIENT = RetryPolicy(max_attempts=6, delay_ms=300, max_delay_ms=5_000, jitter=0.3)
TOOLS = dict(
    [
        tool("look", AMOUNT, retry=QUICK),
        tool("once", AMOUNT, retry=QUICK, max_calls=2),
        tool("refund", AMOUNT, retry=QUICK, approval_required=True),
        tool("email", AMOUNT, retry=QUICK, on_unknown="ask"),
        tool("charge", AMOUNT, retry=QUICK, on_unknown="fail"),
        tool("transfer", AMOUNT, retry=QUICK, approval_required=True, on_unknown="ask"),
    ]
)
GATED = frozenset({"refund", "transfer"})


def plans() -> list[tuple[str, Plan]]:
    """The plans that executions run, with their hashes."""
    made = [
        plan(agent="clerk", tools=TOOLS, max_turns=6, model_retry=PATIENT),
        plan(agent="clerk", tools=TOOLS, max_turns=3, model_retry=PATIENT, output=FORECAST),
        plan(agent="hasty", tools=TOOLS, max_turns=6, model_retry=PATIENT, timeout_ms=20_000),
    ]
    return [(content_hash(each), each) for each in made]


QUEUES = [f"{agent}.{name}" for agent in ("clerk", "hasty") for name in TOOLS]


class Mood(Protocol):
    """What the model wants to know of its world."""

    rng: random.Random
    loop: VirtualLoop
    chaos: bool
    crashes: int
    rate: dict[str, float]


class FickleModel:
    """`Models` whose every answer is drawn anew."""

    def __init__(self, mood: Mood) -> None:
        self._mood = mood
        self._asked: set[tuple[int, str, str, int]] = set()

    def check(self, model: ModelRef) -> None:
        """Any model can be called."""

    async def aclose(self) -> None:
        """Nothing is open."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        rng, rate = self._mood.rng, self._mood.rate
        self._check(request)
        self._check_once(request)
        await asyncio.sleep(rng.random() * (20 if self._happens("slow") else 0.3))
        if self._happens("model_error"):
            raise _error(rng)
        if self._happens("adapter_fault"):
            raise rng.choice(
                (ValueError("a \ud800 in the answer"), RecursionError(), asyncio.CancelledError())
            )
        if self._happens("garbage"):
            nothing: Any = None
            garbage: Any = rng.choice((None, ModelReply(nothing, Usage(), "stop"), _unstorable()))
            return garbage
        text = self._text(request)
        for piece in range(0, len(text), 7):
            on_delta(Delta("text", text[piece : piece + 7]))
            if rng.random() < rate["pauses"]:
                await asyncio.sleep(rng.random())
        calls = self._calls(request)
        parts: tuple[Part, ...] = ((TextPart(text),) if text else ()) + calls
        finish: Any = "tool_calls" if calls else self._finish()
        return ModelReply(Message("assistant", parts), Usage(rng.randrange(50), rng.randrange(20)), finish)

    def _happens(self, what: str) -> bool:
        return self._mood.chaos and self._mood.rng.random() < self._mood.rate[what]

    def _check(self, request: ModelRequest) -> None:
        """Each answer's calls are followed by their results, in their order; the request ends with what is new.

        What is wrong is noted, not raised: to the engine it would be one more adapter's fault.
        """
        try:
            calls_are_answered(request.messages)
            assert request.messages[-1].role != "assistant", "the model is asked about its own last word"
        except AssertionError as error:
            self._mood.loop.troubles.append(f"{request.execution_id} {request.step}: {error}")

    def _check_once(self, request: ModelRequest) -> None:
        """E4: one server makes one attempt once. Only an answer that is none at all may be asked for again."""
        asked = (self._mood.crashes, request.execution_id, request.step, request.attempt)
        if asked in self._asked and not self._mood.rate["garbage"]:
            self._mood.loop.troubles.append(f"{asked}: the same attempt is made twice")
        self._asked.add(asked)

    def _text(self, request: ModelRequest) -> str:
        rng = self._mood.rng
        if request.output_schema is not None and rng.random() < 0.7:
            return '{"degrees": 3}'
        return "An answer of some length. " * rng.choice((0, 1, 1, 3)) + "."

    def _finish(self) -> str:
        return (
            self._mood.rng.choice(("length", "content_filter", "error")) if self._happens("cut") else "stop"
        )

    def _calls(self, _request: ModelRequest) -> tuple[ToolCallPart, ...]:
        rng = self._mood.rng
        if rng.random() < (0.2 if self._mood.chaos else 0.7):
            return ()
        count = rng.choice((1, 1, 2, 3))
        return tuple(
            ToolCallPart(f"c{i}", rng.choice((*TOOLS, *TOOLS, "nothing")), {"amount": rng.randrange(9)})
            if rng.random() < 0.95
            else ToolCallPart(f"c{i}", "look", {"amount": "much"})
            for i in range(count)
        )


def _error(rng: random.Random) -> ModelError:
    code, retryable = rng.choice(
        (
            ("E0206", True),
            ("E0206", True),
            ("E0207", True),
            ("E0207", True),
            ("E0208", True),
            ("E0204", False),
        )
    )
    wait = rng.choice((None, None, 2_500))
    return ModelError(code, "The provider says no", retryable=retryable, retry_after_ms=wait)


def _unstorable() -> ModelReply:
    bad = ToolCallPart("c0", "look", {"amount": 2**70, "note": "\ud800"})
    return ModelReply(Message("assistant", (bad,)), Usage(1, 1), "tool_calls")
