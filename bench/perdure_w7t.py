"""W7T on Perdure: two agents talk in turns; each turn is an execution of its own, with a journal of its own.

One turn more than asked for is run, so that the end of the conversation is not counted as a turn's.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from bench import measure
from bench.perdure_engine import engine_on
from perdure.compiler import compile_definition
from perdure.core.definition import AgentDefinition
from perdure.core.ids import content_hash
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, Usage
from perdure.engine.ports import StartRequest


class TalkModel:
    """Implements `Models`: says another text each time that it is asked."""

    def __init__(self, output_bytes: int, on_turn: Callable[[int], None]) -> None:
        self.output_bytes = output_bytes
        self.on_turn = on_turn
        self.turns = 0

    def check(self, model: ModelRef) -> None:
        """Always ready."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        """One turn: the last text in, another out."""
        self.turns += 1
        said = measure.step(request.messages[-1].text, self.output_bytes)
        self.on_turn(self.turns)
        tokens = self.output_bytes // 4
        return ModelReply(Message("assistant", (TextPart(said),)), Usage(tokens, tokens), "stop")

    async def aclose(self) -> None:
        """Nothing is open."""


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W7T; see bench/README.md for the parameters and the answer."""
    return uvloop.run(_run(params))


async def _run(params: dict[str, Any]) -> dict[str, Any]:
    folder, turns = Path(params["data_dir"]), params["steps"]
    times: list[float] = []
    sizes: list[int] = []
    began = 0.0

    def on_turn(number: int) -> None:
        # At the beginning of turn n, the n-1 turns before it are on disk.
        if number > 1:
            times.append(time.perf_counter() - began)
        if (number - 1) % (turns // 10) == 0:
            sizes.append(measure.stored_bytes(folder))

    speakers = tuple(AgentDefinition(name, model="bench/talk") for name in ("ann", "bob"))
    team = compile_definition(
        AgentDefinition("talk", agents=speakers, strategy="round_robin", max_turns=turns + 1)
    )
    model = TalkModel(params["output_bytes"], on_turn)
    engine = engine_on(folder, model)
    await engine.open()
    prompt = user(measure.text_of(params["input_bytes"], "prompt"))
    began = time.perf_counter()
    started = await engine.executions.start(
        StartRequest(team.plan, content_hash(team.plan), prompt, "bench", members=team.members)
    )
    ended = await engine.executions.wait(started.execution_id, 1_000_000)
    await engine.close()
    if model.turns != turns + 1:
        raise RuntimeError(f"{model.turns} turns, {ended.status}: {ended.error}")
    return measure.early_and_late(times, sizes)
