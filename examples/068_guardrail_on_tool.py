"""Guardrails of a tool: one on its arguments, before it runs, and one on its result, before the model sees it.

Prints:
    ran with: ['SELECT name FROM users']
    result: Ada, card [redacted]
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, Guardrail, GuardrailResult, OnFail, Position, RegexGuardrail, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [
        call("query", sql="DROP TABLE users"),
        call("query", sql="SELECT name FROM users"),
        text("result: {result:query}"),
    ]
)
ran: list[str] = []


def reads_only(arguments: dict[str, str]) -> GuardrailResult:
    """Only queries that change nothing."""
    return GuardrailResult(arguments["sql"].upper().startswith("SELECT"), "Only SELECT is allowed.")


no_cards = RegexGuardrail([r"\d{4}-\d{4}"], name="no_cards", on_fail=OnFail.FIX)


@tool(guardrails=[Guardrail(reads_only, Position.INPUT), no_cards])
def query(sql: str) -> str:
    """Query the database of users."""
    ran.append(sql)
    return "Ada, card 1234-5678"


analyst = Agent("analyst", MODEL, "Answer from the database.", [query])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        output = runtime.run(analyst, "Who are our users?").output
        print(f"ran with: {ran}")
        print(output)
