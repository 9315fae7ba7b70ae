"""The agents of the stories, and the tools that tell the ledger when they take effect."""

import asyncio
import http.client
import json
import os
import time

from perdure import Agent, ToolContext, ToolDef, tool
from perdure.testing import MockModel, call, calls, text


def took_effect(context: ToolContext) -> None:
    """Write into the ledger, durably, that the tool has done it."""
    entry = {
        "tool": context.tool_name,
        "execution": context.execution_id,
        "step": context.step,
        "epoch": context.attempt,
        "key": context.idempotency_key,
        "pid": os.getpid(),
    }
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["STORY_LEDGER"]), timeout=30)
    try:
        connection.request("POST", "/", json.dumps(entry))
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.NO_CONTENT:
        raise RuntimeError(f"the ledger answers {status}")


# An errand: one slow tool, a pair in parallel, one that fails at first ---------------------------------------


def fetch(parcel: int, context: ToolContext) -> str:
    """Fetch a parcel. Takes a while."""
    took_effect(context)
    time.sleep(0.4)
    return f"parcel {parcel}"


def charge(cents: int, context: ToolContext) -> int:
    """Charge a card."""
    took_effect(context)
    return cents


async def notify(parcel: int) -> str:
    """Tell the customer. Leaves no trace."""
    return f"told about {parcel}"


def sign(parcel: int, context: ToolContext) -> str:
    """Have the parcel signed for. Nobody opens at the first ring."""
    took_effect(context)
    if context.attempt == 1:
        raise ConnectionError("nobody opens")
    return f"signed {parcel}"


def errand(parcel: int, *, external: bool = False) -> Agent:
    """An agent that carries one parcel; with *external*, for a process that does not run the tools."""
    quick = {"retry_count": 5, "retry_delay_seconds": 0.05}
    tools: list[ToolDef] = [
        tool(fetch, external=external),
        tool(charge, external=external),
        tool(notify, external=external),
        tool(sign, external=external, **quick),
    ]
    script = [
        calls(call("fetch", parcel=parcel), delay_ms=250),
        calls(call("charge", cents=parcel * 100), call("notify", parcel=parcel), delay_ms=250),
        call("sign", parcel=parcel),
        text("{result:fetch}, {result:charge} cents, {result:notify}, {result:sign}", delay_ms=250),
    ]
    return Agent("errand", MockModel(script), "Carry parcels.", tools)


def errand_output(parcel: int) -> str:
    """What the errand comes to."""
    return f"parcel {parcel}, {parcel * 100} cents, told about {parcel}, signed {parcel}"


# A cashier: refunds that a person approves ------------------------------------------------------------------


@tool(approval_required=True)
def refund(cents: int, context: ToolContext) -> str:
    """Give money back."""
    took_effect(context)
    return f"refunded {cents}"


cashier = Agent(
    "cashier", MockModel([call("refund", cents=4000), text("The refund: {result:refund}")]), tools=[refund]
)


# A carrier: a tool in whose middle a worker can be killed ---------------------------------------------------


@tool
async def carry(first_attempt_s: float, context: ToolContext) -> str:
    """Carry a load; the first attempt takes *first_attempt_s* seconds, later ones no time."""
    await asyncio.to_thread(took_effect, context)
    if context.attempt == 1:
        await asyncio.sleep(first_attempt_s)
    return f"carried at attempt {context.attempt}"


def carrier(first_attempt_s: float) -> Agent:
    """An agent with one tool of which the first attempt takes so long."""
    script = [call("carry", first_attempt_s=first_attempt_s), text("{result:carry}")]
    return Agent("carrier", MockModel(script), tools=[carry])


# A clerk: two quick turns and an answer ---------------------------------------------------------------------


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


clerk = Agent(
    "clerk",
    MockModel([call("add", a=1, b=2), call("add", a="{result:add}", b=4), text("It is {result:add}.")]),
    tools=[add],
)

# A teller: a long answer in many pieces ---------------------------------------------------------------------

STORY = " ".join(f"word{i}" for i in range(40))
teller = Agent("teller", MockModel([text(STORY, chunks=40, chunk_delay_ms=100)]))

# A bureau: a team of two, of whom the second needs a person --------------------------------------------------

REPORT = " ".join(f"line{i}" for i in range(20))
reporter = Agent(
    "reporter", MockModel([call("add", a=1, b=2), text(REPORT, chunks=20, chunk_delay_ms=100)]), tools=[add]
)
bureau = Agent("bureau", agents=[reporter, cashier], strategy="sequential")

AGENTS = {a.name: a for a in (errand(0), cashier, carrier(0), clerk, teller, bureau)}
