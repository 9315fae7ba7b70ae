"""Named crash points."""

import pytest

from perdure.engine import faults


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    faults.disarm()


def unread():
    """Kinds that nobody may ask for."""
    raise AssertionError("the kinds were read although nothing is armed")
    yield ""


def test_nothing_happens_when_nothing_is_armed():
    """A point does not even read its kinds."""
    faults.crash_point("before_commit", unread())
    assert faults.counts() == {}


@pytest.mark.parametrize(
    ("spec", "passes"),
    [
        ("here", 1),
        ("here:", 1),
        ("here::3", 4),
        ("here:tool_completed", 2),
        ("here:tool_completed:2", 3),
    ],
)
def test_the_process_ends_at_the_pass_that_was_named(spec, passes):
    """The n-th pass of that point, of those with that kind; other points do not count."""
    died: list[tuple[int, int]] = []
    faults.arm(spec, die=lambda status: died.append((status, passed)))
    rounds = [("model_completed",), ("tool_completed", "model_requested"), ("tool_completed",), ()]
    for passed, kinds in enumerate(rounds, start=1):  # noqa: B007 - read when the process would end
        faults.crash_point("elsewhere", kinds)
        faults.crash_point("here", iter(kinds))
    assert died == [] if passes > len(rounds) else [(137, passes)]


def test_the_third_pass_of_any_kind():
    """Without a kind every pass counts, once only."""
    died: list[int] = []
    faults.arm("here::3", die=died.append)
    for _ in range(5):
        faults.crash_point("here")
    assert died == [137]


def test_counting_kills_nothing():
    """`count` tells how often each point was passed, and with which kinds."""
    died: list[int] = []
    faults.arm("count", die=died.append)
    faults.crash_point("a", ("x", "y", "x"))
    faults.crash_point("a", ("x",))
    faults.crash_point("b")
    assert faults.counts() == {"a": 2, "a:x": 2, "a:y": 1, "b": 1}
    faults.disarm()
    assert faults.counts() == {}
    assert died == []


@pytest.mark.parametrize("spec", ["", ":x", "a:b:c", "a:b:0", "a:b:1:2", "a:b:-1"])
def test_a_spec_that_is_wrong_is_refused(spec):
    """A test that armed nothing by a slip of the pen would pass for nothing."""
    with pytest.raises(ValueError, match="crash point"):
        faults.arm(spec)
