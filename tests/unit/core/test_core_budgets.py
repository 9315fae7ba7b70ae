"""Budgets: reserving, settling, limits over a tree, estimates."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.budgets import (
    DEFAULT_MAX_TOKENS,
    TOOL_CALL,
    Ledger,
    Limits,
    Reservation,
    Spent,
    estimate_call,
    out_of_time,
    release_in,
    reserve_in,
    settle_in,
    spent_of,
)
from perdure.core.definition import BudgetDefinition
from perdure.core.messages import (
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from perdure.core.model import ModelRef, ModelRequest, ModelSettings, ToolSpec, Usage
from perdure.core.prices import MICRO, Price, Rates, price_of
from perdure.core.tokens import heuristic_tokens, message_tokens

DOLLAR = Price(Rates(MICRO, 2 * MICRO))


def asking(cost: int = 0, tokens: int = 0, unpriced: str = "") -> Reservation:
    """A model call that may use so much."""
    return Reservation(Spent(cost, tokens, 0, 1), unpriced)


def reserved(ledger: Ledger, call: str, reservation: Reservation) -> Ledger:
    """The ledger after a reservation that must succeed."""
    after, breach = ledger.reserve(call, reservation)
    assert breach is None
    return after


def test_limits_come_from_the_definition():
    """Dollars become whole micro-dollars and seconds milliseconds; what is not limited stays so."""
    budget = BudgetDefinition(
        max_cost_usd=0.29, max_tokens=5, max_seconds=1.5, max_model_calls=2, max_tool_calls=3
    )
    assert Limits.of(budget) == Limits(290_000, 5, 2, 3, 1500)
    assert Limits.of(BudgetDefinition()) == Limits()
    assert Limits.of(BudgetDefinition(max_cost_usd=0)).cost_micro_usd == 0


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(cost_micro_usd=99), "cost"),
        (Limits(tokens=9), "tokens"),
        (Limits(model_calls=0), "model_calls"),
    ],
)
def test_a_call_over_a_limit_is_refused(limits: Limits, limit: str):
    """The breach says which limit, how much of it is used, and what was asked for."""
    ledger = Ledger(limits)
    after, breach = ledger.reserve("t1.m", asking(100, 10))
    assert after == ledger
    assert breach is not None
    assert breach.limit == limit
    assert breach.used == 0
    assert breach.asked > breach.allowed
    assert "asked for" in breach.why


def test_what_is_reserved_counts_as_used():
    """Two calls at once share what is left; the second is refused when both do not fit."""
    ledger = reserved(Ledger(Limits(tokens=100)), "a", asking(tokens=60))
    assert ledger.left.tokens == 40
    assert ledger.reserve("b", asking(tokens=41))[1] is not None
    assert reserved(ledger, "b", asking(tokens=40)).left.tokens == 0
    assert reserved(ledger.release("a"), "b", asking(tokens=100)).left.tokens == 0
    assert ledger.settle("a", Spent(input_tokens=10)).left.tokens == 90


def test_a_reservation_under_the_same_name_is_replaced():
    """Asking twice reserves once, and a refused second request leaves the first."""
    ledger = reserved(Ledger(Limits(tokens=100)), "a", asking(tokens=60))
    assert reserved(ledger, "a", asking(tokens=90)).left.tokens == 10
    after, breach = ledger.reserve("a", asking(tokens=101))
    assert breach is not None
    assert after.left.tokens == 40


def test_what_was_used_always_counts():
    """Settling counts without a reservation and over the limit (B2); releasing nothing changes nothing."""
    ledger = Ledger(Limits(tokens=100)).settle("x", Spent(input_tokens=150))
    assert ledger.spent.tokens == 150
    assert ledger.left.tokens == 0
    assert ledger.reserve("y", asking(tokens=1))[1] is not None
    assert ledger.release("nobody") == ledger


def test_what_asks_for_nothing_of_a_kind_is_not_refused_for_it():
    """A tool call goes on when the tokens are used up, and a model call when the tool calls are."""
    ledger = Ledger(Limits(tokens=10, tool_calls=1)).settle("x", Spent(input_tokens=20, tool_calls=0))
    ledger = reserved(ledger, "t1.c0", TOOL_CALL)
    _, breach = ledger.reserve("t1.c1", TOOL_CALL)
    assert breach is not None
    assert breach.limit == "tool_calls"
    assert reserved(Ledger(Limits(tool_calls=0)), "t1.m", asking(tokens=5))


def test_an_unknown_price_is_refused_where_money_is_limited():
    """B3: without a price there is no call under a limit of money, and no hindrance without one."""
    _, breach = Ledger(Limits(cost_micro_usd=10**9)).reserve("a", asking(unpriced="openai/x"))
    assert breach is not None
    assert breach.limit == "cost"
    assert "openai/x" in breach.why
    assert reserved(Ledger(Limits(tokens=10)), "a", asking(unpriced="openai/x"))


def test_time_is_over_when_it_is_reached():
    """The limit of time counts from the beginning of the execution."""
    limits = Limits(ms=1_000)
    assert out_of_time(limits, 5_000, 5_999) is None
    breach = out_of_time(limits, 5_000, 6_000)
    assert breach is not None
    assert breach.limit == "seconds"
    assert "1.0 of 1.0 seconds" in breach.why
    assert out_of_time(Limits(), 0, 10**12) is None


def test_a_tree_reserves_in_all_or_none():
    """A call is reserved with every ledger above it; the breach names the depth, and nothing is reserved then."""
    root, child = Ledger(Limits(tokens=100)), Ledger(Limits(tokens=30))
    chain, breach = reserve_in((root, child), "a", asking(tokens=30))
    assert breach is None
    assert [ledger.left.tokens for ledger in chain] == [70, 0]
    same, breach = reserve_in(chain, "b", asking(tokens=1))
    assert breach is not None
    assert breach.depth == 1
    assert same == chain
    assert [ledger.left.tokens for ledger in settle_in(chain, "a", Spent(input_tokens=5))] == [95, 25]
    assert release_in(chain, "a") == (root, child)


def test_a_child_is_given_a_part():
    """What the parent has left cuts the child's limits; what the child spent settles the part that was reserved."""
    parent = Ledger(Limits(cost_micro_usd=100, tokens=50)).settle("x", Spent(cost_micro_usd=40))
    part = Limits(cost_micro_usd=80, model_calls=3).within(parent.left)
    assert part == Limits(60, 50, 3)
    held = reserved(parent, "child", Reservation(part.as_spent()))
    assert held.left == Limits(0, 0)
    assert held.settle("child", Spent(7, 5, 0, 2)).left == Limits(53, 45)


