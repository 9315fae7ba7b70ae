"""What runs while servers crash, the second part: teams, checks, plans, messages, sessions, budgets, long conversations.

Each scenario ends the same way whether or not the server dies on its way, and says so.
"""

import asyncio
from typing import Any

from fleet import Fleet
from workload import Scenario, call, ended, start

from perdure.agents import Agent, ToolContext, tool
from perdure.agents.budget import Budget
from perdure.agents.callbacks import CallbackHandler
from perdure.agents.definitions import agent_definition
from perdure.agents.guardrails import LLMGuardrail, OnFail, RegexGuardrail, guardrail
from perdure.agents.handoffs import OnCondition, TextGate
from perdure.agents.strategy import Strategy
from perdure.agents.team_tools import wait_for_message_tool
from perdure.client.calls import path_of
from perdure.wire.histories import ForkBody
from perdure.wire.types import ControlBody, DecisionBody, ExecutionAnswer, MessageBody

NEVER_MS = 600_000  # an answer of a model that nobody waits for
ENDED = ("completed", "failed", "cancelled")


def says(name: str, *script: str | dict[str, Any], **options: Any) -> Agent:
    """An agent that follows a script."""
    entries = [{"text": entry} if isinstance(entry, str) else entry for entry in script]
    return Agent(name, "mock/script", "Do your part.", model_settings={"script": entries}, **options)


def calls(name: str, **arguments: Any) -> dict[str, Any]:
    """An entry of a script that calls one tool."""
    return {"tool_calls": [call(name, **arguments)]}


async def begun(fleet: Fleet, agent: Agent, session_id: str | None = None) -> str:
    """Start the agent; its id."""
    return await start(fleet, agent_definition(agent), session_id)


async def run(fleet: Fleet, agent: Agent, *answers: Any) -> ExecutionAnswer:
    """Run the agent to its end, with a worker; what people are asked is approved, with the *answers* in turn."""
    fleet.serve_tools(agent)
    return await to_the_end(fleet, await begun(fleet, agent), *answers)


async def to_the_end(fleet: Fleet, execution_id: str, *answers: Any) -> ExecutionAnswer:
    """Approve whatever is asked, with the *answers* in turn and None after them, until the execution has ended."""
    left = list(answers)
    while True:
        answer = await fleet.api.wait(execution_id, 30)
        if answer.status in ENDED:
            return answer
        for asked in await fleet.api.approvals(execution_id, tree=True):
            said = left.pop(0) if left else None
            body = DecisionBody(
                "approved", effect_hash=asked.effect_hash, by="tester", channel="test", answer=said
            )
            await fleet.api.decide(asked.approval_id, body)
            fleet.acked.append(("decision", (asked.execution_id, asked.approval_id, "approved")))


async def recorded(fleet: Fleet, execution_id: str, kind: str) -> None:
    """Wait until the journal has an event of this kind."""
    while True:
        found = await fleet.api.events(execution_id)
        if any(record.event["kind"] == kind for record in found.events):
            return
        await asyncio.sleep(0.02)


async def say(fleet: Fleet, execution_id: str, text: str, **options: Any) -> None:
    """Say something to an execution."""
    path = path_of("executions", execution_id, "messages")
    body = MessageBody(text, id=f"said-{text}", by="tester", **options)
    await fleet.api.call("POST", path, ExecutionAnswer, body)
    fleet.acked.append(("message", (execution_id, "message_received")))


def ledgered(fleet: Fleet, name: str) -> Any:
    """A tool that writes to the ledger."""

    @tool(name=name)
    async def pay(amount: int, context: ToolContext) -> str:
        """Pay."""
        await fleet.effect(context, name)
        return f"paid {amount}"

    return pay


# Teams --------------------------------------------------------------------------------------------------


