"""What a model call costs: the built-in table, and the user's prices over it.

Prices are whole micro-dollars a million tokens and money is whole micro-dollars, so that sums are exact. A cost is
rounded up. The table is of the day `core.price_table.DATE`; models that run on one's own machine cost nothing. A model
that is in neither has no price: a budget of money then refuses the call (see `core.budgets`).
"""

import functools
import math
import re
from collections.abc import Mapping

import msgspec

from perdure.core.errors import DefinitionError
from perdure.core.model import Usage
from perdure.core.price_table import ELSEWHERE, TABLE

MICRO = 1_000_000
_FREE_PROVIDERS = frozenset({"mock", "ollama"})
_DATED = re.compile(r"(.+)[-@](?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})", re.DOTALL)
_KEYS = ("input", "output", "cache_read", "cache_write")


class Rates(msgspec.Struct, frozen=True):
    """Micro-dollars a million tokens; cached tokens without a rate of their own cost what input costs."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None


class Price(msgspec.Struct, frozen=True):
    """The price of a model. `tiers` has, in order, other rates for requests of over so many input tokens."""

    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()

    def cost(self, usage: Usage) -> int:
        """Micro-dollars of one call, rounded up."""
        rates = next((r for above, r in reversed(self.tiers) if usage.input_tokens > above), self.base)
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        total = (
            max(0, usage.input_tokens - read - written) * rates.input
            + read * (rates.input if rates.cache_read is None else rates.cache_read)
            + written * (rates.input if rates.cache_write is None else rates.cache_write)
            + usage.output_tokens * rates.output
        )
        return -(-total // MICRO)

    def worst_cost(self, input_tokens: int, output_tokens: int) -> int:
        """Micro-dollars of a call at most, whatever part of its input is read from or written to a cache."""
        shares = ((0, 0), (input_tokens, 0), (0, input_tokens))
        return max(
            self.cost(Usage(input_tokens, output_tokens, cache_read_tokens=r, cache_write_tokens=w))
            for r, w in shares
        )


FREE = Price(Rates(0, 0))


def price_of(model: str, overrides: Mapping[str, Mapping[str, float]] | None = None) -> Price | None:
    """The price of `provider/model`, from *overrides* or else from the table; None: it is not known.

    Args:
        model: as `ModelRef` writes itself; the case of the name does not matter in the table.
        overrides: US dollars a million tokens, as in `BudgetDefinition.prices`; see `check_prices`.

    Raises:
        DefinitionError: E0106 when the override is not one.
    """
    if overrides and model in overrides:
        return _given(model, overrides[model])
    provider, _, name = model.partition("/")
    if provider in _FREE_PROVIDERS:
        return FREE
    name = name.lower()
    dated = _DATED.fullmatch(name)
    for seller in (provider, *ELSEWHERE.get(provider, ())):
        for candidate in (name, dated[1]) if dated else (name,):
            if (found := _in_table(seller, candidate)) is not None:
                return found
    return None


def priced(usage: Usage, price: Price | None) -> Usage:
    """The usage of one call with what it cost; without a price it counts as a call whose cost is not known.

    What has its cost already keeps it: an answer from a recording cost what it cost then.
    """
    if usage.cost_micro or usage.unpriced_calls:
        return usage
    if price is None:
        return msgspec.structs.replace(usage, unpriced_calls=1)
    return msgspec.structs.replace(usage, cost_micro=price.cost(usage))


def check_prices(overrides: Mapping[str, Mapping[str, float]], where: str) -> None:
    """Refuse a user's prices that are none.

    Raises:
        DefinitionError: E0106.
    """
    for model, values in overrides.items():
        if "/" not in model:
            raise DefinitionError("E0106", f"The price of {model!r} is for no provider/model", where=where)
        _given(model, values, where)


def _given(model: str, values: Mapping[str, float], where: str = "") -> Price:
    unknown = sorted(values.keys() - set(_KEYS))
    wrong = [key for key, value in values.items() if not (math.isfinite(value) and 0 <= value < MICRO)]
    if unknown or wrong or not {"input", "output"} <= values.keys():
        raise DefinitionError(
            "E0106",
            f"The price of {model!r} cannot be used: {dict(values)}",
            where=where,
            fix="Give input and output, and cache_read and cache_write if you like: US dollars a million tokens, from 0.",
        )
    return Price(Rates(*(None if (v := values.get(key)) is None else _micro(v) for key in _KEYS)))  # type: ignore[arg-type]


def _micro(dollars: float) -> int:
    return round(dollars * MICRO)


def _in_table(provider: str, name: str) -> Price | None:
    exact, rules = _table(provider)
    if name in exact:
        return exact[name]
    # The most specific rule counts: the one whose texts are longest.
    return next((price for rule, price in rules if all(_fits(part, name) for part in rule.split("&"))), None)


def _fits(part: str, name: str) -> bool:
    sign, text = part[0], part[1:]
    if sign == "^":
        return name.startswith(text)
    if sign == "$":
        return name.endswith(text)
    return (text in name) is (sign == "~") if sign in "~!" else name == part


@functools.cache  # bounded by the providers of the table
def _rows(provider: str) -> tuple[dict[str, Price], tuple[tuple[str, Price], ...]]:
    exact: dict[str, Price] = {}
    rules: list[tuple[str, Price]] = []
    for line in TABLE[provider].strip().splitlines():
        prices, _, names = line.partition(" : ")
        base, *tiers = prices.split(" >")
        price = Price(
            _rates(base.split()), tuple((int(tier.split()[0]), _rates(tier.split()[1:])) for tier in tiers)
        )
        for name in names.split():
            if name[0] in "^~$!" or "&" in name:
                rules.append((name, price))
            else:
                exact[name] = price
    rules.sort(key=lambda rule: -len(rule[0]))
    return exact, tuple(rules)


def _table(provider: str) -> tuple[dict[str, Price], tuple[tuple[str, Price], ...]]:
    return _rows(provider) if provider in TABLE else ({}, ())


def _rates(texts: list[str]) -> Rates:
    return Rates(*(None if text == "-" else _micro(float(text)) for text in texts))  # type: ignore[arg-type]
