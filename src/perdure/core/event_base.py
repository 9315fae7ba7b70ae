"""What all events are made of: the base type, errors as recorded, and references to other executions."""

from typing import ClassVar, Literal

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as recorded: the five fields of `PerdureError`."""

    code: str
    what: str
    where: str = ""
    why: str = ""
    fix: str = ""


def storable(error: ErrorInfo) -> ErrorInfo:
    """The error with every character that no UTF-8 text can hold replaced by a question mark."""
    texts = (error.code, error.what, error.where, error.why, error.fix)
    return ErrorInfo(*(text.encode("utf-8", "replace").decode() for text in texts))


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """Base of all events."""

    BODY: ClassVar[str | None] = None


class ParentRef(msgspec.Struct, frozen=True):
    """Whose child an execution is, and of which of its steps; `depth` is 1 for a child of a root."""

    execution_id: str
    step: str
    depth: int = 1


class HistoryRef(msgspec.Struct, frozen=True):
    """Where a conversation goes on from, without a copy of it.

    `kind` is team (what the parent's agents said so far, `upto` of them), handoff (the parent's own conversation, `upto`
    messages of it) or session (all of another execution).
    """

    execution_id: str
    kind: Literal["team", "handoff", "session"]
    upto: int = 0


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The execution that this one goes on from, repeats or replays.

    `seq` is the last of its events that counts; `copied` how many events this journal begins with that are copies of
    them; `edited` names what was put in the place of what was recorded. `on_missing` is of a replay: what is done about
    a call that the recording does not have.
    """

    execution_id: str
    seq: int
    kind: Literal["retry", "rerun", "fork", "replay"]
    copied: int = 0
    edited: tuple[str, ...] = ()
    on_missing: Literal["fail", "ask", "live"] = "fail"


class Handover(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who goes on in place of the agent that ends, and what it is told."""

    agent: str
    note: str = ""
