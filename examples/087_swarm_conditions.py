"""Handovers of a swarm by conditions: on a text that was said, on a tool's result, or when a function of yours says so. The
first condition that is met decides.

Prints:
    desk -> refunds -> manager -> archive
    Filed.
"""

import os
import tempfile
from typing import Any

from perdure import (
    Agent,
    AgentRuntime,
    EventType,
    HandoffCondition,
    OnCondition,
    OnTextMention,
    OnToolResult,
    Strategy,
    tool,
)
from perdure.testing import MockModel, call, text

REAL = os.environ.get("PERDURE_MODEL")


@tool
def check(cents: int) -> str:
    """Check whether an amount may be refunded."""
    return "needs a manager" if cents > 5000 else "fine"


def is_approved(said: dict[str, Any]) -> bool:
    """Whether the manager has agreed."""
    return said["agent"] == "manager" and "approved" in said["text"]


desk = Agent("desk", REAL or MockModel([text("That is a refund.")]), "Say what it is about.")
refunds = Agent(
    "refunds", REAL or MockModel([call("check", cents=9000), text("Checked.")]), "Check refunds.", [check]
)
manager = Agent("manager", REAL or MockModel([text("It is approved.")]), "Approve or not.")
archive = Agent("archive", REAL or MockModel([text("Filed.")]), "File it.")
rules: list[HandoffCondition] = [
    OnToolResult(manager, "check", "needs a manager"),
    OnCondition(archive, is_approved),
    OnTextMention(refunds, "refund"),
]
shop = Agent("shop", agents=[desk, refunds, manager, archive], strategy=Strategy.SWARM, handoffs=rules)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(shop, "90 euros back, please")
        print(" -> ".join(e.target or "" for e in events if e.type == EventType.HANDOFF))
        print(events.result.output)