async def pipeline(fleet: Fleet) -> None:
    """Three stages, with a gate that is a function and one that is a text, which ends it before the third."""

    def is_long(text: str) -> bool:
        """Whether there is enough."""
        return len(text) > 3

    first = says(
        "first", calls("pay", amount=1), "{result:pay}", tools=[ledgered(fleet, "pay")], gate=is_long
    )
    team = first >> says("second", "ENOUGH now", gate=TextGate("ENOUGH")) >> says("third", "never")
    answer = await run(fleet, team)
    assert (answer.status, answer.output) == ("completed", "ENOUGH now")
    assert len((await fleet.api.executions(parent_id=answer.execution_id)).executions) == 2


async def swarm(fleet: Fleet) -> None:
    """Handed over by a tool, then looked at by a condition that is a function."""

    def wants_cook(said: dict[str, Any]) -> bool:
        """Whether the cook takes over."""
        return "cook" in said["text"]

    waiter = says("waiter", calls("transfer_to_bar", note="thirsty"))
    bar = says("bar", "ask the cook")
    cook = says("cook", calls("pay", amount=3), "soup", tools=[ledgered(fleet, "pay")])
    team = Agent(
        "house",
        agents=[waiter, bar, cook],
        strategy=Strategy.SWARM,
        handoffs=[OnCondition("cook", wants_cook)],
    )
    answer = await run(fleet, team)
    assert (answer.status, answer.output) == ("completed", "soup")


async def routed(fleet: Fleet) -> None:
    """A function routes to a parallel team, of which one member fails and is skipped."""
    refusal = {"text": "never", "fail": {"code": "E0204", "times": 100}}
    board = Agent(
        "board",
        agents=[
            says("law", calls("pay", amount=2), "allowed", tools=[ledgered(fleet, "pay")]),
            says("tax", refusal),
        ],
        strategy=Strategy.PARALLEL,
        on_child_failure="skip",
    )

    def by_words(prompt: str) -> str:
        """Who answers."""
        return "board" if prompt == "go" else "clerk"

    team = Agent("desk", agents=[says("clerk", "never"), board], strategy=Strategy.ROUTER, router=by_words)
    answer = await run(fleet, team)
    assert answer.status == "completed"
    assert "allowed" in str(answer.output)


async def picked(fleet: Fleet) -> None:
    """A person picks who speaks, twice, and then says that it is done."""
    team = Agent("salon", agents=[says("poet", "rain"), says("critic", "good")], strategy=Strategy.MANUAL)
    answer = await run(fleet, team, {"agent": "poet"}, {"agent": "critic"}, {"agent": "DONE"})
    assert (answer.status, answer.output) == ("completed", "good")


async def in_turns(fleet: Fleet) -> None:
    """Two in turns, until a function says that it is enough."""

    def enough(now: dict[str, Any]) -> bool:
        """After the third turn."""
        return bool(now["iteration"] >= 3)

    team = Agent(
        "debate",
        agents=[says("one", "yes", "yes again"), says("other", "no")],
        strategy=Strategy.ROUND_ROBIN,
        stop_when=enough,
        max_turns=10,
    )
    answer = await run(fleet, team)
    assert (answer.status, answer.output) == ("completed", "yes again")
    assert len((await fleet.api.executions(parent_id=answer.execution_id)).executions) == 3


async def cancelled(fleet: Fleet) -> None:
    """A team is cancelled while the model of its member answers: the member ends too (E9)."""
    slow = says("slow", {"text": "never", "delay_ms": NEVER_MS})
    execution_id = await begun(fleet, slow >> says("after", "never"))
    while not (found := (await fleet.api.executions(parent_id=execution_id)).executions):
        await asyncio.sleep(0.02)
    await fleet.api.control(execution_id, "cancel", ControlBody(reason="test"))
    fleet.acked.append(("cancel", (execution_id, "execution_cancelled")))
    assert (await ended(fleet, execution_id)).status == "cancelled"
    assert (await ended(fleet, found[0].execution_id)).status == "cancelled"


# One agent and what stands around it --------------------------------------------------------------------


