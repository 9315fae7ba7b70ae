"""An answer that does not fit the output type is sent back to the model with what is wrong, and it answers again. Here the
first answer is prose, the second breaks a rule, the third fits.

Prints:
    Rating(stars=4, because='good sound')
    model calls: 3
"""

import os
import tempfile

from pydantic import BaseModel, Field

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        text("I would give it four stars."),
        {"json": {"stars": 40, "because": "good sound"}},
        {"json": {"stars": 4, "because": "good sound"}},
    ]
)


class Rating(BaseModel):
    """What somebody thinks of a product."""

    stars: int = Field(ge=1, le=5)
    because: str


critic = Agent("critic", MODEL, "Rate products by what is said of them.", output_type=Rating)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(critic, "The sound is good, the cable is short.")
        print(repr(result.output))
        print(f"model calls: {sum(message['role'] == 'assistant' for message in result.messages)}")
