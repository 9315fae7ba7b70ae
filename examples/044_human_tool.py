"""A tool that a person answers: the agent asks a question, and the answer comes back as the tool's result. It waits like an
approval, without a limit of time. The answer must fit `output_schema`.

Prints:
    asked: Which colour?
    Blue it is.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, human_tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("ask_customer", question="Which colour?"), text("{result:ask_customer.colour} it is.")]
)
ask = human_tool(
    "ask_customer",
    "Ask the customer.",
    output_schema={"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
)
painter = Agent("painter", MODEL, "Find out which colour is wanted, then confirm it.", [ask])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(painter, "Paint my door")
        for event in handle.stream():
            if event.type == EventType.WAITING and event.args:
                print(f"asked: {event.args['question']}")
                handle.respond({"colour": "Blue"})
        print(handle.join().output)
