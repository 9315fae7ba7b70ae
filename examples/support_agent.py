"""A support agent: two tools that look, and one that pays and needs a person's approval.

    perdure run examples/support_agent.py "My headphones from order A-1001 arrived broken. Please refund them."

It runs on the built-in mock model; set MODEL, e.g. MODEL=openai/gpt-5-mini, and the provider's key for a real one.
Kill it whenever you like (the server, this program, or both): `perdure run` and `perdure dev` go on where it was.
"""

import os

from perdure import Agent, ToolContext, tool

REFUND_DAYS = 30
ORDERS = {
    "A-1001": {"item": "Headphones", "amount": 79.90, "delivered_days_ago": 6},
    "A-1002": {"item": "Record player", "amount": 249.00, "delivered_days_ago": 48},
}
PAID: dict[str, float] = {}  # stands for a payment service: idempotency key -> amount


@tool
def lookup_order(order_id: str) -> dict:
    """Look up an order: what was bought, for how much, and when it was delivered.

    Args:
        order_id: the order's number, e.g. A-1001.
    """
    return {"order_id": order_id, "found": order_id in ORDERS, **ORDERS.get(order_id, {})}


@tool
def check_policy(order_id: str) -> dict:
    """Check whether an order may be refunded, and with which amount.

    Args:
        order_id: the order's number, e.g. A-1001.
    """
    order = ORDERS.get(order_id)
    if order is None or order["delivered_days_ago"] > REFUND_DAYS:
        return {"refundable": False}
    return {"refundable": True, "refund_amount": order["amount"]}


@tool(approval_required=True)
def refund(order_id: str, amount: float, context: ToolContext) -> dict:
    """Pay an order's money back to the customer. A person approves each refund.

    Args:
        order_id: the order's number, e.g. A-1001.
        amount: how much to pay back.
    """
    # The key is the same however often this call is tried, so the service pays once.
    PAID.setdefault(context.idempotency_key, amount)
    return {"refunded": True, "order_id": order_id, "amount": amount}


agent = Agent(
    "support",
    os.environ.get("MODEL", "mock/support"),
    "You are the support agent of a shop. Look up the order and check the refund policy before you answer. If the "
    "policy allows it, refund the order. Then tell the customer what was done, in two sentences.",
    [lookup_order, check_policy, refund],
)
