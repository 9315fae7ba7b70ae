"""What a person types as an answer, and which command an approval is decided with."""

import pytest

from perdure.cli.decide import parse_answer, verb_of
from perdure.core import events as ev

ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
PICK = {"type": "object", "properties": {"agent": {"enum": ["a", "DONE"]}}, "required": ["agent"]}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TWO = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}


@pytest.mark.parametrize(
    ("typed", "schema", "value"),
    [
        ("yes, until Friday", ANSWER, {"answer": "yes, until Friday"}),
        ("42", ANSWER, {"answer": "42"}),
        ('{"answer": "yes"}', ANSWER, {"answer": "yes"}),
        ("a", PICK, {"agent": "a"}),
        ("DONE", PICK, {"agent": "DONE"}),
        ("7", NUMBER, {"n": 7}),
        ("seven", TWO, "seven"),
        ("true", {"type": "boolean"}, True),
        ("true", {"type": "string"}, "true"),
        ('{"content": "better"}', None, {"content": "better"}),
        ("null", None, None),
        (" spaced ", None, "spaced"),
    ],
)
def test_an_answer_is_what_was_meant(typed, schema, value):
    """JSON is JSON; a text becomes the one field that is asked for."""
    assert parse_answer(typed, schema) == value


def test_every_kind_of_approval_has_a_command():
    """What is asked is answered, and what would be done is approved."""
    kinds = {kind: verb_of(kind) for kind in ev.ApprovalKind.__args__}
    assert {k for k, verb in kinds.items() if verb == "respond"} == {"question", "pick"}
    assert set(kinds.values()) == {"approve", "respond"}
