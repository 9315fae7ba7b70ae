"""An agent that waits for the next message that somebody sends to its execution, for as long as it takes. Here in a test:
`messages=` are what people say, one each time that it waits.

Prints: Packed: pens, ink.
"""

from perdure import Agent, wait_for_message_tool
from perdure.testing import call, expect, mock_run, text

wait = wait_for_message_tool("next_wish", "Wait for the next thing that the customer wants.")
packer = Agent("packer", "openai/gpt-5-mini", "Take two wishes, then pack them.", [wait])

if __name__ == "__main__":
    result = mock_run(
        packer,
        "Pack what I will tell you",
        script=[call("next_wish"), call("next_wish"), text("Packed: pens, ink.")],
        messages=["pens", "ink"],
    )
    print(result.output)
    expect(result).completed().tool_call_order(["next_wish", "next_wish"])
