"""Recorded journals: one file per scenario and release, JSON lines.

A line is a record (`seq`, `at_ms`, `event`) or what was stored with the commit that ended there: `state`, the
state's bytes as text; `effects`, what a restart at this point performs; `messages`, the hash of what a model is
shown. The last line has the whole conversation. Written by `record.py`, once; never changed afterwards.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core import ids
from perdure.core.effects import Effect
from perdure.core.machines.turn import effects_of
from perdure.core.machines.turn_state import TurnState, encode_state
from perdure.core.transcript import PendingCall, Transcript
from tests.unit.core.play import Play, conversation, folded

FOLDER = Path(__file__).parent
# Those of 0.1.0: they are always written, as its recordings have them.
FIRST_FIELDS = frozenset(
    ("call_id", "tool", "arguments", "key", "approval_id", "unknown_epoch", "asked_at_ms")
)


class Stored(msgspec.Struct):
    """What was stored with a commit."""

    state: str
    effects: list[list[Any]]
    messages: str


class Line(msgspec.Struct, omit_defaults=True):
    """One line: a record, its event still as bytes; or what was stored; or, at the end, the conversation."""

    record: tuple[int, int, msgspec.Raw] | None = None
    stored: Stored | None = None
    conversation: list[Any] | None = None


def spoken(transcript: Transcript) -> list[Any]:
    """The messages as plain JSON values."""
    messages: list[Any] = msgspec.json.decode(msgspec.json.encode(transcript.messages))
    return messages


def stored_of(state: TurnState, transcript: Transcript) -> Stored:
    """What is compared: the state's bytes, the effects, the conversation."""
    effects = [[type(e).__name__, *_said(e)] for e in effects_of(state)]
    calls = {step: dict(_said_of_call(call)) for step, call in transcript.calls.items()}
    shown = msgspec.json.encode([transcript.messages, calls, transcript.cut, transcript.last_text])
    return Stored(encode_state(state).decode(), effects, ids.content_hash(msgspec.json.decode(shown)))


def _said(effect: Effect) -> list[Any]:
    """The fields of an effect; one that a later release added counts only where it is set."""
    fields = list(msgspec.structs.astuple(effect))
    while fields and fields[-1] is None:
        fields.pop()
    return fields


def _said_of_call(call: PendingCall) -> Iterator[tuple[str, Any]]:
    """The fields of an open call, in the same way."""
    for field in msgspec.structs.fields(PendingCall):
        value = getattr(call, field.name)
        if field.name in FIRST_FIELDS or value != field.default:
            yield field.name, value


def lines_of(play: Play) -> list[bytes]:
    """The file of a play."""
    lines, done = [], 0
    for cut in play.commits:
        for record in play.records[done:cut]:
            raw = msgspec.Raw(ev.encode(record.event))
            lines.append(msgspec.json.encode(Line(record=(record.seq, record.at_ms, raw))))
        done = cut
        records = play.records[:cut]
        lines.append(msgspec.json.encode(Line(stored=stored_of(folded(records), conversation(records)))))
    lines.append(msgspec.json.encode(Line(conversation=spoken(play.transcript))))
    return lines


def write_new(folder: Path, name: str, play: Play) -> Path:
    """Write the file of a scenario.

    Raises:
        FileExistsError: it is there; a recorded journal is never written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    with path.open("xb") as file:
        file.write(b"\n".join(lines_of(play)) + b"\n")
    return path


def read(path: Path) -> list[Line]:
    """The lines of a file."""
    return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]


def recorded() -> list[Path]:
    """Every recorded journal of every release, sorted."""
    return sorted(FOLDER.glob("*/*.jsonl"))