def test_a_ledger_is_stored_as_json():
    """A ledger survives being written and read."""
    ledger = reserved(Ledger(Limits(tokens=9)).settle("x", Spent(1, 2, 3, 4, 5)), "a", asking(0, 1))
    assert msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger) == ledger


AMOUNTS = st.builds(
    Spent, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 2), st.integers(0, 2)
)
LIMITS = st.builds(Limits, *[st.none() | st.integers(0, 200)] * 2, *[st.none() | st.integers(0, 5)] * 2)
KINDS = ("cost_micro_usd", "tokens", "model_calls", "tool_calls")


@given(LIMITS, st.data())
def test_limits_are_passed_by_excesses_alone(limits: Limits, data: st.DataObject):
    """B1: after any calls, spent + reserved is at most the limit and what open calls used beyond their estimates."""
    ledger = Ledger(limits)
    excess = dict.fromkeys(KINDS, 0)
    total = Spent()
    for n in range(data.draw(st.integers(1, 15))):
        estimate = data.draw(AMOUNTS)
        before = ledger.committed
        ledger, breach = ledger.reserve(f"c{n}", Reservation(estimate))
        for kind in KINDS:
            most = getattr(limits, kind)
            grew = getattr(ledger.committed, kind) > getattr(before, kind)
            assert most is None or not grew or getattr(ledger.committed, kind) <= most
        if breach is not None:
            assert ledger.committed == before
        if ledger.reserved and data.draw(st.booleans()):
            call = data.draw(st.sampled_from(sorted(ledger.reserved)))
            held = ledger.reserved[call]
            if data.draw(st.booleans()):
                actual = data.draw(AMOUNTS)
                ledger = ledger.settle(call, actual)
                total = total.plus(actual)
                for kind in KINDS:
                    excess[kind] += max(0, getattr(actual, kind) - getattr(held, kind))
            else:
                ledger = ledger.release(call)
            assert call not in ledger.reserved
        for kind in KINDS:
            most = getattr(limits, kind)
            assert most is None or getattr(ledger.committed, kind) <= most + excess[kind]
    assert ledger.spent == total


