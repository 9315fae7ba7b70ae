"""Budgets: what is reserved before a call and settled after it, over a tree of executions.

A `Ledger` is a value: limits, what was spent, what is reserved. Before a call its estimate is reserved, and refused
when spent, reserved and estimate together pass a limit; after it the reservation is replaced by what it really used.

* B1: `reserve` never lets spent + reserved pass a limit. So what is spent in the end passes a limit by no more than
  what calls in flight at that time used beyond their estimates: with one call at a time, by one such excess. An
  estimate is at least what the call can cost, as far as its tokens are counted right: the whole input at the dearest
  rate, and as many output tokens as the model may write.
* B2: `settle` always counts: what was used was used, reserved or not, over the limit or not.
* B3 (E8): with a limit of money, a call whose price is not known is refused.

A tree: each execution with a budget has a ledger; a call is reserved in its own and in all above, all or none
(`reserve_in`). A child that runs elsewhere may be given a part: the parent reserves it (`Ledger.left`, `as_spent`),
the child's limits are cut to it (`Limits.within`), and the child's `spent` settles it in the end.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from perdure.core.definition import BudgetDefinition
from perdure.core.model import ModelRequest, Usage
from perdure.core.prices import MICRO, Price
from perdure.core.tokens import Tokens, heuristic_tokens, json_text, message_tokens

LimitName = Literal["cost", "tokens", "model_calls", "tool_calls", "seconds"]

DEFAULT_MAX_TOKENS = 4_096  # of an answer, where neither the agent nor its user says


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was used, or may be: money in whole micro-dollars, tokens, calls."""

    cost_micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: "Spent") -> "Spent":
        """The sum of both."""
        return Spent(
            self.cost_micro_usd + other.cost_micro_usd,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.model_calls + other.model_calls,
            self.tool_calls + other.tool_calls,
        )


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """The most that may be used; None: no limit."""

    cost_micro_usd: int | None = None
    tokens: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    ms: int | None = None

    @classmethod
    def of(cls, budget: BudgetDefinition) -> "Limits":
        """The limits of a definition; fractions of a micro-dollar and of a millisecond are cut off."""
        return cls(
            None if budget.max_cost_usd is None else math.floor(budget.max_cost_usd * MICRO + 1e-6),
            budget.max_tokens,
            budget.max_model_calls,
            budget.max_tool_calls,
            None if budget.max_seconds is None else math.floor(budget.max_seconds * 1000 + 1e-6),
        )

    def within(self, other: "Limits") -> "Limits":
        """The smaller of both, limit by limit."""
        return Limits(*(_least(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__))

    def as_spent(self) -> Spent:
        """What a child may use at most, as its parent reserves it; what has no limit counts as nothing."""
        return Spent(
            self.cost_micro_usd or 0, self.tokens or 0, 0, self.model_calls or 0, self.tool_calls or 0
        )


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _rest(most: int | None, used: int) -> int | None:
    return None if most is None else max(0, most - used)


class Breach(msgspec.Struct, frozen=True, omit_defaults=True):
    """A limit that stands in the way; amounts in micro-dollars, tokens, calls or milliseconds.

    Attributes:
        asked: what the refused call may use.
        used: what was spent and is reserved.
        depth: in a tree, whose limit it is: 0 is the root's.
    """

    limit: LimitName
    why: str
    allowed: int
    used: int = 0
    asked: int = 0
    depth: int = 0


class Reservation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call may use. `unpriced` names the model when its price is not known."""

    estimate: Spent
    unpriced: str = ""


class Ledger(msgspec.Struct, frozen=True, omit_defaults=True):
    """One budget's books. `reserved` is by the name of the call (its step and attempt) or of the child."""

    limits: Limits = Limits()
    spent: Spent = Spent()
    reserved: dict[str, Spent] = {}

    @property
    def committed(self) -> Spent:
        """Spent and reserved together."""
        total = self.spent
        for held in self.reserved.values():
            total = total.plus(held)
        return total

    @property
    def left(self) -> Limits:
        """What may still be reserved; never below 0. The time is not counted here: see `out_of_time`."""
        used = self.committed
        return Limits(
            _rest(self.limits.cost_micro_usd, used.cost_micro_usd),
            _rest(self.limits.tokens, used.tokens),
            _rest(self.limits.model_calls, used.model_calls),
            _rest(self.limits.tool_calls, used.tool_calls),
            self.limits.ms,
        )

    def reserve(self, call: str, reservation: Reservation) -> tuple["Ledger", Breach | None]:
        """The ledger with the reservation, or as it was and the first limit that refuses it.

        A reservation under the same name is replaced, so that asking twice reserves once.
        """
        others = {key: held for key, held in self.reserved.items() if key != call}
        breach = _breach(self.limits, Ledger(self.limits, self.spent, others).committed, reservation)
        if breach is not None:
            return self, breach
        return Ledger(self.limits, self.spent, others | {call: reservation.estimate}), None

    def settle(self, call: str, actual: Spent) -> "Ledger":
        """The ledger after the call: its reservation is gone, what it used is spent (B2). Once for each call."""
        return Ledger(self.limits, self.spent.plus(actual), self.release(call).reserved)

    def release(self, call: str) -> "Ledger":
        """The ledger without the reservation, for a call that was not made; nothing happens when there is none."""
        return Ledger(self.limits, self.spent, {k: held for k, held in self.reserved.items() if k != call})


def _breach(limits: Limits, used: Spent, reservation: Reservation) -> Breach | None:
    if limits.cost_micro_usd is not None and reservation.unpriced:
        return Breach(
            "cost",
            f"the price of {reservation.unpriced} is not known, and the budget limits money: give the budget its price",
            limits.cost_micro_usd,
            used.cost_micro_usd,
        )
    asked = reservation.estimate
    rows: tuple[tuple[LimitName, int | None, int, int], ...] = (
        ("cost", limits.cost_micro_usd, used.cost_micro_usd, asked.cost_micro_usd),
        ("tokens", limits.tokens, used.tokens, asked.tokens),
        ("model_calls", limits.model_calls, used.model_calls, asked.model_calls),
        ("tool_calls", limits.tool_calls, used.tool_calls, asked.tool_calls),
    )
    for name, most, had, more in rows:
        # What asks for nothing of a kind is not refused for it: a tool call when the tokens are used up.
        if most is not None and more > 0 and had + more > most:
            why = f"of {_amount(name, most)}, {_amount(name, had)} are used or reserved and {_amount(name, more)} are asked for"
            return Breach(name, why, most, had, more)
    return None


def _amount(name: LimitName, amount: int) -> str:
    if name == "cost":
        return f"{amount / MICRO:.6f} US dollars"
    return f"{amount} {name.replace('_', ' ')}"


def out_of_time(limits: Limits, started_ms: int, now_ms: int) -> Breach | None:
    """The breach of the limit of time, if it is reached."""
    used = now_ms - started_ms
    if limits.ms is None or used < limits.ms:
        return None
    return Breach(
        "seconds", f"{used / 1000:.1f} of {limits.ms / 1000:.1f} seconds have passed", limits.ms, used
    )


# Trees --------------------------------------------------------------------------------------------------


def reserve_in(
    ledgers: Sequence[Ledger],
    call: str,
    reservation: Reservation,
) -> tuple[tuple[Ledger, ...], Breach | None]:
    """Reserve in every ledger from the root down to the caller's own, or in none; the breach says in which it failed."""
    changed: list[Ledger] = []
    for depth, ledger in enumerate(ledgers):
        after, breach = ledger.reserve(call, reservation)
        if breach is not None:
            return tuple(ledgers), msgspec.structs.replace(breach, depth=depth)
        changed.append(after)
    return tuple(changed), None


def settle_in(ledgers: Sequence[Ledger], call: str, actual: Spent) -> tuple[Ledger, ...]:
    """Settle in every ledger from the root down."""
    return tuple(ledger.settle(call, actual) for ledger in ledgers)


def release_in(ledgers: Sequence[Ledger], call: str) -> tuple[Ledger, ...]:
    """Release in every ledger from the root down."""
    return tuple(ledger.release(call) for ledger in ledgers)


# Estimates ----------------------------------------------------------------------------------------------


def estimate_call(
    request: ModelRequest,
    price: Price | None,
    tokens: Tokens = heuristic_tokens,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
) -> Reservation:
    """What a model call may use: its whole input, and as many output tokens as the model may write.

    Args:
        request: the call; thinking tokens of a budget of its own are output as well.
        price: of its model; None: not known.
        tokens: counts the tokens of a text.
        default_max_tokens: where the request sets no limit of output.
    """
    given = sum(message_tokens(message, tokens) for message in request.messages) + tokens(
        request.instructions
    )
    for tool in request.tools:
        given += tokens(tool.name) + tokens(tool.description) + tokens(json_text(tool.input_schema))
    if request.output_schema is not None:
        given += tokens(json_text(request.output_schema))
    written = request.settings.max_tokens or default_max_tokens
    written = max(
        written, (request.settings.thinking_budget_tokens or 0) + (request.settings.max_tokens or 0)
    )
    cost = 0 if price is None else price.worst_cost(given, written)
    return Reservation(Spent(cost, given, written, 1), str(request.model) if price is None else "")


def spent_of(usage: Usage, price: Price | None) -> Spent:
    """What a model call used; without a price its money counts as nothing."""
    cost = 0 if price is None else price.cost(usage)
    return Spent(cost, usage.input_tokens, usage.output_tokens, 1)


TOOL_CALL = Reservation(Spent(tool_calls=1))
