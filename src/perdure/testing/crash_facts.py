"""What a child of a crash test tells its parent: facts, a line each, in a file that outlives a SIGKILL.

The parent judges by them, and the next child takes from them which entries of its script are used up. A line is one write
to a file that is open to append, so that a kill leaves whole lines.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from perdure.testing.ledger import ToolAttempt


class Began(msgspec.Struct, tag=True):
    """An attempt began."""

    agent: str
    tool: str
    execution_id: str
    step: str
    epoch: int
    key: str
    arguments: dict[str, Any]


class Ended(msgspec.Struct, tag=True):
    """An attempt returned, or raised."""

    execution_id: str
    step: str
    epoch: int
    error: str | None


class Outcome(msgspec.Struct, tag=True):
    """The outcome of a step is in the journal."""

    execution_id: str
    step: str
    kind: str


class Asking(msgspec.Struct, tag=True):
    """A model is asked."""

    execution_id: str
    step: str


class Took(msgspec.Struct, tag=True):
    """An entry of a script was taken."""

    speaker: str
    execution_id: str
    step: str
    attempt: int
    number: int


Fact = Began | Ended | Outcome | Asking | Took


class Facts:
    """The file of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def tell(self, fact: Fact) -> None:
        """Add a line; it is with the operating system when this returns."""
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, msgspec.json.encode(fact, enc_hook=repr) + b"\n")

    def read(self) -> list[Fact]:
        """All that was told, in order."""
        if not self._path.exists():
            return []
        return msgspec.json.Decoder(Fact).decode_lines(self._path.read_bytes())


def attempts_of(facts: list[Fact]) -> list[ToolAttempt]:
    """The attempts that were told, in the order in which they began; what they returned was not."""
    found: dict[tuple[str, str, int], ToolAttempt] = {}
    attempts: list[ToolAttempt] = []
    for fact in facts:
        if isinstance(fact, Began):
            attempt = ToolAttempt(**msgspec.structs.asdict(fact))
            attempts.append(attempt)
            found[fact.execution_id, fact.step, fact.epoch] = attempt
        elif isinstance(fact, Ended):
            attempt = found[fact.execution_id, fact.step, fact.epoch]
            attempt.ended = True
            attempt.error = None if fact.error is None else RuntimeError(fact.error)
    return attempts
