"""An agent for crash tests in processes, which import it; its tools append their effects to the file EFFECTS names."""

import os
from pathlib import Path

from perdure import Agent, ToolContext, tool
from perdure.testing import call

SCRIPT = [call("charge", cents=5), call("refund", cents=5), "Done: {result:refund}"]
SAID = {"mailer": lambda _request: "done"}


def _append(line: str) -> None:
    with Path(os.environ["EFFECTS"]).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@tool
def charge(cents: int, context: ToolContext) -> str:
    """Take money, once for each key."""
    path = Path(os.environ["EFFECTS"])
    if context.idempotency_key not in path.read_text(encoding="utf-8"):
        _append(f"{context.idempotency_key} {cents}")
    return "charged"


@tool(approval_required=True)
def refund(cents: int) -> str:
    """Give money back."""
    return f"{cents} back"


@tool
def mail(to: str) -> str:
    """Send a mail, each time that it is called."""
    _append(to)
    return "sent"


def cashier() -> Agent:
    """An agent with two tools, one of which a person approves."""
    return Agent("cashier", "openai/gpt-5", tools=[charge, refund])


mailer = Agent("mailer", "openai/gpt-5", tools=[mail])
NO_AGENT = 7
