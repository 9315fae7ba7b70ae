"""Budgets of a definition, checked."""

from perdure.agents.checks import MAX_COUNT, MAX_SECONDS, check_number
from perdure.core.definition import BudgetDefinition
from perdure.core.errors import DefinitionError
from perdure.core.model_name import parse_model
from perdure.core.prices import check_prices

MAX_USD = 1_000_000_000


def checked_budget(budget: BudgetDefinition | None, where: str) -> BudgetDefinition | None:
    """The budget, with limits that make sense.

    Raises:
        DefinitionError: E0106 a number out of its range, a price, or a downgrade to nothing; E0107 the cheaper model.
    """
    if budget is None:
        return None
    for name in ("max_tokens", "max_model_calls", "max_tool_calls"):
        if (value := getattr(budget, name)) is not None:
            check_number(name, value, 0, MAX_COUNT, where=where)
    if budget.max_cost_usd is not None:
        check_number("max_cost_usd", budget.max_cost_usd, 0, MAX_USD, whole=False, where=where)
    if budget.max_seconds is not None:
        check_number("max_seconds", budget.max_seconds, 0, MAX_SECONDS, whole=False, where=where)
    check_prices(budget.prices, where)
    if (budget.on_breach == "downgrade") != (budget.downgrade_model is not None):
        raise DefinitionError(
            "E0106", "A budget names a `downgrade_model` when it downgrades, and only then", where=where
        )
    if budget.downgrade_model is not None:
        parse_model(budget.downgrade_model)
    return budget