class Desk(CallbackHandler):
    """Changes the input, the arguments and the result."""

    def on_agent_start(self, input: str, **_: Any) -> dict[str, Any]:  # noqa: A002 - values come by keyword
        """In upper case."""
        return {"input": input.upper()}

    def on_tool_start(self, tool: str, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Ten times as much."""
        return {"arguments": {"amount": arguments["amount"] * 10}}


async def guarded(fleet: Fleet) -> None:
    """Instructions by a function, callbacks, a required tool, and three kinds of guardrails on the answer."""

    def instructions(context: ToolContext) -> str:
        """What it is told."""
        return f"You are {context.agent_name}."

    @guardrail
    def no_promise(content: str) -> bool:
        """No promises."""
        return "promise" not in content

    script = [
        {"text": "too early"},
        calls("pay", amount=4),
        {"text": "I promise"},
        {"text": "{result:pay}, secret"},
    ]
    agent = Agent(
        "clerk",
        "mock/script",
        instructions,
        [ledgered(fleet, "pay")],
        model_settings={"script": script},
        required_tools=["pay"],
        callbacks=[Desk()],
        guardrails=[
            RegexGuardrail("secret", name="secrets", on_fail=OnFail.FIX),
            no_promise,
            # It gives back what it is asked, which is no verdict: a person decides (E8).
            LLMGuardrail("mock/echo", "It is polite.", name="polite", on_fail=OnFail.HUMAN),
        ],
    )
    answer = await run(fleet, agent)
    assert answer.status == "completed"
    assert str(answer.output).startswith("paid 40, ")
    assert "secret" not in answer.output


async def told(fleet: Fleet) -> None:
    """It waits for a message, is asked to stop, and gets the message: it ends after that turn."""
    listen = wait_for_message_tool("listen", "The next message.")
    execution_id = await begun(fleet, says("listener", calls("listen"), "never", tools=[listen]))
    await recorded(fleet, execution_id, "message_awaited")
    path = path_of("executions", execution_id, "stop")
    await fleet.api.call("POST", path, ExecutionAnswer, ControlBody(reason="test"))
    fleet.acked.append(("stop", (execution_id, "stop_requested")))
    await say(fleet, execution_id, "hello")
    answer = await ended(fleet, execution_id)
    assert (answer.status, answer.finish_reason) == ("completed", "stopped")


async def interrupted(fleet: Fleet) -> None:
    """A message gives up the model call in flight; the next call is cancelled."""
    execution_id = await begun(fleet, says("slow", {"text": "never", "delay_ms": NEVER_MS}))
    await say(fleet, execution_id, "hurry", mode="interrupt")
    await recorded(fleet, execution_id, "model_interrupted")
    await fleet.api.control(execution_id, "cancel", ControlBody(reason="test"))
    fleet.acked.append(("cancel", (execution_id, "execution_cancelled")))
    assert (await ended(fleet, execution_id)).status == "cancelled"


async def session(fleet: Fleet) -> None:
    """Two executions of one session: the second waits for the first, and both for a message of their own."""
    listen = wait_for_message_tool("listen", "The next message.")
    agent = says("support", calls("listen"), "heard", tools=[listen])
    first = await begun(fleet, agent, "s1")
    second = await begun(fleet, agent, "s1")
    await recorded(fleet, second, "session_awaited")
    for execution_id in (first, second):
        await recorded(fleet, execution_id, "message_awaited")
        await say(fleet, execution_id, "hello")
        answer = await ended(fleet, execution_id)
        assert (answer.status, answer.output) == ("completed", "heard")


async def budgeted(fleet: Fleet) -> None:
    """The budget is used up after one call of the model; a person allows as much again."""
    script = [calls("pay", amount=1), {"text": "{result:pay}"}]
    budget = Budget(max_model_calls=1, on_breach="ask")
    answer = await run(fleet, says("digger", *script, tools=[ledgered(fleet, "pay")], budget=budget))
    assert (answer.status, answer.output) == ("completed", "paid 1")


async def condensed(fleet: Fleet) -> None:
    """The conversation outgrows its window and is summed up, until a function says that it is enough."""

    @tool
    async def read(context: ToolContext) -> str:
        """Read the next page."""
        await fleet.effect(context, "read")
        return "and so on and so on " * 120

    def enough(now: dict[str, Any]) -> bool:
        """After the fifth turn."""
        return bool(now["iteration"] >= 5)

    agent = Agent(
        "reader",
        "mock/script",
        "Read on.",
        [read],
        model_settings={"script": [{**calls("read"), "text": "so far"}], "repeat_last": True},
        context_window_budget=1_500,
        stop_when=enough,
    )
    answer = await run(fleet, agent)
    assert (answer.status, answer.turn) == ("completed", 5)


async def forked(fleet: Fleet) -> None:
    """An execution is forked at its last turn: what the copy holds as done is not done again."""
    agent = says("payer", calls("pay", amount=8), "{result:pay}", tools=[ledgered(fleet, "pay")])
    first = await run(fleet, agent)
    made = await fleet.api.make(first.execution_id, "fork", ForkBody(at="t2.m"))
    fleet.acked.append(("start", made.execution_id))
    answer = await ended(fleet, made.execution_id)
    assert (answer.status, answer.output) == ("completed", "paid 8")
    assert {entry["execution"] for entry in fleet.ledger()} == {first.execution_id}
    assert len((await fleet.api.executions()).executions) == 2


# Plans --------------------------------------------------------------------------------------------------


async def planned(fleet: Fleet) -> None:
    """A planner is sent back once; of its plan one call has its arguments written, one fails; the fallback ends it."""
    planners: list[str] = []
    plan = {
        "steps": [
            {
                "id": "a",
                "operations": [{"tool": "pay", "generate": {"instructions": "As much as it costs."}}],
            },
            {"id": "b", "operations": [{"tool": "break_it", "args": {}}], "depends_on": ["a"]},
        ]
    }

    @tool
    def draft(context: ToolContext) -> dict[str, Any]:
        """The first planner has nothing, the next one a plan."""
        if context.execution_id not in planners:
            planners.append(context.execution_id)
        return {"nothing": True} if context.execution_id == planners[0] else plan

    @tool(retry_count=0)
    async def break_it(context: ToolContext) -> str:
        """Fail."""
        await fleet.effect(context, "break_it")
        raise ValueError("broken")

    agent = Agent(
        "builder",
        "mock/script",
        tools=[ledgered(fleet, "pay"), break_it],
        strategy=Strategy.PLAN_EXECUTE,
        planner=says("planner", calls("draft"), "{result:draft}", tools=[draft]),
        fallback=says("rescuer", "by hand"),
        model_settings={"script": [{"json": {"amount": 6}}]},
    )
    answer = await run(fleet, agent)
    assert (answer.status, answer.output) == ("completed", "by hand")


TEAM_KINDS: dict[Scenario, tuple[str, ...]] = {
    pipeline: ("child_requested", "child_completed", "gate_decided", "function_requested"),
    swarm: ("agent_chosen", "handoff_decided"),
    routed: ("child_failed",),
    picked: ("agent_chosen",),
    in_turns: ("stop_decided",),
    guarded: (
        "answer_refused",
        "hook_ended",
        "replaced",
        "answer_proposed",
        "guard_decided",
        "judge_requested",
    ),
    told: ("message_received", "message_awaited", "messages_taken", "stop_requested"),
    interrupted: ("model_interrupted",),
    session: ("session_awaited", "session_joined"),
    budgeted: ("budget_reached", "budget_granted"),
    condensed: ("condense_requested",),
    planned: ("plan_accepted", "plan_rejected", "plan_failed", "arguments_requested"),
}
# How a child ends before its parent is told.
CHILD_ENDS: dict[Scenario, str] = {
    pipeline: "execution_completed",
    routed: "execution_failed",
    cancelled: "execution_cancelled",
}
