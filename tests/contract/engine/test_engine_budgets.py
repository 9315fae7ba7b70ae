"""Budgets: no limit is passed, in a whole tree and over restarts (I13), and what is done at each of them."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.budgets import DEFAULT_MAX_TOKENS, estimate_call
from perdure.core.definition import BudgetDefinition, GuardrailDefinition
from perdure.core.messages import Message, TextPart
from perdure.core.model import ModelRef, ModelReply, ModelRequest, ModelSettings, Usage
from perdure.core.plan import Plan
from tests.contract.engine.engine_harness import Gate, Harness, call, decision, reply
from tests.contract.engine.guard_harness import JudgedModel, working
from tests.contract.engine.tree_harness import (
    TalkingModel,
    agent,
    at_every_commit,
    begin,
    caller,
    tree,
)
from tests.unit.core.plans import tool

LOOK = dict([tool("look", {})])
PRICES = {"mock/m": {"input": 1.0, "output": 2.0}}
SETTINGS = ModelSettings(max_tokens=50)


def honest(request: ModelRequest, text: str = "ok", *calls: Any) -> ModelReply:
    """An answer that says what it used: the whole input as it is estimated, and all that it may write."""
    said = reply(*((text,) if text else ()), *calls)
    most = estimate_call(request, None).estimate
    return ModelReply(said.message, Usage(most.input_tokens, most.output_tokens), said.finish_reason)


def looks(request: ModelRequest) -> ModelReply:
    """A call in every turn."""
    return honest(request, f"Turn {len(request.messages)}.", call("look", request.step))


def limited(name: str = "helper", on_breach: Any = "stop", **limits: Any) -> Plan:
    """An agent that calls its tool for ever, and has a budget."""
    budget = BudgetDefinition(on_breach=on_breach, prices=PRICES, **limits)
    return agent(name, tools=LOOK, max_turns=30, budget=budget, settings=SETTINGS)


LIMITS: dict[str, dict[str, Any]] = {
    "cost": {"max_cost_usd": 0.0006},
    "tokens": {"max_tokens": 400},
    "model_calls": {"max_model_calls": 3},
    "seconds": {"max_seconds": 0.4},
}


async def run(h: Harness, plan: Plan, *below: Plan, delay_s: float = 0.0, **fields: Any) -> str:
    """An execution and a worker for its tool, until it ends or waits for a person."""
    if delay_s:
        await asyncio.sleep(delay_s)
    async with working(h, look=lambda _: "seen"):
        execution_id = await begin(h, plan, *below, **fields)
        await at_rest(h, execution_id)
    return execution_id


async def at_rest(h: Harness, execution_id: str) -> str:
    """Its status once it has ended or waits for a person."""
    for _ in range(2_000):
        view = await h.executions.get(execution_id)
        if view.status in ("completed", "failed", "cancelled", "waiting:approval"):
            return view.status
        await asyncio.sleep(0.01)
    raise AssertionError(f"it is {view.status}")


async def slow_looks(request: ModelRequest) -> ModelReply:
    """The same, and each takes a while."""
    await asyncio.sleep(0.1)
    return looks(request)


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_budget_that_stops_fails_the_execution(h: Harness, limit: str):
    """stop: E0424 names the limit; the text so far is kept, and the journal says whose budget it was."""
    h.model = TalkingModel(helper=slow_looks if limit == "seconds" else looks)
    await h.open()
    execution_id = await run(h, limited(**LIMITS[limit]))
    view = await h.executions.get(execution_id)
    assert (view.status, (view.error or {})["code"], view.finish_reason) == ("failed", "E0424", "budget")
    assert view.output
    (met,) = await h.found(execution_id, ev.BudgetReached)
    assert (met.owner, met.limit, met.action) == (execution_id, limit, "stop")


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_budget_that_finishes_ends_with_what_there_is(h: Harness, limit: str):
    """finish: completed, with the last text."""
    h.model = TalkingModel(helper=slow_looks if limit == "seconds" else looks)
    await h.open()
    view = await h.executions.get(await run(h, limited(on_breach="finish", **LIMITS[limit])))
    assert (view.status, view.finish_reason) == ("completed", "budget")
    assert str(view.output).startswith("Turn ")


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("verdict", ["approved", "rejected"])
async def test_a_budget_that_asks_waits_for_a_person(h: Harness, limit: str, verdict: str):
    """ask: approved, as much again may be used, and then it asks again; rejected, it is as stop. Over a restart too."""
    h.model = TalkingModel(helper=slow_looks if limit == "seconds" else looks)
    await h.open()
    execution_id = await run(h, limited(on_breach="ask", **LIMITS[limit]))
    (asked,) = await h.executions.approvals(execution_id, pending=True)
    assert (asked.kind, asked.arguments["limit"]) == ("budget", limit)
    calls = len(h.model.requests)
    await h.restart()
    async with working(h, look=lambda _: "seen"):
        await h.executions.decide(asked.approval_id, decision(verdict, reason="enough"))
        status = await at_rest(h, execution_id)
    if verdict == "rejected":
        view = await h.executions.get(execution_id)
        assert (view.status, (view.error or {})["code"]) == ("failed", "E0424")
        return
    assert status == "waiting:approval"
    (again,) = await h.executions.approvals(execution_id, pending=True)
    assert again.approval_id != asked.approval_id
    if limit != "seconds":
        assert len(h.model.requests) > calls
    assert [e.limit for e in await h.found(execution_id, ev.BudgetGranted)] == [limit]


@pytest.mark.parametrize("limit", ["cost", "model_calls"])
async def test_a_budget_that_downgrades_asks_a_cheaper_model_once(h: Harness, limit: str):
    """downgrade: the next turn asks the other model; at the next breach it stops. The prices are each model's own."""
    prices = {**PRICES, "mock/small": {"input": 0.001, "output": 0.002}}
    budget = BudgetDefinition(
        **LIMITS[limit], on_breach="downgrade", downgrade_model="mock/small", prices=prices
    )
    h.model = TalkingModel(helper=looks)
    await h.open()
    execution_id = await run(h, agent("helper", tools=LOOK, max_turns=30, budget=budget, settings=SETTINGS))
    assert ((await h.executions.get(execution_id)).error or {})["code"] == "E0424"
    assert [e.action for e in await h.found(execution_id, ev.BudgetReached)] == ["downgrade", "stop"]
    small = sum(str(r.model) == "mock/small" for r in h.model.requests)
    assert (small > 0) == (limit == "cost"), "a limit of calls is the same for every model"


