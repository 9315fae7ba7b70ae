"""A long conversation is condensed when it reaches `context_window_budget` tokens: the model itself sums up the older part,
and goes on with the summary. What was said stays in the journal.

Prints:
    pages read: 12
    never shown more than 15 messages: True
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, CallbackHandler, tool
from perdure.testing import MockModel, call

SUMMARY_OR_CALL = {**call("read"), "text": "So far it went on and on."}
MODEL = os.environ.get("PERDURE_MODEL") or MockModel([SUMMARY_OR_CALL], repeat_last=True)
pages: list[int] = []
shown: list[int] = []


@tool
def read() -> str:
    """Read the next page of the book."""
    pages.append(len(pages) + 1)
    return f"Page {pages[-1]}: " + "and so on and so on " * 60


def at_the_end(_now: dict[str, Any]) -> bool:
    """The book has twelve pages."""
    return len(pages) == 12


class Count(CallbackHandler):
    """Counts what the model is shown."""

    def on_model_start(self, messages: list[dict[str, Any]], **_: Any) -> None:
        """Before each model call."""
        shown.append(len(messages))


reader = Agent(
    "reader",
    MODEL,
    "Read on.",
    [read],
    context_window_budget=1_500,
    stop_when=at_the_end,
    callbacks=[Count()],
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        runtime.run(reader, "What is in the book?")
        print(f"pages read: {len(pages)}")
        print(f"never shown more than 15 messages: {max(shown) <= 15}")
