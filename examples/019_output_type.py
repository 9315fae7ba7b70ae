"""Structured output: with `output_type` the answer is a value of that type, not a text. Here a Pydantic model.

Prints: Invoice(number='2024-17', total=119.0, paid=False)
"""

import os
import tempfile

from pydantic import BaseModel

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [{"json": {"number": "2024-17", "total": 119, "paid": False}}]
)


class Invoice(BaseModel):
    """What is to be paid."""

    number: str
    total: float
    paid: bool


reader = Agent("reader", MODEL, "Read invoices.", output_type=Invoice)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(repr(runtime.run(reader, "Invoice 2024-17 over 119 EUR, still open").output))