async def test_an_unknown_price_fails_closed(h: Harness):
    """With a limit of money, a model whose price is not known is not called at all (E8)."""
    h.model = TalkingModel()
    await h.open()
    execution_id = await begin(
        h, agent("ann", model=ModelRef("acme", "m"), budget=BudgetDefinition(max_cost_usd=100.0))
    )
    view = await h.ended(execution_id)
    assert (view.error or {})["code"] == "E0424"
    assert "price" in (view.error or {})["why"]
    assert h.model.requests == []


@pytest.mark.parametrize("on_breach", ["stop", "finish", "ask", "downgrade"])
async def test_of_the_tool_calls_the_first_are_made(h: Harness, on_breach: str):
    """Five calls in one answer and a limit of three: three run, two are refused, and the model is told why."""
    calls = [call("look", f"c{n}") for n in range(5)]
    h.model = TalkingModel(helper=lambda r: honest(r) if len(r.messages) > 1 else honest(r, "", *calls))
    await h.open()
    execution_id = await run(h, limited(on_breach=on_breach, max_tool_calls=3))
    view = await h.executions.get(execution_id)
    assert len(await h.found(execution_id, ev.ToolStarted)) <= 3
    if on_breach == "stop":
        assert (view.error or {})["code"] == "E0424"
        return
    assert (view.status, view.output) == ("completed", "ok")
    results = [p.result for p in h.model.requests[-1].messages[-1].parts]  # type: ignore[union-attr]
    assert results[:3] == ["seen"] * 3
    assert [r["code"] for r in results[3:]] == ["E0424"] * 2
    assert len(await h.found(execution_id, ev.ToolStarted)) == 3


