"""Budgets: what an execution and all below it may use."""

import math
from collections.abc import Mapping
from typing import Any

from perdure.agents.checks import MAX_COUNT, MAX_SECONDS, check_choice, check_number, invalid_option
from perdure.core.definition import BudgetDefinition, OnBreach
from perdure.core.model_name import parse_model

ON_BREACH: tuple[OnBreach, ...] = ("stop", "ask", "downgrade", "finish")
MAX_USD = 1e9
_WHERE = "budget"


class Budget:
    """Limits on what an execution may use, its sub-agents included. At least one is given.

    Args:
        max_cost_usd: US dollars, by the price table.
        max_tokens: tokens of prompts and answers.
        max_seconds: time from the start, waiting included.
        max_model_calls: model calls.
        max_tool_calls: tool calls.
        on_breach: `stop`: the execution fails; `ask`: a person decides; `downgrade`: `downgrade_model` goes on;
            `finish`: it ends with what it has said so far.
        downgrade_model: `provider/model`, for `downgrade`.
        prices: US dollars a million tokens, over the built-in table:
            `{"openai/gpt-5-mini": {"input": 0.25, "output": 2.0}}`.

    Raises:
        DefinitionError: E0106 an option; E0107 a model.
    """

    def __init__(
        self,
        max_cost_usd: float | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_model_calls: int | None = None,
        max_tool_calls: int | None = None,
        on_breach: OnBreach = "stop",
        downgrade_model: str | None = None,
        prices: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.max_cost_usd = _amount("max_cost_usd", max_cost_usd, MAX_USD)
        self.max_seconds = _amount("max_seconds", max_seconds, MAX_SECONDS)
        self.max_tokens = _count("max_tokens", max_tokens)
        self.max_model_calls = _count("max_model_calls", max_model_calls)
        self.max_tool_calls = _count("max_tool_calls", max_tool_calls)
        limits = (max_cost_usd, max_tokens, max_seconds, max_model_calls, max_tool_calls)
        if all(limit is None for limit in limits):
            raise invalid_option("max_cost_usd", None, "at least one limit", _WHERE)
        check_choice("on_breach", on_breach, ON_BREACH, _WHERE)
        if (on_breach == "downgrade") != (downgrade_model is not None):
            raise invalid_option(
                "downgrade_model", downgrade_model, "it together with on_breach='downgrade'", _WHERE
            )
        if downgrade_model is not None:
            parse_model(downgrade_model)
        self.on_breach: OnBreach = on_breach
        self.downgrade_model = downgrade_model
        self.prices = _checked_prices(prices)

    def definition(self) -> BudgetDefinition:
        """The budget as data."""
        return BudgetDefinition(
            max_cost_usd=self.max_cost_usd,
            max_tokens=self.max_tokens,
            max_seconds=self.max_seconds,
            max_model_calls=self.max_model_calls,
            max_tool_calls=self.max_tool_calls,
            on_breach=self.on_breach,
            downgrade_model=self.downgrade_model,
            prices=self.prices,
        )

    def __repr__(self) -> str:
        data = self.definition()
        shown = [f"{f}={getattr(data, f)!r}" for f in data.__struct_fields__ if getattr(data, f)]
        return f"Budget({', '.join(shown)})"


def _amount(name: str, value: Any, most: float) -> float | None:
    if value is None:
        return None
    check_number(name, value, 0, most, whole=False, where=_WHERE)
    if not value:
        raise invalid_option(name, value, "more than zero", _WHERE)
    return float(value)


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    check_number(name, value, 1, MAX_COUNT, where=_WHERE)
    return int(value)


def _checked_prices(given: Any) -> dict[str, dict[str, float]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise invalid_option("prices", given, '{"provider/model": {"input": 1.0, "output": 2.0}}', _WHERE)
    found: dict[str, dict[str, float]] = {}
    for model, prices in given.items():
        parse_model(str(model))
        if not isinstance(prices, Mapping) or not {"input", "output"} <= prices.keys():
            raise invalid_option(
                f"prices[{model!r}]", prices, "a dict with the prices of input and output", _WHERE
            )
        for kind, price in prices.items():
            fits = isinstance(price, int | float) and not isinstance(price, bool)
            if not fits or not math.isfinite(price) or price < 0:
                raise invalid_option(f"prices[{model!r}][{kind!r}]", price, "a number of dollars", _WHERE)
        found[str(model)] = {str(kind): float(price) for kind, price in prices.items()}
    return found
