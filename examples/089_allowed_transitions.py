"""Who may follow whom: here the writer is followed by the editor only, and the editor by the printer only, whatever the order
in which they were given.

Prints:
    writer -> editor -> printer
    Printed.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, EventType, MaxMessageTermination, Strategy
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")

writer = Agent("writer", REAL or MockModel([text("Draft.")]), "Write.")
printer = Agent("printer", REAL or MockModel([text("Printed.")]), "Print.")
editor = Agent("editor", REAL or MockModel([text("Edited.")]), "Edit.")
press = Agent(
    "press",
    agents=[writer, printer, editor],
    strategy=Strategy.ROUND_ROBIN,
    allowed_transitions={"writer": ["editor"], "editor": ["printer"], "printer": []},
    termination=MaxMessageTermination(10),
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(press, "A story")
        print(" -> ".join(e.target or "" for e in events if e.type == EventType.HANDOFF))
        print(events.result.output)
