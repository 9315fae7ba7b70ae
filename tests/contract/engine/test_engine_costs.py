"""Costs: every answer is recorded with what it cost, and a result has the sum of its tree, over restarts too."""

from typing import Any

from perdure.core import events as ev
from perdure.core.definition import BudgetDefinition, GuardrailDefinition
from perdure.core.model import ModelRef, ModelRequest, Usage
from perdure.core.plan import Plan
from tests.contract.engine.engine_harness import Gate, Harness, call, reply
from tests.contract.engine.guard_harness import JudgedModel
from tests.contract.engine.tree_harness import TalkingModel, agent, begin, called, caller, tree

# Each answer of the harness takes 10 tokens in and 5 out.
MINI, MINI_COST = ModelRef("openai", "gpt-4o-mini"), 5  # 0.15 and 0.60 dollars a million: 4.5, rounded up
OPUS, OPUS_COST = ModelRef("anthropic", "claude-opus-5-5"), 140  # 4 and 20 dollars
HAIKU, HAIKU_COST = ModelRef("anthropic", "claude-3-haiku-20240307"), 9  # 0.25 and 1.25 dollars: 8.75
UNKNOWN = ModelRef("openai", "no-such-model")
TEN = {"openai/no-such-model": {"input": 10.0, "output": 0.0}}  # 100 a call
ONE = {"openai/no-such-model": {"input": 1.0, "output": 0.0}}  # 10 a call


def money(usage: Usage) -> tuple[int, int]:
    """What it cost, and how many calls have no price."""
    return usage.cost_micro, usage.unpriced_calls


async def cost_of(h: Harness, execution_id: str) -> tuple[int, int]:
    """The same of an execution that ends."""
    view = await h.ended(execution_id)
    assert view.status == "completed"
    return money(view.usage)


def asks(*children: Plan) -> Any:
    """Calls all children in the first turn, and answers in the second."""
    return lambda r: called(r, *(call(p.agent, p.agent, request="Go") for p in children))


async def test_a_team_costs_what_its_agents_cost_over_a_restart(h: Harness):
    """The cost of the root is the sum of all answers below it; one that a restart took away is asked again."""
    ann, bob = agent("ann", model=OPUS), agent("bob", model=HAIKU)
    root = caller("root", ann, bob, model=MINI)
    gate = Gate(reply("never"))
    h.model = TalkingModel(root=asks(ann, bob), bob=lambda r: gate(r, lambda _: None))
    await h.open()
    execution_id = await begin(h, root, ann, bob)
    await gate.reached.wait()
    first = next(row for row in await tree(h, execution_id) if row.agent == "ann")
    assert await cost_of(h, first.execution_id) == (OPUS_COST, 0)
    h.model = TalkingModel(root=asks(ann, bob))
    await h.restart()
    total = (2 * MINI_COST + OPUS_COST + HAIKU_COST, 0)
    assert await cost_of(h, execution_id) == total
    assert sorted([money(e.usage)[0] for e in await h.found(execution_id, ev.ChildCompleted)]) == [
        HAIKU_COST,
        OPUS_COST,
    ]
    await h.restart()
    assert await cost_of(h, execution_id) == total


async def test_a_call_without_a_known_price_is_counted_up_to_the_root(h: Harness):
    """No price is guessed: the sum says how many calls it does not have."""
    ann, bob = agent("ann", model=UNKNOWN), agent("bob", model=HAIKU)
    h.model = TalkingModel(root=asks(ann, bob))
    await h.open()
    assert await cost_of(h, await begin(h, caller("root", ann, bob), ann, bob)) == (HAIKU_COST, 1)


async def test_the_nearest_budget_that_names_a_model_has_its_price(h: Harness):
    """A team's prices hold for its agents, and an agent's own come first; what neither names is in the table."""
    own = agent("own", model=UNKNOWN, budget=BudgetDefinition(max_cost_usd=1.0, prices=ONE))
    above = agent("above", model=UNKNOWN, budget=BudgetDefinition(max_tokens=100_000))
    table = agent("table", model=HAIKU)
    budget = BudgetDefinition(max_cost_usd=1.0, prices={**TEN, "mock/m": {"input": 1.0, "output": 2.0}})
    root = caller("root", own, above, table, budget=budget)
    h.model = TalkingModel(root=asks(own, above, table))
    await h.open()
    execution_id = await begin(h, root, own, above, table)
    assert await cost_of(h, execution_id) == (2 * 20 + 10 + 100 + HAIKU_COST, 0)


async def test_a_judge_costs_what_its_own_model_costs(h: Harness):
    """The model that judges an answer is priced as itself, and is part of the cost."""
    guard = GuardrailDefinition("g", kind="llm", model=str(OPUS), policy="No.", max_tokens=10)
    h.model = JudgedModel(reply("fine"))
    await h.open()
    execution_id = await begin(h, agent("helper", model=MINI, guards=(guard,)))
    assert await cost_of(h, execution_id) == (MINI_COST + OPUS_COST, 0)


async def test_what_is_free_costs_nothing_and_what_an_answer_says_stands(h: Harness):
    """A mock model has no cost and is not one without a price; an answer that has its cost keeps it."""
    await h.open()
    assert await cost_of(h, await begin(h, agent("helper"))) == (0, 0)

    def recorded(_: ModelRequest) -> Any:
        said = reply("As then.")
        return type(said)(said.message, Usage(10, 5, cost_micro=77), said.finish_reason)

    h.model = TalkingModel(helper=recorded)
    await h.restart()
    assert await cost_of(h, await begin(h, agent("helper", model=OPUS))) == (77, 0)
