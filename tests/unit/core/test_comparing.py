"""Two journals side by side."""

from perdure.core.comparing import compare, steps_of
from perdure.core.events import Recorded
from tests.unit.core.play import Play, call
from tests.unit.core.scenarios import SCENARIOS


def _weather(degrees: int, *more: str) -> list[Recorded]:
    play = Play().begin("Compare")
    play.reply("", *(call("weather", call_id=f"c{i}", city=c) for i, c in enumerate(("a", *more))))
    for step in list(play.state.steps):
        play.run(step, {"degrees": degrees})
    play.reply("Done.")
    return play.records


def test_every_scenario_is_the_same_as_itself():
    """Nothing differs, and every step that was begun is listed once."""
    for name, made in SCENARIOS.items():
        records = made().records
        found = compare(records, records)
        assert (found.first, found.same_output) == (None, True), name
        assert [r.step for r in found.rows] == list(steps_of(records))


def test_the_first_difference_is_named():
    """The result of the tool is what parts them; the end is the same."""
    found = compare(_weather(1), _weather(2))
    assert (found.first, found.same_output) == ("t1.c0", True)
    row = next(r for r in found.rows if r.step == "t1.c0")
    assert row.left is not None
    assert row.right is not None
    assert (row.left.outcome, row.right.outcome) == ({"degrees": 1}, {"degrees": 2})
    assert found.left_usage == found.right_usage


def test_steps_of_one_side_stand_where_they_were_made():
    """What only one side has is a row of its own, on either side."""
    more, less = _weather(1, "b"), _weather(1)
    for left, right in ((more, less), (less, more)):
        found = compare(left, right)
        assert [r.step for r in found.rows] == ["t1.m", "t1.c0", "t1.c1", "t2.m"]
        assert found.first == "t1.m"
        one = next(r for r in found.rows if r.step == "t1.c1")
        assert (one.left is None) != (one.right is None)


def test_what_has_not_ended_is_compared_too():
    """An open step has no outcome yet."""
    play = Play().begin()
    found = compare(play.records, _weather(1))
    assert (found.first, found.same_output) == ("t1.m", False)