async def test_tool_calls_stay_limited_over_a_crash_at_every_commit(h: Harness):
    """A crash between the request of the calls and their offer lets none through that is one too many."""
    calls = [call("look", f"c{n}") for n in range(4)]
    h.model = TalkingModel(helper=lambda r: honest(r) if len(r.messages) > 1 else honest(r, "", *calls))

    async def client(name: str) -> None:
        execution_id = await run(h, limited(on_breach="finish", max_tool_calls=2), idempotency_key=name)
        started = {e.step for e in await h.found(execution_id, ev.ToolStarted)}
        assert len(started) == 2
        assert (await h.executions.get(execution_id)).status == "completed"

    assert await at_every_commit(h, client) >= 6


async def test_a_judge_counts_too(h: Harness):
    """The model that judges the answer is paid from the same budget, and without money it has not been passed (E8)."""
    guard = GuardrailDefinition("g", kind="llm", model="mock/judge", policy="No.", max_tokens=10)
    budget = BudgetDefinition(max_model_calls=1)
    h.model = model = JudgedModel(reply("fine"))
    await h.open()
    execution_id = await begin(h, agent("helper", guards=(guard,), budget=budget))
    assert (await h.ended(execution_id)).status == "failed"
    assert model.judged == []


# Trees ----------------------------------------------------------------------------------------------------

SUBS = [agent(f"sub{n}", settings=SETTINGS) for n in range(50)]


def crowd(**limits: Any) -> Plan:
    """An agent that calls fifty others in one answer, with a budget for all."""
    budget = BudgetDefinition(prices=PRICES, on_breach="finish", **limits)
    return caller("root", *SUBS, budget=budget, settings=SETTINGS)


def conducts(request: ModelRequest) -> ModelReply:
    """Calls all fifty at once."""
    if len(request.messages) > 1:
        return honest(request)
    return honest(request, "", *(call(p.agent, request="Go") for p in SUBS))


async def works(request: ModelRequest) -> ModelReply:
    """Takes a while, and says honestly what it used."""
    await asyncio.sleep(0.02)
    return honest(request)


async def used(h: Harness, execution_id: str) -> Usage:
    """What the journals of a tree say was used, the lost calls included."""
    total = Usage()
    for row in [execution_id, *[r.execution_id for r in await tree(h, execution_id)]]:
        for record in await h.records(row):
            match record.event:
                case ev.ModelCompleted(usage=usage):
                    total = total.plus(usage)
                case ev.ModelLost(used=usage) | ev.ModelInterrupted(used=usage):
                    total = total.plus(usage)
    return total


async def calls_of(h: Harness, execution_id: str) -> int:
    """How many model calls a tree has made."""
    found = [execution_id, *[r.execution_id for r in await tree(h, execution_id)]]
    return sum([len(await h.found(x, ev.ModelCompleted)) for x in found])


@pytest.mark.parametrize("limits", [{"max_tokens": 2_500}, {"max_cost_usd": 0.004}, {"max_model_calls": 17}])
async def test_fifty_at_once_never_pass_the_limit(h: Harness, limits: dict[str, Any]):
    """I13: with honest usage, what is used in the end is within the limit; and the limit is made use of."""
    h.model = TalkingModel(root=conducts, **{p.agent: works for p in SUBS})
    await h.open()
    execution_id = await begin(h, crowd(**limits), *SUBS)
    await h.ended(execution_id)
    total, calls = await used(h, execution_id), await calls_of(h, execution_id)
    spent = {
        "max_tokens": total.total_tokens,
        "max_cost_usd": (total.input_tokens + 2 * total.output_tokens) / 1_000_000,
        "max_model_calls": calls,
    }
    ((name, limit),) = limits.items()
    one = {"max_tokens": 100, "max_cost_usd": 0.0002, "max_model_calls": 1}[name]
    assert spent[name] <= limit
    assert spent[name] > limit - 3 * one or name == "max_tokens"
    assert calls > 5