@given(st.integers(0, 500), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 130)), max_size=20))
def test_one_call_at_a_time_passes_a_limit_by_one_excess(limit: int, calls: list[tuple[int, int]]):
    """With one call at a time the limit is passed by at most what one call used beyond its estimate."""
    ledger = Ledger(Limits(cost_micro_usd=limit))
    worst = 0
    for estimate, actual in calls:
        ledger, breach = ledger.reserve("c", Reservation(Spent(max(1, estimate))))
        if breach is None:
            ledger = ledger.settle("c", Spent(actual))
            worst = max(worst, actual - max(1, estimate))
    assert ledger.spent.cost_micro_usd <= limit + worst


def request(**more) -> ModelRequest:
    """A request of one short message."""
    fields = {
        "model": ModelRef("openai", "gpt-4o-mini"),
        "instructions": "i" * 35,
        "messages": [user("m" * 70)],
        "tools": (),
        "settings": ModelSettings(max_tokens=100),
    }
    return ModelRequest("e", "t1.m", 1, **fields | more)


def test_a_call_is_estimated_from_its_request():
    """Input is everything that is sent, output as much as may be written, the cost at the price given."""
    assert estimate_call(request(), DOLLAR) == Reservation(Spent(34 + 200, 34, 100, 1))
    tools = (ToolSpec("t" * 7, "d" * 7, {}),)
    assert estimate_call(request(tools=tools), DOLLAR).estimate.input_tokens == 34 + 5
    assert estimate_call(request(output_schema={}), DOLLAR).estimate.input_tokens == 34 + 1
    assert estimate_call(request(), DOLLAR, tokens=lambda _text: 1).estimate.input_tokens == 6
    assert (
        estimate_call(request(settings=ModelSettings()), DOLLAR).estimate.output_tokens == DEFAULT_MAX_TOKENS
    )
    thinking = ModelSettings(max_tokens=100, thinking_budget_tokens=1_000)
    assert estimate_call(request(settings=thinking), DOLLAR).estimate.output_tokens == 1_100
    assert estimate_call(request(), None) == Reservation(Spent(0, 34, 100, 1), "openai/gpt-4o-mini")
    assert estimate_call(request(), price_of("openai/gpt-4o-mini")).unpriced == ""


def test_what_was_used_is_what_the_provider_says():
    """The usage of a reply is what is settled."""
    assert spent_of(Usage(10, 5), DOLLAR) == Spent(20, 10, 5, 1)
    assert spent_of(Usage(10, 5), None) == Spent(0, 10, 5, 1)


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (TextPart("x" * 35), 10),
        (ReasoningPart("x" * 35), 10),
        (MediaPart("image/png", data="A" * 10**6), 1_600),
        (MediaPart("application/pdf", data="A" * 10**6), 5_000),
        (MediaPart("audio/wav", url="u"), 1_600),
        (ToolCallPart("c", "tool", {"a": 1}), 2 + 2 + 4),
        (ToolCallPart("c", "tool", None, "x" * 35), 2 + 10 + 4),
        (ToolResultPart("c", "tool", "x" * 35), 14),
        (ToolResultPart("c", "tool", {"a": "x" * 27}), 14),
    ],
)
def test_every_part_has_an_estimate(part, tokens: int):
    """Each kind of part is counted, and a message costs four tokens more."""
    assert message_tokens(Message("user", (part,))) == 4 + tokens


@given(st.text())
def test_the_heuristic_counts_bytes(text: str):
    """The default counter is the bytes over 3.5, rounded up, for any text."""
    size = len(text.encode(errors="replace"))
    assert heuristic_tokens(text) * 3.5 >= size > (heuristic_tokens(text) - 1) * 3.5 or size == 0
