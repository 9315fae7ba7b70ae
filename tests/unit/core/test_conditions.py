"""Conditions that are data."""

import pytest

from perdure.core import conditions as cond
from perdure.core.model import Usage

SAID = cond.Said("We are DONE here", 3, Usage(100, 20))


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (cond.TextMention("done"), "the text 'done' was mentioned"),
        (cond.TextMention("done", case_sensitive=True), ""),
        (cond.TextMention("DONE", case_sensitive=True), "the text 'DONE' was mentioned"),
        (cond.StopMessage("DONE"), ""),
        (cond.StopMessage("  We are DONE here\n"), "the message was '  We are DONE here\\n'"),
        (cond.MaxMessages(4), ""),
        (cond.MaxMessages(3), "3 messages were said"),
        (cond.TokenUsage(total=121), ""),
        (cond.TokenUsage(total=120), "120 tokens were used"),
        (cond.TokenUsage(prompt=100), "100 prompt tokens were used"),
        (cond.TokenUsage(completion=20), "20 completion tokens were used"),
        (cond.TokenUsage(), ""),
        (cond.AnyOf((cond.MaxMessages(9), cond.TextMention("here"))), "the text 'here' was mentioned"),
        (cond.AnyOf(()), ""),
        (
            cond.AllOf((cond.MaxMessages(2), cond.TokenUsage(total=1))),
            "3 messages were said and 120 tokens were used",
        ),
        (cond.AllOf((cond.MaxMessages(2), cond.MaxMessages(4))), ""),
        (cond.AllOf(()), ""),
    ],
)
def test_a_condition_says_why_it_is_met(condition: cond.Condition, why: str):
    """The reason in words, or an empty text when it is not met; one of nothing is never met."""
    assert cond.met(condition, SAID) == why


def test_a_gate_looks_at_outputs_of_any_type():
    """A text gate is closed by its text, in a JSON value as well, by default in this very case."""
    gate = cond.TextGate("STOP")
    assert cond.is_open(gate, "stop")
    assert not cond.is_open(gate, "please STOP")
    assert not cond.is_open(gate, {"state": ["STOP"]})
    assert not cond.is_open(cond.TextGate("STOP", case_sensitive=False), {"state": "stop"})
    assert cond.is_open(gate, None)
