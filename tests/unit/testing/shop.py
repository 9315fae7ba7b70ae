"""The agents of these tests: a shop with a payment service that honours keys, a mailer that does not, and teams."""

from typing import Any

from perdure import Agent, Strategy, ToolContext, tool
from perdure.testing import call, calls

MODEL = "openai/gpt-5"

charges: dict[str, str] = {}  # what the payment service took, by idempotency key
mails: list[str] = []


@tool
def lookup(order: str, context: ToolContext) -> dict[str, Any]:
    """Look an order up."""
    context.state["seen"] = order
    return {"order": order, "paid": 30}


@tool
def charge(order: str, context: ToolContext) -> str:
    """Take the money for an order, once for each key."""
    charges.setdefault(context.idempotency_key, order)
    return f"charged {order}"


@tool(approval_required=True)
def refund(order: str, amount: int) -> str:
    """Give money back."""
    return f"{amount} for {order}"


@tool
def mail(to: str) -> str:
    """Send a mail, each time that it is called."""
    mails.append(to)
    return "sent"


@tool(retry_count=1)
def broken() -> str:
    """Always fail."""
    raise ValueError("it is broken")


def shop(**options: Any) -> Agent:
    """An agent with all tools."""
    return Agent("shop", MODEL, tools=[lookup, charge, refund, mail, broken], **options)


def team(strategy: str, *names: str, **options: Any) -> Agent:
    """A team of plain agents."""
    members = [Agent(name, MODEL, instructions=f"You are {name}.") for name in names]
    return Agent("team", options.pop("model", ""), agents=members, strategy=Strategy(strategy), **options)


BUY = [
    call("lookup", order="A"),
    calls(call("charge", order="A"), call("charge", order="B")),
    "Done: {result:charge}",
]
