"""An answer with an output type while it is written: the value as far as its text can be read. Pure.

The text of a structured answer is its JSON, in a code fence from some models. Each piece of it is read together with all
before it, which would cost the square of its length; so a long text is read only when it has grown by a share of its length,
and when a mark says that the value is whole. What is read costs a constant times the length, whatever the pieces are.
"""

import re
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.results import AgentEvent
from perdure.core.fences import FENCE, behind_fence
from perdure.wire.types import DeltaRecord

LONGEST = 256 * 1024  # characters; of a longer text nothing is read any more
READ_EACH_PIECE = 2 * 1024  # characters; up to here each piece is worth reading
SHARE = 16  # a longer text is read when it has grown by one part in so many

_MARKS = re.compile(r'["\\{}\[\]]')
# A number that ends so cannot be read, but could be before: its key would come, go and come again.
_HALF_NUMBER = re.compile(r"(?<=\d)(?:\.|[eE][+-]?)\Z")
_HALF_NUMBER_LENGTH = 3  # with the digit before it


class Partials:
    """The answers in flight of an agent and of all below it.

    Only the agents that have an output type are read; of the others nothing is kept.
    """

    def __init__(self, agent: Agent) -> None:
        self._typed = frozenset(each.name for each in agent.tree() if each.output is not None)
        self._texts: dict[str, tuple[str, int, GrowingValue]] = {}  # execution -> step, attempt, its text

    def take(self, delta: DeltaRecord, event: AgentEvent) -> Any:
        """The value as far as it can be read with this piece, of which *event* tells; None: not yet, or not at all."""
        if delta.part != "text" or event.agent not in self._typed:
            return None
        step, attempt, text = self._texts.get(delta.execution_id, ("", 0, None))
        if text is None or (step, attempt) != (delta.step, delta.attempt):
            text = GrowingValue()
        elif delta.offset < text.length:
            text = text.cut(delta.offset)
        self._texts[delta.execution_id] = (delta.step, delta.attempt, text)
        text.add(delta.text, delta.offset)
        return text.value


class GrowingValue:
    """A JSON value whose text comes in pieces.

    Attributes:
        value: as far as it could be read when it was last read; None: nothing could, or the text is too long or has a gap.
        length: characters so far.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self._pieces: list[str] = []
        self.length = 0
        self._read_at = 0  # the length when it was last read
        self._is_broken = False
        self._is_whole = False  # the outermost bracket or string is closed
        self._in_string = False
        self._escaped = False
        self._depth = 0

    def add(self, piece: str, offset: int) -> None:
        """Take in a piece that begins at the end of the text, or behind it: then there is a gap, and nothing is read."""
        is_broken = offset != self.length or offset + len(piece) > LONGEST
        self.length = offset + len(piece)
        if self._is_broken or is_broken:
            self.value, self._is_broken = None, True
            self._pieces.clear()
            return
        self._pieces.append(piece)
        if self._is_whole:
            return
        self._is_whole = self._scan(piece)
        grown = self.length - self._read_at
        if self._is_whole or self.length <= READ_EACH_PIECE or grown * SHARE >= self.length:
            self._read()

    def cut(self, offset: int) -> "GrowingValue":
        """The same text up to *offset*, for a reader that came again and is given the rest anew."""
        fresh = GrowingValue()
        if kept := "".join(self._pieces)[:offset]:
            fresh.add(kept, 0)
        return fresh

    def _scan(self, piece: str) -> bool:
        """Follow strings and brackets; whether the outermost one is closed in this piece."""
        is_whole = False
        at = 0
        if self._escaped and piece:
            at, self._escaped = 1, False
        while (found := _MARKS.search(piece, at)) is not None:
            mark, at = found.group(), found.end()
            if mark == "\\":
                self._escaped = self._in_string and at == len(piece)
                at += self._in_string
            elif mark == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if mark in "{[" else -1
            is_whole = is_whole or (self._depth == 0 and not self._in_string)
        return is_whole

    def _read(self) -> None:
        from pydantic_core import from_json  # here: `import perdure` does not pay for it

        text = "".join(self._pieces)
        self._pieces, self._read_at = [text], self.length
        body = text.lstrip()
        if body.startswith(FENCE):
            body = behind_fence(body)
        if not self._in_string:
            tail = body[-_HALF_NUMBER_LENGTH:]
            body = body.removesuffix(tail) + _HALF_NUMBER.sub("", tail)
        try:
            # What follows the value, such as the end of a fence, is passed over.
            self.value = from_json(body, allow_inf_nan=False, allow_partial="trailing-strings")
        except (ValueError, TypeError):
            return  # no JSON (yet, or any more), or half a character: what was read last stands
