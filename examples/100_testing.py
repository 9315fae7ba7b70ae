"""How to test an agent: a tool is a plain function, so call it; the agent with a `MockModel` runs the whole thing without a
key. Run this file, or `pytest` on it.

Prints: 3 tests passed
"""

import tempfile

from perdure import Agent, AgentResult, AgentRuntime, tool
from perdure.testing import MockModel, call, text


@tool(retry_count=0)
def discount(price: float, percent: float) -> float:
    """Take a discount off a price."""
    if not 0 <= percent <= 100:
        raise ValueError("a discount is 0 to 100 percent")
    return round(price * (1 - percent / 100), 2)


def run_with(model: MockModel) -> AgentResult:
    """The agent with this model, asked once."""
    agent = Agent("clerk", model, "Work out prices.", [discount])
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        return runtime.run(agent, "20 percent off 50")


def test_the_tool_is_a_function() -> None:
    """It can be called as if it had never been decorated."""
    assert discount(50.0, percent=20) == 40


def test_the_agent_calls_it() -> None:
    """The result of the call is in the answer."""
    result = run_with(MockModel([call("discount", price=50, percent=20), text("{result:discount} EUR")]))
    assert result.output == "40.0 EUR"
    assert [made["name"] for made in result.tool_calls] == ["discount"]


def test_a_wrong_call_is_survived() -> None:
    """The model is told what was wrong, and goes on."""
    result = run_with(MockModel([call("discount", price=50, percent=200), text("That is no discount.")]))
    assert result.is_success
    assert "0 to 100" in result.tool_calls[0]["error"]["what"]


if __name__ == "__main__":
    tests = [test_the_tool_is_a_function, test_the_agent_calls_it, test_a_wrong_call_is_survived]
    for test in tests:
        test()
    print(f"{len(tests)} tests passed")
