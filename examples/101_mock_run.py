"""`mock_run` runs an agent in a test: the real engine, on virtual time, with a script for the model and fakes for tools. `expect`
says what should have happened; what did not raises an AssertionError that tells the story of the run.

Prints:
    It is on its way to Oslo.
    as expected
    a wrong expectation: AssertionError
"""

from perdure import Agent, tool
from perdure.testing import call, expect, mock_run, text


@tool(retry_delay_seconds=3600)
def lookup(order: str) -> dict[str, str]:
    """Look up an order."""
    raise ConnectionError("there is no network in a test")


agent = Agent(
    "support", "openai/gpt-5-mini", "Help the customer.", [lookup]
)  # never asked: the script answers

if __name__ == "__main__":
    result = mock_run(
        agent,
        "Where is order A-1?",
        script=[call("lookup", order="A-1"), text("It is on its way to {result:lookup.city}.")],
        tools={"lookup": {"city": "Oslo"}},
    )
    print(result.output)
    expect(result).completed().used_tool("lookup").output_contains("on its way").max_turns(2)
    print("as expected")
    try:
        expect(result).used_tool("refund")
    except AssertionError as error:
        print(f"a wrong expectation: {type(error).__name__}")
