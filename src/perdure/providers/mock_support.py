"""`mock/support`: a support agent that behaves, for demonstrations without a key.

It reads the conversation alone. Of the tools `lookup_order`, `check_policy` and `refund` it uses those that it is
given: the first two at once, then the refund with the amount from their results, then an answer. A refusal of the
refund, by a person or by the policy, is passed on kindly.
"""

import re
from typing import Any

from perdure.core.messages import Message, ToolResultPart
from perdure.core.model import ToolSpec
from perdure.providers.mock_samples import sample
from perdure.providers.mock_script import ScriptCall, ScriptEntry, as_text

_ORDER = re.compile(r"\b(?=[A-Za-z0-9-]*\d)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\b")
_DEFAULT_ORDER = "A-1001"
_AMOUNTS = ("refund_amount", "refundable_amount", "amount", "total", "price", "paid")
_REFUSALS = ("refundable", "eligible", "allowed", "refund_allowed")
_ANSWER_CHUNKS = 8


def support_entry(messages: list[Message], tools: tuple[ToolSpec, ...]) -> ScriptEntry:
    """What the support agent does next."""
    start = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    question = messages[start].text if messages else ""
    results = {p.tool: p for m in messages[start:] for p in m.parts if isinstance(p, ToolResultPart)}
    offered = {tool.name: tool for tool in tools}
    order = _order_of(question)

    first = [n for n in ("lookup_order", "check_policy") if n in offered and n not in results]
    if first:
        return ScriptEntry(
            tool_calls=tuple(ScriptCall(n, _arguments(offered[n], order, None)) for n in first)
        )
    facts = [results[n].result for n in ("check_policy", "lookup_order") if n in results]
    amount = _find(facts, _AMOUNTS)
    if _find(facts, _REFUSALS) is False:
        return _say(
            f"I am sorry: order {order} cannot be refunded under our policy. Is there anything else I can do?"
        )
    if "refund" in offered and "refund" not in results:
        return ScriptEntry(tool_calls=(ScriptCall("refund", _arguments(offered["refund"], order, amount)),))
    refund = results.get("refund")
    if refund is not None and not refund.is_error:
        # A person may have changed the amount: what was paid is what the tool says.
        amount = _find([refund.result], _AMOUNTS) or amount
    return _say(_answer(order, amount, refund))


def _answer(order: str, amount: Any, refund: ToolResultPart | None) -> str:
    what = f"the refund of {as_text(amount)}" if amount is not None else "the refund"
    if refund is None:
        return f"I have looked at order {order}. Everything I found is above; tell me how you would like to go on."
    if not refund.is_error:
        return f"Good news: {what} for order {order} is on its way. You will see it within a few days."
    return (
        f"I am sorry: {what} for order {order} was not approved, so nothing has been paid out. "
        "If you have further details, I am glad to pass them on to a colleague."
    )


def _say(text: str) -> ScriptEntry:
    return ScriptEntry(text=text, chunks=_ANSWER_CHUNKS)


def _order_of(question: str) -> str:
    """The first word with a digit in it, e.g. `A-1042` or `1042`."""
    found = _ORDER.search(question)
    return found[0] if found else _DEFAULT_ORDER


def _arguments(tool: ToolSpec, order: str, amount: Any) -> dict[str, Any]:
    """Arguments by the names of the properties: an order, an amount, a reason; the rest by their schema."""
    arguments = sample(tool.input_schema)
    for name, schema in tool.input_schema.get("properties", {}).items():
        if "order" in name or name == "id":
            arguments[name] = int(order) if schema.get("type") == "integer" and order.isdigit() else order
        elif "amount" in name and amount is not None:
            arguments[name] = amount
        elif "reason" in name:
            arguments[name] = "Requested by the customer"
    return arguments


def _find(value: Any, names: tuple[str, ...]) -> Any:
    """The first value under one of *names*, in the order of the names, anywhere in the JSON value."""
    return next((found for name in names if (found := _under(value, name)) is not None), None)


def _under(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        if name in value and not isinstance(value[name], dict | list):
            return value[name]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for item in value if (found := _under(item, name)) is not None), None)
    return None
