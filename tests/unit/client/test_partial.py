"""Answers that grow: whatever the text and its pieces are, reading never fails, and the whole text gives the whole value."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure import Agent, AgentEvent, EventType
from perdure.client.following import Follower
from perdure.client.partial import LONGEST, READ_EACH_PIECE, GrowingValue, Partials
from perdure.core.validation import parse_answer
from perdure.wire.types import DeltaRecord

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.floats(allow_nan=False)
JSON = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), JSON, min_size=1, max_size=5)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=8)


class Weather(BaseModel):
    """What an answer is to be."""

    city: str
    celsius: float


TYPED = Agent("typed", "mock/echo", output_type=Weather)


def cut(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, which are taken again and again."""
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


def grow(pieces: list[str]) -> list[Any]:
    """What can be read after each piece."""
    growing, values = GrowingValue(), []
    for piece in pieces:
        growing.add(piece, growing.length)
        values.append(growing.value)
    return values


def token(delta: DeltaRecord, agent: str = "typed") -> AgentEvent:
    """The event of a piece."""
    return AgentEvent(EventType.TOKEN, delta.execution_id, content=delta.text, agent=agent)


def piece(text: str, offset: int, attempt: int = 1, step: str = "t1") -> DeltaRecord:
    """A piece of an answer."""
    return DeltaRecord("x1", step, attempt, "text", offset, text)


def keys_only_grow(values: list[Any]) -> bool:
    """Whether each value that is there has the keys of the one before."""
    dicts = [value for value in values if value is not None]
    return all(list(after)[: len(before)] == list(before) for before, after in pairwise(dicts))


@given(value=OBJECTS, sizes=CUTS, ascii_only=st.booleans(), fenced=st.booleans())
def test_an_object_grows_to_the_whole(
    value: dict[str, Any], sizes: list[int], ascii_only: bool, fenced: bool
):
    """Cut anywhere, in a fence or not, keys are never lost, and the end is what the final parser reads."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    text = f"```json\n{text}\n```" if fenced else text
    values = grow(cut(text, sizes))
    assert values[-1] == value == parse_answer(text)[0]
    assert keys_only_grow(values)


@given(value=OBJECTS, sizes=CUTS)
def test_long_answers_are_read_now_and_then_but_whole_at_the_end(value: dict[str, Any], sizes: list[int]):
    """Where not each piece is read, the end is: its last bracket says so."""
    padded = {"pad": "x" * READ_EACH_PIECE} | value
    text = json.dumps(padded)
    assert grow([text[:READ_EACH_PIECE], *cut(text[READ_EACH_PIECE:], sizes), "\n"])[-1] == padded


@given(text=st.text() | st.text('{}[]"\\:,`1.e-tn \n'), sizes=CUTS)
def test_no_text_fails(text: str, sizes: list[int]):
    """What is no JSON is read as far as it is, or not at all."""
    grow(cut(text, sizes))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("It is warm.", None), ("{", {}), ('{"a":1', {"a": 1}), ('{"a":1.', {"a": 1}),
        ('{"a":1e+', {"a": 1}), ('{"a":"b 1.', {"a": "b 1."}), ('{"a":"\\ud83d', {"a": ""}), ("``", None),
        ("```json", None), ('```json\n{"a":"b', {"a": "b"}), ('{"a":1}\n``', {"a": 1}), ("[" * 5000, None),
        ("[1, 2", [1, 2]), ('{"a": NaN', None), ("\ud800", None), ('"wor', "wor"), ('{"a":"```', {"a": "```"}),
    ],
)  # fmt: skip
def test_what_is_read(text: str, value: Any):
    """Of a text in one piece."""
    assert grow([text]) == [value]


def test_what_was_read_stands_when_the_text_is_no_json_any_more():
    """The final parser will send the answer back; until then nothing vanishes."""
    assert grow(['{"a":1,', ' "b": oops', '"c": 2}']) == [{"a": 1}] * 3


def test_of_a_text_that_is_too_long_nothing_is_read():
    """The last that can be read has the limit's length."""
    text = '{"a":"' + "x" * (LONGEST - 8) + '"}'
    assert grow([text[:-1], text[-1], "\n"]) == [{"a": text[6:-2]}, {"a": text[6:-2]}, None]


@given(
    value=OBJECTS,
    sizes=CUTS,
    windows=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=10),
)
def test_pieces_that_come_again_after_a_reconnect(
    value: dict[str, Any], sizes: list[int], windows: list[tuple[int, int]]
):
    """Pieces that are sent again, by a new connection or to a new loop, change nothing of what is read."""
    text = json.dumps(value)
    follower, partials = Follower(0), Partials(TYPED)
    seen, at = [], 0
    for each in cut(text, sizes):
        said, at = at, at + len(each)
        for begin, size in [*windows, (said, len(each))]:
            start = min(begin, said)
            again = text[:at][start : start + size]
            record = follower.take(piece(again, start)) if again else None
            if isinstance(record, DeltaRecord):
                seen.append(partials.take(record, token(record)))
    assert seen[-1] == value
    assert keys_only_grow(seen)
    anew = [piece(text, 0), piece(text[3:], 3)]  # a new loop is told all again
    assert [partials.take(record, token(record)) for record in anew] == [value, value]


def test_a_new_attempt_and_a_new_step_begin_a_new_text():
    """What a lost attempt has said is nowhere in the next."""
    partials = Partials(TYPED)
    told = [
        piece('{"city": "Lis', 0),
        piece('{"celsius": 2', 0, 2),
        piece("4", 13, 2),
        piece("{", 0, 1, "t2"),
    ]
    assert [partials.take(record, token(record)) for record in told] == [
        {"city": "Lis"}, {"celsius": 2}, {"celsius": 24}, {},
    ]  # fmt: skip


def test_a_gap_is_not_read_over():
    """The text after it is not the answer's; the next attempt is read again."""
    partials = Partials(TYPED)
    told = [piece('{"a": 1', 0), piece("2}", 9), piece("}", 11), piece('{"a": 3', 0, 2)]
    assert [partials.take(record, token(record)) for record in told] == [{"a": 1}, None, None, {"a": 3}]


def test_only_the_texts_of_agents_with_an_output_type_are_read():
    """Not reasoning, and not what others of the tree say."""
    partials = Partials(Agent("lead", "mock/echo", agents=[TYPED, Agent("plain", "mock/echo")]))
    record = piece("{}", 0)
    thought = DeltaRecord("x1", "t1", 1, "reasoning", 0, "{}")
    assert partials.take(record, token(record, "plain")) is None
    assert partials.take(record, token(record, "lead")) is None
    assert partials.take(thought, token(thought)) is None
    assert partials.take(record, token(record)) == {}


def test_reading_costs_little_more_than_the_text():
    """What is read in all is a constant times the length, not its square."""
    text = json.dumps([{"name": "x", "at": at} for at in range(3000)])
    growing, read = GrowingValue(), 0
    for each in cut(text, [4]):
        before = growing.value
        growing.add(each, growing.length)
        read += growing.length * (growing.value is not before)
    assert growing.value == json.loads(text)
    assert read < 30 * len(text)
