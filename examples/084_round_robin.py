"""A debate: the agents speak in turn, and each sees all that was said. It ends when one says AGREED.

Prints:
    for: Coffee keeps us awake.
    against: Tea as well, and is lighter.
    for: AGREED, let us serve both.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, Strategy, TextMentionTermination
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
FOR = [text("Coffee keeps us awake."), text("AGREED, let us serve both.")]

coffee = Agent("for", REAL or MockModel(FOR), "You speak for coffee. Say AGREED when you are convinced.")
tea = Agent("against", REAL or MockModel([text("Tea as well, and is lighter.")]), "You speak for tea.")
debate = Agent(
    "debate",
    agents=[coffee, tea],
    strategy=Strategy.ROUND_ROBIN,
    termination=TextMentionTermination("AGREED"),
    max_turns=10,
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(debate, "Coffee or tea?")
        for event in events:
            if event.type == EventType.MESSAGE:
                print(f"{event.agent}: {event.content}")
