"""The support agent of `perdure demo` and `perdure dev`: three tools with effects that can be counted.

Each tool writes to a ledger, a file that stands for the world outside (a shop, a bank). A line `started` is an
attempt; a line `effect` is the thing itself, and happens once per idempotency key: before a tool acts it looks for
its key, as a payment service would. The effect comes in the middle of the tool's time, so that a kill can hit
between the effect and its result: the hard case, where a tool without a key would act twice.

`PERDURE_DEMO_LEDGER` names the file (by default one in the system's directory for temporary files),
`PERDURE_DEMO_MODEL` the model, `PERDURE_DEMO_BASE_URL` another address of its server.
"""

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from perdure.agents.agent import Agent
from perdure.agents.context import ToolContext
from perdure.agents.tools import ToolDef, tool

MODEL = "mock/support"
SLOW_TOOLS = frozenset({"check_policy", "refund"})  # long enough to be killed in the middle
INSTRUCTIONS = (
    "You are the support agent of a shop for headphones. Before you answer, look up the order and check the refund "
    "policy. If the policy allows it, refund the order with the refund tool. Then tell the customer what was done, in "
    "two sentences."
)
PROMPT = "My headphones from order A-1001 arrived broken. Please refund them."

_ORDERS: dict[str, dict[str, Any]] = {
    "A-1001": {"item": "Headphones", "amount": 79.90, "currency": "EUR", "delivered_days_ago": 6},
    "A-1002": {"item": "Record player", "amount": 249.00, "currency": "EUR", "delivered_days_ago": 48},
}
# A small model repeats itself without end when nothing holds it; temperature and top_p are its makers'.
_SMALL: dict[str, Any] = {"temperature": 0.2, "max_tokens": 160, "max_turns": 8}
_SMALL_SETTINGS = {
    "tool_mode": "json_schema",
    "calls_per_tool": 1,
    "top_p": 0.9,
    "frequency_penalty": 0.3,
}
OrderId = Annotated[str, Field(pattern=r"^[A-Z]-[0-9]{4}$")]
_PAUSE = threading.Event()  # never set: waiting on it is a sleep


class Ledger:
    """The world outside, as a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def started(self, name: str, key: str) -> None:
        """Note an attempt."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _append(file.fileno(), {"what": "started", "tool": name, "key": key, "pid": os.getpid()})

    def effect(self, name: str, key: str, fields: dict[str, Any]) -> bool:
        """Do it, unless it was done under this key; the answer is whether it was done now."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if any(e["what"] == "effect" and e["key"] == key for e in map(json.loads, file)):
                return False
            _append(file.fileno(), {"what": "effect", "tool": name, "key": key, **fields})
            return True

    def entries(self) -> list[dict[str, Any]]:
        """All whole lines so far."""
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _append(descriptor: int, entry: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(entry).encode() + b"\n")
    os.fsync(descriptor)


def demo_ledger() -> Ledger:
    """The ledger that the environment names."""
    named = os.environ.get("PERDURE_DEMO_LEDGER")
    return Ledger(Path(named) if named else Path(tempfile.gettempdir()) / f"perdure-demo-{os.getuid()}.jsonl")


def _act(context: ToolContext, before_s: float, after_s: float, **fields: Any) -> None:
    """An effect in the middle of some work."""
    ledger = demo_ledger()
    ledger.started(context.tool_name, context.idempotency_key)
    _PAUSE.wait(before_s)
    ledger.effect(context.tool_name, context.idempotency_key, fields)
    _PAUSE.wait(after_s)


@tool
def lookup_order(order_id: OrderId, context: ToolContext) -> dict[str, Any]:
    """Look up an order: what was bought, for how much, and when it was delivered.

    Args:
        order_id: the order's number, e.g. A-1001.
        context: which call this is.
    """
    _act(context, 0.3, 0.2, order=order_id)
    return {"order_id": order_id, "found": order_id in _ORDERS, **_ORDERS.get(order_id, {})}


@tool
def check_policy(order_id: OrderId, context: ToolContext) -> dict[str, Any]:
    """Check whether an order may be refunded, and with which amount.

    Args:
        order_id: the order's number, e.g. A-1001.
        context: which call this is.
    """
    _act(context, 0.8, 0.7, order=order_id)
    order = _ORDERS.get(order_id)
    if order is None:
        return {"refundable": False, "why": "There is no such order."}
    if order["delivered_days_ago"] > 30:  # noqa: PLR2004 - the shop's policy
        return {"refundable": False, "why": "Delivered more than 30 days ago."}
    return {"refundable": True, "refund_amount": order["amount"], "why": "Delivered less than 30 days ago."}


@tool(approval_required=True)
def refund(order_id: OrderId, amount: float, context: ToolContext) -> dict[str, Any]:
    """Pay an order's money back: the amount that check_policy gave. Call that first. A person approves each refund.

    Args:
        order_id: the order's number, e.g. A-1001.
        amount: how much to pay back, in the order's currency.
        context: which call this is.
    """
    _act(context, 0.8, 0.7, order=order_id, amount=amount)
    return {
        "refunded": True,
        "order_id": order_id,
        "amount": amount,
        "reference": context.idempotency_key[:11],
    }


def support_agent(
    model: str | None = None, base_url: str | None = None, *, small: Mapping[str, Any] | None = None
) -> Agent:
    """The support agent on this model.

    Args:
        model: `provider/model`; None: the built-in one.
        base_url: another address of the model's server.
        small: for a model that must be held to a schema to call a tool at all: what else it is held to.
    """
    tools: list[ToolDef[..., Any]] = [lookup_order, check_policy, refund]
    options: dict[str, Any] = {}
    if small is not None:
        options = _SMALL | {"model_settings": _SMALL_SETTINGS | dict(small)}
    return Agent("support", model or MODEL, INSTRUCTIONS, tools, base_url=base_url or None, **options)


agent = support_agent(os.environ.get("PERDURE_DEMO_MODEL"), os.environ.get("PERDURE_DEMO_BASE_URL"))
