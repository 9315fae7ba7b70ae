"""`retry` makes a new execution out of one that has failed: it goes on at the step that failed, and does nothing again that is
recorded. The old one stays as it is. Here a callback fails while the archive is down.

Prints:
    failed: RuntimeError, the archive is down
    completed: It is sent.
    looked up once: True
"""

import os
import tempfile
from typing import Any

from perdure import Agent, AgentRuntime, CallbackHandler, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([call("lookup"), text("It is {result:lookup}.")])
lookups: list[str] = []
archive = {"up": False}


@tool
def lookup() -> str:
    """Look up the order."""
    lookups.append("A-1")
    return "sent"


class Archive(CallbackHandler):
    """Keeps the answers."""

    def on_agent_end(self, output: str, **_: Any) -> None:
        """After the last turn."""
        if not archive["up"]:
            raise RuntimeError("the archive is down")


support = Agent("support", MODEL, "Look up the order.", [lookup], callbacks=[Archive()])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle = runtime.start(support, "Where is it?")
        failed = handle.join()
        print(
            f"{failed.status}: {'RuntimeError, the archive is down' if 'archive is down' in str(failed.error) else failed.error}"
        )
        archive["up"] = True
        again = handle.retry().join()
        print(f"{again.status}: {again.output or again.error}")
        print(f"looked up once: {len(lookups) == 1}")
