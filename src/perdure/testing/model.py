"""The mock model as an agent's `model=`, and how entries of a script are written.

    agent = Agent("support", model=MockModel([call("lookup", order="A-1"), text("It is on its way.")]))

The script goes to the server with the agent, so that it works across processes, over restarts, and without
any key. Its entries are described in `perdure.providers.mock_script`; `text`, `call` and `calls` write the usual
ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class MockModel:
    """A deterministic model: entry *n* of the script answers the request that holds *n* answers already.

    Args:
        script: texts, or entries as `text`, `call` and `calls` make them.
        name: which mock model; `script` plays the script.
        repeat_last: the last entry answers for ever, instead of an error (E0211) when the script runs out.

    Attributes:
        model: `mock/<name>`.
        settings: what goes to the server.
    """

    def __init__(
        self, script: Sequence[str | Mapping[str, Any]], *, name: str = "script", repeat_last: bool = False
    ) -> None:
        self.model = f"mock/{name}"
        entries = [text(entry) if isinstance(entry, str) else dict(entry) for entry in script]
        self.settings: dict[str, Any] = {"script": entries}
        if repeat_last:
            self.settings["repeat_last"] = True

    def __repr__(self) -> str:
        return f"MockModel({len(self.settings['script'])} entries)"


def text(content: str, **options: Any) -> dict[str, Any]:
    """An answer. *options* are further fields of the entry: delay_ms, chunks, chunk_delay_ms, reasoning, fail."""
    return {"text": content, **options}


def call(tool: str, /, **arguments: Any) -> dict[str, Any]:
    """One call of a tool."""
    return {"tool_calls": [{"tool": tool, "arguments": arguments}]}


def calls(*entries: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Several calls in one turn: `calls(call("a"), call("b", x=1))`."""
    return {"tool_calls": [c for entry in entries for c in entry["tool_calls"]], **options}
