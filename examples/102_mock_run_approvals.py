"""Tests of agents that ask people: `approve=` decides each approval as the test says. Waits take no real time, however long they
are.

Prints:
    yes: refunded 40
    no: I am sorry.
"""

from perdure import Agent, tool
from perdure.testing import call, expect, mock_run, text


@tool(approval_required=True)
def refund(euros: int) -> str:
    """Give money back."""
    return f"refunded {euros}"


agent = Agent("support", "openai/gpt-5-mini", "Refund what you are asked to.", [refund])

if __name__ == "__main__":
    ask = call("refund", euros=40)
    yes = mock_run(agent, "40 euros", script=[ask, text("{result:refund}")], approve=True)
    expect(yes).approved("refund").completed()
    print(f"yes: {yes.output}")
    no = mock_run(agent, "40 euros", script=[ask, text("I am sorry.")], approve=False)
    expect(no).rejected("refund").completed()
    print(f"no: {no.output}")
