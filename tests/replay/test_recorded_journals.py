"""Recorded journals of every release load for ever, and mean what they meant."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from perdure.core import events as ev
from perdure.core.machines.turn_state import TurnState, decode_state, encode_state, evolve
from perdure.core.transcript import Transcript
from tests.replay.journals import read, recorded, spoken, stored_of, write_new
from tests.unit.core.scenarios import plain_answer

JOURNALS = pytest.mark.parametrize("path", recorded(), ids=lambda p: f"{p.parent.name}/{p.stem}")


@JOURNALS
def test_a_recorded_journal_gives_the_recorded_states_effects_and_conversation(path: Path):
    """At every commit: the same state byte for byte, the same effects after a restart, the same messages."""
    state, transcript, commits = TurnState(), Transcript(), 0
    for line in read(path):
        if line.record is not None:
            _seq, at_ms, raw = line.record
            event = ev.decode(bytes(raw))
            evolve(state, event)
            transcript.fold(event, at_ms)
        elif line.stored is not None:
            assert stored_of(state, transcript) == line.stored
            commits += 1
        else:
            assert spoken(transcript) == line.conversation
    assert commits


@JOURNALS
def test_a_recorded_state_is_taken_over(path: Path):
    """A state that an old release stored is read and, unless something happens, written back the same."""
    for line in read(path):
        if line.stored is not None:
            assert encode_state(decode_state(line.stored.state.encode())).decode() == line.stored.state


@JOURNALS
def test_a_recorded_event_keeps_its_meaning(path: Path):
    """What an event says is all kept: written again it says the same, and at most more."""
    for line in read(path):
        if line.record is not None:
            raw = bytes(line.record[2])
            old, new = msgspec.json.decode(raw), msgspec.json.decode(ev.encode(ev.decode(raw)))
            assert {k: new.get(k) for k in old} == old


def test_the_recorded_journals_have_every_kind_of_event():
    """Whoever adds a kind of event records a scenario that has it."""
    kinds = {
        msgspec.json.decode(line.record[2])["kind"]
        for path in recorded()
        for line in read(path)
        if line.record is not None
    }
    assert kinds == {kind.__struct_config__.tag for kind in get_args(ev.AnyEvent)}


def test_a_recorded_journal_is_never_written_over(tmp_path: Path):
    """The recorder makes new files and refuses old ones."""
    first = write_new(tmp_path, "plain_answer", plain_answer())
    before = first.read_bytes()
    with pytest.raises(FileExistsError):
        write_new(tmp_path, "plain_answer", plain_answer())
    assert first.read_bytes() == before
