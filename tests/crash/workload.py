"""What runs while servers crash: five scenarios of an agent alone. Teams and what else there is: `team_workload`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from fleet import Fleet

from perdure.agents import Agent, ToolContext, tool
from perdure.agents.definitions import agent_definition
from perdure.core.definition import AgentDefinition
from perdure.wire.types import ControlBody, DecisionBody, ExecutionAnswer, PollBody, StartBody


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A tool call in a script."""
    return {"tool": name, "arguments": arguments}


def shop(fleet: Fleet, script: list[dict[str, Any]], **options: Any) -> Agent:
    """An agent whose tools write to the ledger."""
    failed: set[str] = set()

    @tool
    async def charge(amount: int, context: ToolContext) -> dict[str, int]:
        """Charge a card."""
        await fleet.effect(context, "charge")
        return {"charged": amount}

    @tool(retry_count=3, retry_delay_seconds=0.03, retry_policy="fixed")
    async def flaky(context: ToolContext) -> str:
        """Fail at the first attempt, and leave its trace in the ledger."""
        await fleet.effect(context, "flaky")
        if context.step not in failed:
            failed.add(context.step)
            raise RuntimeError("the first attempt fails")
        return "at last"

    @tool(approval_required=True)
    async def refund(amount: int, context: ToolContext) -> str:
        """Give money back."""
        await fleet.effect(context, "refund")
        return f"refunded {amount}"

    return Agent(
        "shop",
        "mock/script",
        "You keep a shop.",
        [charge, flaky, refund],
        model_settings={"script": script},
        **options,
    )


async def start(fleet: Fleet, definition: AgentDefinition, session_id: str | None = None) -> str:
    """Start an execution; the acknowledgement is kept for I1."""
    body = StartBody(prompt="go", definition=definition, session_id=session_id)
    answer = await fleet.api.start(body)
    fleet.acked.append(("start", answer.execution_id))
    return answer.execution_id


async def decide(
    fleet: Fleet, execution_id: str, verdicts: dict[str, Literal["approved", "rejected"]]
) -> None:
    """Wait for the approvals of these steps and decide them."""
    for step, verdict in verdicts.items():
        while True:
            asked = [a for a in await fleet.api.approvals(execution_id) if a.step == step]
            if asked:
                break
            await asyncio.sleep(0.02)
        body = DecisionBody(verdict, effect_hash=asked[0].effect_hash, by="tester", channel="test")
        await fleet.api.decide(asked[0].approval_id, body)
        fleet.acked.append(("decision", (execution_id, asked[0].approval_id, verdict)))


async def ended(fleet: Fleet, execution_id: str) -> ExecutionAnswer:
    """Wait for the end, over any number of restarts."""
    while True:
        answer = await fleet.api.wait(execution_id, 5_000)
        if answer.status in ("completed", "failed", "cancelled"):
            return answer


async def tools(fleet: Fleet) -> None:
    """Parallel calls that succeed, fail once, are unknown, are approved, are rejected; an answer that is rejected."""
    script = [
        {
            "tool_calls": [
                call("charge", amount=5),
                call("flaky"),
                call("nothing_of_that_name"),
                call("refund", amount=7),
                call("refund", amount=9),
            ]
        },
        {"text": "not json"},
        {"json": {"total": 12}},
    ]
    agent = shop(fleet, script, output_type=dict[str, int])
    fleet.serve_tools(agent)
    execution_id = await start(fleet, agent_definition(agent))
    await decide(fleet, execution_id, {"t1.c3": "approved", "t1.c4": "rejected"})
    answer = await ended(fleet, execution_id)
    assert (answer.status, answer.output) == ("completed", {"total": 12})
    effects = [e["tool"] for e in fleet.ledger()]
    assert effects.count("refund") >= 1
    assert effects.count("charge") >= 1


async def control(fleet: Fleet) -> None:
    """Paused, resumed and cancelled while it waits for a person."""
    agent = shop(fleet, [{"tool_calls": [call("refund", amount=1)]}, {"text": "done"}])
    fleet.serve_tools(agent)
    execution_id = await start(fleet, agent_definition(agent))
    verbs: list[tuple[Any, str]] = [
        ("pause", "execution_paused"),
        ("resume", "execution_resumed"),
        ("cancel", "execution_cancelled"),
    ]
    for verb, kind in verbs:
        await fleet.api.control(execution_id, verb, ControlBody(reason="test"))
        fleet.acked.append((verb, (execution_id, kind)))
    assert (await ended(fleet, execution_id)).status == "cancelled"


async def failing(fleet: Fleet) -> None:
    """A model that fails once and is asked again, then refuses for good."""
    script = [
        {"tool_calls": [call("charge", amount=1)], "fail": {"code": "E0207", "times": 2}},
        {"text": "never", "fail": {"code": "E0204", "times": 100}},
    ]
    agent = shop(fleet, script)
    fleet.serve_tools(agent)
    execution_id = await start(fleet, agent_definition(agent))
    answer = await ended(fleet, execution_id)
    assert answer.status == "failed"
    assert answer.error is not None
    assert answer.error["code"] == "E0204"


async def lost(fleet: Fleet) -> None:
    """A worker takes a task and is never heard of again; another one retakes it."""
    agent = shop(fleet, [{"tool_calls": [call("charge", amount=1)]}, {"text": "done"}])
    execution_id = await start(fleet, agent_definition(agent))
    taken = await fleet.api.poll(PollBody(worker="ghost", tools=["shop.charge"], want=1, wait_ms=5_000))
    fleet.serve_tools(agent)
    answer = await ended(fleet, execution_id)
    assert (answer.status, answer.output) == ("completed", "done")
    assert [t.epoch for t in taken.tasks] in ([1], [])


async def mid_call(fleet: Fleet) -> None:
    """The server is killed while a model answers; what the attempt said is void and it is asked again."""
    agent = shop(fleet, [{"text": "slow", "delay_ms": 400}])
    execution_id = await start(fleet, agent_definition(agent))
    await asyncio.sleep(0.1)
    fleet.kill()
    answer = await ended(fleet, execution_id)
    assert (answer.status, answer.output) == ("completed", "slow")


Scenario = Callable[[Fleet], Awaitable[None]]
KINDS: dict[Scenario, tuple[str, ...]] = {
    tools: (
        "execution_started",
        "model_requested",
        "model_completed",
        "tool_requested",
        "tool_refused",
        "tool_started",
        "tool_completed",
        "tool_failed",
        "timer_fired",
        "approval_requested",
        "approval_decided",
        "output_rejected",
        "execution_completed",
    ),
    control: ("execution_paused", "execution_resumed", "execution_cancelled"),
    failing: ("model_failed", "execution_failed"),
    lost: ("tool_lost",),
    mid_call: ("model_lost",),
}
