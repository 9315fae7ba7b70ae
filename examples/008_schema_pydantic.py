"""A Pydantic model as a parameter, with its own rules. What breaks a rule does not reach the function: the model is told
what is wrong, and calls again.

Prints:
    refused: True
    booked: 2 nights for ada@example.com
"""

import os
import tempfile

from pydantic import BaseModel, Field

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        call("book", stay={"email": "ada@example.com", "nights": 0}),
        call("book", stay={"email": "ada@example.com", "nights": 2}),
        text("Done."),
    ]
)


class Stay(BaseModel):
    """A stay at the hotel."""

    email: str = Field(pattern=r"^[^@]+@[^@]+$", description="where to send the confirmation")
    nights: int = Field(ge=1, le=30)


@tool
def book(stay: Stay) -> str:
    """Book a room."""
    return f"{stay.nights} nights for {stay.email}"


hotel = Agent("hotel", MODEL, "You book rooms.", [book])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        refused, booked = runtime.run(hotel, "A room for two nights, for ada@example.com").tool_calls
        print(f"refused: {'nights' in str(refused['error'])}")
        print(f"booked: {booked['result']}")
