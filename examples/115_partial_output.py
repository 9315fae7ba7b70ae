"""The tokens of an answer with an output type carry `partial`: the answer as far as it is written, as dicts and lists. So it
can be shown while it grows; it is validated when it is whole.

Prints:
    Oslo: 1 days
    Oslo: 2 days
    Oslo: 3 days
    whole: Trip(city='Oslo', days=['Fjord', 'Museum', 'Sauna'])
"""

import os
import tempfile

from pydantic import BaseModel

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel

ANSWER = {"city": "Oslo", "days": ["Fjord", "Museum", "Sauna"]}
MODEL = os.environ.get("PERDURE_MODEL") or MockModel([{"json": ANSWER, "chunks": 24, "delay_ms": 200}])


class Trip(BaseModel):
    """A short trip."""

    city: str
    days: list[str]


planner = Agent("planner", MODEL, "Plan a trip.", output_type=Trip)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events = runtime.stream(planner, "Three days in the north")
        shown = 0
        for event in events:
            trip = event.partial or {}
            if len(trip.get("days", [])) > shown:
                shown = len(trip["days"])
                print(f"{trip['city']}: {shown} days")
        print("whole:", repr(events.result.output))
