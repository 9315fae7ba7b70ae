"""Plans, as a user writes and runs them: in this process, through the public door."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Action,
    Agent,
    AgentRuntime,
    Generate,
    Op,
    Plan,
    Ref,
    Status,
    Step,
    Validation,
    plan_execute,
    tool,
)
from perdure.testing import MockModel, text


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentRuntime]:
    """A runtime with its server in this process."""
    home: Path = tmp_path_factory.mktemp("home")
    with AgentRuntime(embedded=True, data_dir=home / "data", home=home) as found:
        yield found


MEET = threading.Barrier(2, timeout=20)
SENT: list[str] = []


@tool
def prices(shop: str) -> dict[str, Any]:
    """The prices of a shop; both shops are asked at the same time, or neither answers.

    Args:
        shop: the shop's name.
    """
    MEET.wait()
    return {"shop": shop, "cents": {"north": 300, "south": 250}[shop]}


@tool
def cheapest(offers: list[dict[str, Any]]) -> str:
    """The cheapest offer's shop.

    Args:
        offers: what the shops ask.
    """
    return str(min(offers, key=lambda offer: offer["cents"])["shop"])


@tool
def order(shop: str, note: str) -> dict[str, Any]:
    """Order in a shop.

    Args:
        shop: where.
        note: a word to the shop.
    """
    return {"ordered": True, "shop": shop, "note": note}


@tool(approval_required=True)
def pay(shop: str) -> str:
    """Pay a shop.

    Args:
        shop: whom.
    """
    return f"paid {shop}"


@tool(retry_count=0)
def broken() -> str:
    """Break."""
    raise ValueError("out of stock")


@tool
def send(what: str) -> str:
    """Send a mail.

    Args:
        what: the text.
    """
    SENT.append(what)
    return "sent"


TOOLS = [prices, cheapest, order, pay, broken, send]
BOTH = [Step("north", [Op(prices, {"shop": "north"})]), Step("south", [Op(prices, {"shop": "south"})])]
BEST = Step("best", [Op(cheapest, {"offers": [Ref("north"), Ref("south")]})], depends_on=["north", "south"])


def test_a_plan_in_python(runtime: AgentRuntime):
    """No model is asked: two steps at once, a third of their results, a check, a mail; the output is the last step's."""
    plan = Plan(
        [*BOTH, BEST],
        validation=[Validation(cheapest, {"offers": [Ref("south")]}, success_condition='$ == "south"')],
        on_success=[Action(send, {"what": Ref("best")})],
    )
    result = runtime.run(plan_execute("buyer", tools=TOOLS, plan=plan), "Find the cheapest shop.")
    assert (result.status, result.output) == (Status.COMPLETED, "south")
    assert SENT[-1] == "south"
    assert [call["name"] for call in result.tool_calls].count("prices") == 2


def test_a_planner_and_written_arguments(runtime: AgentRuntime):
    """A planner's plan is carried out; a model writes the arguments of one call, from the results of other steps."""
    plan = {
        "steps": [
            {"id": "north", "operations": [{"tool": "prices", "args": {"shop": "north"}}]},
            {"id": "south", "operations": [{"tool": "prices", "args": {"shop": "south"}}]},
            {
                "id": "order",
                "depends_on": ["north", "south"],
                "operations": [
                    {"tool": "order", "generate": {"instructions": "Order.", "context": {"$ref": "south"}}}
                ],
            },
        ]
    }
    planner = Agent("planner", MockModel([f"Here it is:\n```json\n{json.dumps(plan)}\n```"]), "You plan.")
    writer = MockModel([text('{"shop": "south", "note": "quickly"}')])
    team = Agent("shopper", writer, tools=TOOLS, strategy="plan_execute", planner=planner)
    result = runtime.run(team, "Order where it is cheap.")
    assert result.output == {"ordered": True, "shop": "south", "note": "quickly"}


def test_a_person_decides_inside_a_plan(runtime: AgentRuntime):
    """A tool that needs leave waits for it, as everywhere."""
    plan = Plan([Step("pay", [Op(pay, {"shop": "south"})])])
    handle = runtime.start(plan_execute("payer", tools=TOOLS, plan=plan), "Pay.")
    for event in handle.stream():
        if event.type == "waiting":
            handle.approve()
    assert handle.join(20).output == "paid south"


def test_a_plan_that_fails(runtime: AgentRuntime):
    """on_failure is done, then the fallback answers; without one the error says which step failed, and why."""
    plan = Plan([Step("try", [Op(broken)])], on_failure=[Action(send, {"what": "sorry"})])
    alone = runtime.run(plan_execute("alone", tools=TOOLS, plan=plan), "Try.")
    assert alone.status is Status.FAILED
    assert alone.error is not None
    assert alone.error.code == "E0426"
    assert "step try (broken) failed" in alone.error.why
    assert SENT[-1] == "sorry"
    rescued = runtime.run(
        plan_execute(
            "rescued",
            tools=TOOLS,
            plan=plan,
            model=MockModel(["Bought elsewhere."]),
            fallback_instructions="Go on by hand.",
        ),
        "Try.",
    )
    assert rescued.output == "Bought elsewhere."


def test_generate_in_python(runtime: AgentRuntime):
    """`Generate` has the team's model write the arguments of a fixed plan."""
    plan = Plan([Step("order", [Op(order, generate=Generate("Order in the south shop."))])])
    writer = MockModel([text("I would say: south"), text('{"shop": "south", "note": "please"}')])
    result = runtime.run(plan_execute("writer", tools=TOOLS, plan=plan, model=writer), "Order.")
    assert result.output["note"] == "please"