@pytest.mark.parametrize("after", [1, 8, 20])
async def test_fifty_at_once_never_pass_the_limit_over_a_restart(h: Harness, after: int):
    """I13: the calls that the restart cut were probably paid for, and count; what was recorded counts once."""
    begun = 0
    going = asyncio.Event()

    async def cut(request: ModelRequest) -> ModelReply:
        nonlocal begun
        begun += 1
        if begun > after:
            going.set()
            await asyncio.Event().wait()
        return honest(request)

    h.model = TalkingModel(root=conducts, **{p.agent: cut for p in SUBS})
    await h.open()
    limit = 4_000
    execution_id = await begin(h, crowd(max_tokens=limit), *SUBS)
    await going.wait()
    first = h.model
    h.model = TalkingModel(root=conducts, **{p.agent: works for p in SUBS})
    await h.restart()
    await h.ended(execution_id)
    asked = [honest(request).usage.total_tokens for request in (*first.requests, *h.model.requests)]
    assert sum(asked) <= limit, "as the provider counts it, the calls included whose answers were lost"
    assert await calls_of(h, execution_id) >= after


async def test_a_budget_below_a_budget(h: Harness):
    """The child's own limit stops the child alone; the root's stops both, and says whose it was."""
    inner = limited(max_model_calls=2)
    for most, owner_is_root in ((10, False), (2, True)):
        root = caller("root", inner, budget=BudgetDefinition(max_model_calls=most, on_breach="finish"))
        h.model = TalkingModel(
            root=lambda r: honest(r) if len(r.messages) > 1 else honest(r, "", call("helper", request="Go")),
            helper=looks,
        )
        if h.journal is None:
            await h.open()
        else:
            await h.restart()
        execution_id = await run(h, root, inner)
        (child,) = await tree(h, execution_id)
        (met,) = await h.found(child.execution_id, ev.BudgetReached)
        assert met.owner == (execution_id if owner_is_root else child.execution_id)
        assert (await h.executions.get(execution_id)).status == "completed"


async def test_what_is_given_up_counts(h: Harness):
    """An interrupted call, and the call of a child that was cancelled, have used what they were reserved for."""
    gate = Gate(reply("never"))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else honest(r))
    await h.open()
    budget = BudgetDefinition(max_tokens=200)
    execution_id = await begin(h, agent("ann", budget=budget, settings=ModelSettings(max_tokens=100)))
    await gate.reached.wait()
    message = Message("user", (TextPart("Stop!"),))
    await h.executions.say(execution_id, "m", message, "ann", "interrupt")
    view = await h.ended(execution_id)
    assert (view.error or {})["code"] == "E0424", "the second call does not fit beside the first"
    (given_up,) = await h.found(execution_id, ev.ModelInterrupted)
    assert given_up.used.output_tokens == 100


async def test_the_end_of_a_child_settles_its_call(h: Harness):
    """A child is cancelled in mid-call: its journal says what the call can have used."""
    gate = Gate(reply("never"))
    sub = SUBS[0]
    root = caller("root", sub, budget=BudgetDefinition(max_tokens=100_000))
    h.model = TalkingModel(
        root=lambda r: honest(r) if len(r.messages) > 1 else honest(r, "", call("sub0", request="Go")),
        sub0=lambda r: gate(r, lambda _: None),
    )
    await h.open()
    execution_id = await begin(h, root, sub)
    await gate.reached.wait()
    (child,) = await tree(h, execution_id)
    await h.executions.cancel(child.execution_id, "ann", "")
    await h.ended(execution_id)
    (given_up,) = await h.found(child.execution_id, ev.ModelInterrupted)
    assert given_up.used.output_tokens == 50


async def test_without_a_budget_nothing_is_counted(h: Harness):
    """The default limit of an answer is what an estimate takes where nobody says; without a budget there is none."""
    assert DEFAULT_MAX_TOKENS > 0
    gate = Gate(reply("never"))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    await h.executions.cancel(execution_id, "ann", "")
    assert await h.found(execution_id, ev.ModelInterrupted) == []
