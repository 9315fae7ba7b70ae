"""A team inside of a team: two researchers work at the same time, an editor makes one text of what they found. What happens
in all of them comes through one stream.

Prints:
    parallel in sequential
    agents that spoke: editor, history, numbers
    Lisbon: old, and home to 500,000.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

history = Agent("history", REAL or MockModel([text("It is old.")]), "You know the history of cities.")
numbers = Agent("numbers", REAL or MockModel([text("500,000 people.")]), "You know figures of cities.")
research = Agent("research", agents=[history, numbers], strategy=Strategy.PARALLEL)
editor = Agent("editor", REAL or MockModel([text("Lisbon: old, and home to 500,000.")]), "Write one line.")
magazine = Agent("magazine", agents=[research, editor], strategy=Strategy.SEQUENTIAL)

if __name__ == "__main__":
    print(f"{research.strategy} in {magazine.strategy}")
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(magazine, "Lisbon")
        spoke = {event.agent for event in events if event.type == EventType.MESSAGE}
        print(f"agents that spoke: {', '.join(sorted(spoke))}")
        print(events.result.output)
