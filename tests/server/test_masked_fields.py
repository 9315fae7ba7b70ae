"""Masked fields: no reader of the server is shown their values; the tool, the model and the journal have them."""

from typing import Any

import msgspec
import pytest

from perdure.core import events as ev
from perdure.core.messages import Message, TextPart, ToolCallPart, ToolResultPart
from perdure.core.model import Usage
from perdure.server.masks import MASK, masked, restored

NAMES = frozenset({"ssn", "card"})
SECRET = "123-45-6789"


@pytest.mark.parametrize(
    "value",
    [
        {"ssn": SECRET, "name": "Ann"},
        {"people": [{"ssn": {"deep": SECRET}}, {"card": [SECRET]}]},
        ({"ssn": SECRET},),
        f'{{"ssn": "{SECRET}", "name": "Ann"}}',
        f'It is {{"ssn" : "{SECRET}"}}, I think.',
        {"told": f'[{{"card": "{SECRET}"}}]'},
        ev.ToolRequested("t1.c0", "c", "pay", {"ssn": SECRET}, "ik"),
        ev.ToolCompleted("t1.c0", 1, {"card": SECRET}, {"ssn": SECRET}),
        ev.ExecutionCompleted({"ssn": SECRET}),
        ev.ExecutionStarted("a", "p", Message("user", ()), "me", context={"ssn": SECRET}),
        ev.ModelCompleted(
            "t1.m",
            1,
            Message(
                "assistant",
                (TextPart(f'{{"ssn":"{SECRET}"}}'), ToolCallPart("c", "pay", {"card": SECRET})),
            ),
            Usage(),
            "stop",
        ),
        ev.CallsPrefilled(Message("assistant", (ToolCallPart("c", "pay", None, f'{{"ssn": "{SECRET}'),))),
        ev.MessageReceived("m", Message("user", (ToolResultPart("c", "pay", {"ssn": SECRET}),)), "me"),
        ev.Replaced("t1.c0.i", {"ssn": SECRET}, "@before_tool"),
    ],
)
def test_a_value_of_a_masked_field_is_nowhere(value: Any):
    """At any depth, in records and in texts that are JSON; what is beside it stays."""
    seen = msgspec.json.encode(masked(value, NAMES)).decode()
    assert SECRET not in seen
    assert MASK in seen
    assert ("Ann" in seen) == ("Ann" in msgspec.json.encode(value).decode())


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ann"},
        "The ssn is missing.",
        '{"broken": ',
        "[1, 2]",
        ev.ToolFailed("t1.c0", 1, ev.ErrorInfo("E0301", "No ssn")),
    ],
)
def test_what_has_no_masked_field_stays_as_it_is(value: Any):
    """Byte for byte."""
    assert masked(value, NAMES) == value


def test_the_fields_of_a_record_are_no_fields_of_the_users():
    """A mask that is named as a part of an event takes nothing from the event itself."""
    event = ev.ToolRequested("t1.c0", "c", "pay", {"step": SECRET}, "ik")
    assert masked(event, frozenset({"step", "tool", "arguments"})) == ev.ToolRequested(
        "t1.c0", "c", "pay", {"step": MASK}, "ik"
    )


def test_edited_arguments_with_masks_in_them_keep_what_was_there():
    """Who approves with an edit has not seen the value, and does not change it."""
    original = {"ssn": SECRET, "amount": 5, "to": [{"card": "1"}]}
    given = {"ssn": MASK, "amount": 3, "to": [{"card": MASK}]}
    assert restored(given, original) == {"ssn": SECRET, "amount": 3, "to": [{"card": "1"}]}
    assert restored({"new": MASK}, original) == {"new": MASK}
