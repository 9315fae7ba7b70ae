"""What stands beside the loop of a random agent: guardrails, hooks, a memory, calls made before it; and what their functions say."""

import random
from typing import Any

from perdure.core.definition import (
    HOOKS,
    GuardrailDefinition,
    MemoryDefinition,
    OnFail,
    OutputDefinition,
    Position,
    PrefilledCall,
    ToolDefinition,
)
from tests.unit.core.plans import FORECAST

CLOSED = "That will do."  # what models say now and then, and some guardrails refuse
SHARE = 0.15  # of the agents that have any one of these
_WINDOW = 256  # tokens, the least that there is: the instructions fill half of it
_FULL = "You are one of many, and all that you say is kept. " * 10
_FAILS: tuple[OnFail, ...] = ("retry", "raise", "fix", "human")
_CHANGES: dict[str, dict[str, Any]] = {
    "@before_agent": {"input": "Do something else."},
    "@after_agent": {"output": "Said otherwise."},
    "@before_model": {"instructions": "Be brief."},
    "@after_model": {"text": "Put otherwise."},
    "@before_tool": {"arguments": {"amount": 1}},
    "@after_tool": {"result": {"seen": True}},
}


def beside(rng: random.Random, name: str, tools: tuple[ToolDefinition, ...]) -> dict[str, Any]:
    """The fields of an agent: each is there with a probability of SHARE."""
    fields: dict[str, Any] = around(rng)
    workers = [tool for tool in tools if tool.kind == "worker"]
    if _drawn(rng):
        fields["instructions_function"] = True
    if _drawn(rng):
        fields["output"] = OutputDefinition(FORECAST.name, FORECAST.schema)
    if _drawn(rng) and workers:
        fields["prefill"] = (PrefilledCall(rng.choice(workers).name, {"amount": 3}),)
    if _drawn(rng):
        said = ({"role": "user", "content": "Remember."}, {"role": "system", "content": "Be kind."})
        fields["memory"] = MemoryDefinition(rng.choice((said, ())), max_messages=rng.choice((None, 3, 5)))
    if _drawn(rng):
        fields |= {"context_window": _WINDOW, "instructions": f"{name}. {_FULL}"}
    if _drawn(rng):
        fields["tools"] = tuple(_guarded(rng, tool) if tool in workers else tool for tool in tools)
    return fields


def around(rng: random.Random) -> dict[str, Any]:
    """Guardrails and hooks, as a team may have them too."""
    fields: dict[str, Any] = {}
    if _drawn(rng):
        fields["guardrails"] = tuple(_guard(rng, f"g{i}") for i in range(rng.choice((1, 1, 2))))
    if _drawn(rng):
        fields["hooks"] = tuple(rng.sample(HOOKS, rng.choice((1, 2, 3))))
    return fields


def _drawn(rng: random.Random) -> bool:
    return rng.random() < SHARE


def _guarded(rng: random.Random, tool: ToolDefinition) -> ToolDefinition:
    return ToolDefinition(
        tool.name,
        input_schema=tool.input_schema,
        retry=tool.retry,
        approval_required=tool.approval_required,
        on_unknown=tool.on_unknown,
        max_calls=tool.max_calls,
        guardrails=(_guard(rng, f"g_{tool.name}"),),
    )


def _guard(rng: random.Random, name: str) -> GuardrailDefinition:
    positions: tuple[Position, ...] = ("input", "output")
    position, on_fail, retries = rng.choice(positions), rng.choice(_FAILS), rng.choice((1, 3))
    kind = rng.choice(("regex", "function", "llm"))
    if kind == "regex":
        patterns, message = (CLOSED.rstrip("."),), rng.choice(("", "Not that."))
        return GuardrailDefinition(name, "regex", position, on_fail, retries, patterns, message=message)
    if kind == "llm":
        return GuardrailDefinition(
            name, "llm", position, on_fail, retries, model="mock/judge", policy="Be kind."
        )
    return GuardrailDefinition(name, "function", position, on_fail, retries)


def verdict(rng: random.Random) -> dict[str, Any]:
    """What a judging model says."""
    return {"passed": rng.random() < 0.7, "reason": "It reads so."}


def said_beside(rng: random.Random, function: str) -> dict[str, Any] | None:
    """The result of a guardrail's or a hook's function, as agreed; KeyError: it is another one's."""
    if function.startswith("@guard."):
        fixed = rng.choice((None, "Mended.", {"amount": 2}))
        return {"passed": rng.random() < 0.7, "message": "Not so.", "fixed": fixed}
    if function == "@instructions":
        return {"instructions": "Do as you are told."}
    changes = _CHANGES[function]
    return rng.choice((None, {"changes": {}}, {"changes": changes}))
