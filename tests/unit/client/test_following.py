"""Following a stream over reconnects: no gap, no duplicate, and pieces that join to the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.following import Follower, GapError
from perdure.core.errors import ApiError
from perdure.wire.types import DeltaRecord, EventRecord


def event(seq: int, kind: str = "model_requested") -> EventRecord:
    """An event at a position."""
    return EventRecord("x1", seq, 0, {"kind": kind})


def piece(text: str, offset: int, attempt: int = 1, step: str = "t1") -> DeltaRecord:
    """A piece of an answer."""
    return DeltaRecord("x1", step, attempt, "text", offset, text)


def test_events_that_were_seen_are_dropped():
    """A position is passed on once."""
    follower = Follower(2)
    assert follower.take(event(2)) is None
    assert follower.take(event(3)) == event(3)
    assert follower.take(event(3)) is None
    assert follower.last == 3


def test_a_missing_position_is_asked_for_again_and_then_an_error():
    """The third stream in a row that skips is the server's mistake; a good event begins the count anew."""
    follower = Follower(0)
    with pytest.raises(GapError):
        follower.take(event(2))
    assert follower.take(event(1)) == event(1)
    for _ in range(2):
        with pytest.raises(GapError):
            follower.take(event(5))
    with pytest.raises(ApiError, match="from position 1 to 5"):
        follower.take(event(5))


@pytest.mark.parametrize("kind", ["execution_completed", "execution_failed", "execution_cancelled"])
def test_a_terminal_event_ends_it(kind: str):
    """The three ends of an execution end the stream."""
    follower = Follower(0)
    follower.take(event(1))
    assert not follower.ended
    follower.take(event(2, kind))
    assert follower.ended


@given(
    text=st.text(min_size=1, max_size=60),
    windows=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30),
)
def test_repeated_pieces_join_to_the_text(text: str, windows: list[tuple[int, int]]):
    """However often and however cut pieces come again, what is passed on is the text, once."""
    follower, joined = Follower(0), ""
    for start, length in [*windows, (0, len(text))]:
        if start > len(joined):  # a server leaves no hole
            continue
        part = text[start : start + length]
        if part and (fresh := follower.take(piece(part, start))) is not None:
            assert isinstance(fresh, DeltaRecord)
            assert fresh.offset == len(joined)
            joined += fresh.text
    assert joined == text


def test_a_new_attempt_begins_anew_and_the_old_one_is_over():
    """After a crash in mid-answer the pieces of the new attempt are passed on, late ones of the old are not."""
    follower = Follower(0)
    assert follower.take(piece("Hel", 0)) is not None
    assert follower.take(piece("He", 0, attempt=2)) == piece("He", 0, attempt=2)
    assert follower.take(piece("lo", 3)) is None
    assert follower.take(piece("Hey", 0, attempt=2)) == piece("y", 2, attempt=2)
    assert follower.take(piece("x", 0, step="t2")) is not None
