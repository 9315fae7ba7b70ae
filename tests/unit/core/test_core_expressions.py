"""Success conditions: reading, judging, failing closed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.expressions import MAX_CONDITION_CHARS, check_condition, default_holds, holds, same

OUTPUT = {
    "status": "ok",
    "count": 3,
    "ratio": 0.5,
    "items": [{"name": "a"}, {"name": "b"}],
    "rows": [[1, 2], [3, 4]],
    "none": None,
    "yes": True,
    "a key": {"x": 1},
    "text": 'said "hi"',
}


@pytest.mark.parametrize(
    "condition",
    [
        "$.status == 'ok'",
        '$.status == "ok" and $.count == 3',
        "$.count != 4",
        "$.count > 2 && $.count >= 3 && $.count < 4 && $.count <= 3",
        "$.count == 3.0",
        "$.ratio < 1",
        "len($.items) == 2",
        "len($.status) == 2",
        "len($) > 5",
        "$.items[0].name == 'a'",
        "$.items[-1].name == 'b'",
        "$.items.0.name == 'a'",
        "$.rows.0.1 == 2",
        "$.rows[1][0] == 3",
        '$["a key"].x == 1',
        "$.none == null and $.none == None",
        "$.nowhere.at.all == null",
        "$.yes",
        "$.yes == true and $.yes == True",
        "not $.none",
        "!$.none || $.nowhere",
        "'o' in $.status",
        "$.status contains 'k'",
        "3 in [1, 2, 3]",
        "$.status in ['ok', \"done\"]",
        "$.status not in ['failed']",
        "'status' in $",
        "[1, 2] in $.rows",
        "$.rows contains [3, 4]",
        "$.items[0] == $.items[0]",
        "($.count == 1 or $.count == 3) and $.yes",
        "$.count == 1 or $.count == 2 or $.yes and $.status == 'ok'",
        "not not $.yes",
        "$.text == 'said \"hi\"'",
        '$.text == "said \\"hi\\""',
        "-1 < $.count",
        "1e2 == 100",
        "$.count > 99 or $.missing > 1 or $.yes",  # unknown or true
        "not ($.missing > 1 and $.count == 0)",  # not (unknown and false)
        "'\\n' == \"\n\"",
        "[] == []",
    ],
)
def test_what_is_true_holds(condition: str):
    """Each form of the language is read and true of the output."""
    assert check_condition(condition) == ""
    assert holds(condition, OUTPUT)


@pytest.mark.parametrize(
    "condition",
    [
        "$.status == 'OK'",
        "$.count == '3'",
        "$.yes == 1",
        "$.count > '2'",
        "not ($.count > '2')",  # unknown, so neither it nor its opposite holds
        "$.missing > 1",
        "not ($.missing > 1)",
        "len($.count) > 0",
        "not (len($.count) > 0)",
        "'a' in $.missing",
        "'a' not in $.missing",
        "3 in $.status",
        "3 in $",
        "$.yes > 0",
        "null < 1",
        "$.items[2].name == 'a'",
        "$.missing",
        "0 or '' or [] or null or false",
        "$.yes and $.none",
        "$.missing > 1 and $.yes",
    ],
)
def test_what_is_false_or_unknown_does_not_hold(condition: str):
    """Neither a false condition nor one without an answer holds, negated or not."""
    assert check_condition(condition) == ""
    assert not holds(condition, OUTPUT)


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "too early"),
        ("$.a ==", "too early"),
        ("== 1", "'==' is not expected"),
        ("$.a = 1", "not understood"),
        ("$.a == 1 2", "'2' is not expected"),
        ("($.a", "')' is missing"),
        ("[1, 2", "',' is missing before 'the end'"),
        ("[1 2]", "',' is missing"),
        ("$.a not 1", "'in' is missing"),
        ("$.", "too early"),
        ("$.'a'", "no name"),
        ("$[a]", "no name"),
        ("$[1.5]", "no name"),
        ("$[0", "']' is missing"),
        ("len $", "'(' is missing"),
        ("a == 1", "'a' is not expected"),
        ("__import__('os').system('true')", "not expected"),
        ("$.a.__class__()", "'(' is not expected"),
        ("'open", "not understood"),
        ("1 < 2 < 3", "'<' is not expected"),
        ("(" * 60 + "1" + ")" * 60, "nested"),
        ("not " * 60 + "1", "nested"),
        ("1" * (MAX_CONDITION_CHARS + 1), "characters"),
    ],
)
def test_what_cannot_be_read_is_explained_and_never_holds(condition: str, why: str):
    """A condition outside the language is explained, and does not hold."""
    assert why in check_condition(condition)
    assert not holds(condition, OUTPUT)


@given(st.text("$.ab01'\"()[]<>=!&|, \\notandrilec", max_size=40))
def test_any_text_is_read_or_explained(condition: str):
    """Whatever stands in a condition, judging it raises nothing, and what cannot be read does not hold."""
    assert isinstance(holds(condition, OUTPUT), bool)
    if check_condition(condition):
        assert not holds(condition, OUTPUT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(JSON, JSON)
def test_sameness_is_that_of_json(left, right):
    """A value is the same as itself, `==` and `!=` are opposites, and order does not matter."""
    assert same(left, left)
    assert same(left, right) == same(right, left)
    output = {"l": left, "r": right}
    assert holds("$.l == $.r", output) == same(left, right)
    assert holds("$.l != $.r", output) != same(left, right)


@given(JSON, st.sampled_from(["$.a > 0", "$.a contains 'a'", "len($) < 2", "$.a", "$[0] in [1, 2]"]))
def test_a_condition_and_its_opposite_never_both_hold(output, condition: str):
    """At most one of a condition and its negation holds; none when there is no answer."""
    assert not (holds(condition, output) and holds(f"not ({condition})", output))
    assert holds(f"{condition} or true", output)
    assert not holds(f"{condition} and false", output)


def test_a_long_condition_is_judged_at_once():
    """The longest conditions are read in milliseconds."""
    start = time.perf_counter()
    for condition in ("'" * 2_000, "\\" * 2_000, "$." * 1_000, "1 or " * 399 + "1", "$" + "[0]" * 600):
        holds(condition, OUTPUT)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("output", "good"),
    [
        (None, False),
        ({"passed": False}, False),
        ({"passed": True}, True),
        ({"passed": None}, True),
        ("all fine", True),
        ("ERROR: no", False),
        ("error", True),
        ({"log": ["a", {"b": "an ERROR here"}]}, False),
        ({}, True),
        (0, True),
        (False, False),
        ([], True),
    ],
)
def test_success_by_default(output, good: bool):
    """Without a condition an output fails that is null or false, has passed: false, or has the text ERROR."""
    assert default_holds(output) is good
