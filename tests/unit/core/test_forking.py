"""Executions that go on from the events of others: every recorded scenario is taken up at every event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import events as ev
from perdure.core import forking, ids
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError
from perdure.core.forking import Cut, Edit
from perdure.core.messages import user
from tests.unit.core.play import Play, call
from tests.unit.core.scenarios import SCENARIOS

NAMES = sorted(SCENARIOS)
_STEPS = 400


def taken_up(play: Play, cut: Cut, kind: Any = "fork") -> Play:
    """Another execution that begins with the cut, as the engine begins it."""
    first = play.records[0].event
    new = Play(play.plan, "x2", checked=False)
    new.now = play.now + 1_000
    origin = ev.Origin(play.execution_id, cut.seq, kind)
    begin = inp.Begin(
        "p0", first.input, "tester", context=first.context, history=first.history, origin=origin
    )
    if not cut.records:
        new.give(begin)
        return new
    children = dict.fromkeys(forking.open_children(cut))
    new.give(inp.TakeOver(forking.adopted(cut, begin, "x2", play.plan, new.now, children)))
    if cut.then is not None:
        new.give(cut.then)
    new.running.clear()
    new.give(inp.GoOn("tester", "taken up"))
    return new


_RESULT = {"open": True, "stop": True, "agent": "", "passed": True, "met": False, "changes": {}}


def to_the_end(play: Play) -> Play:
    """Everybody who is asked answers, until it is over."""
    for _ in range(_STEPS):
        if play.state.over:
            return play
        assert play.state.steps, "nothing is open, and it is not over"
        step_id, step = next(iter(play.state.steps.items()))
        match step.status:
            case "asking" if step.tool and step.tool.startswith("@guard"):
                play.judge(step_id, '{"passed": true, "reason": ""}')
            case "asking":
                play.reply('{"degrees": 1}', step=step_id, attempt=step.attempt)
            case "approval" if step.asks is None:
                play.decide(step_id)
            case "approval":
                play.decide(step_id, "rejected")
            case "child":
                play.child_done(step_id, "{}")
            case "message":
                play.say("go on")
            case "session":
                play.join(step.child_id)
            case "leased":
                play.done(step_id, _RESULT)
            case "ready" if step.due_ms is None:
                play.take(step_id)
            case _:
                play.tick(60_000)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_goes_on_from_each_of_its_events(name: str):
    """Each copy ends, keeps what was recorded, and holds the invariants of any journal."""
    play = SCENARIOS[name]()
    for seq in range(1, len(play.records) + 1):
        cut = forking.at_seq(play.records, seq)
        new = to_the_end(taken_up(play, cut))
        new.check()
        copied = new.records[: len(cut.records)]
        assert [ev.kind_of(r.event) for r in copied] == [ev.kind_of(r.event) for r in cut.records]
        assert cut.seq >= seq or isinstance(play.records[-1].event, ev.TERMINAL)


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_goes_on_from_before_each_of_its_steps(name: str):
    """A step that is named is open again, and the execution ends."""
    play = SCENARIOS[name]()
    for step in dict.fromkeys(r.event.step for r in play.records if isinstance(r.event, forking._OPENS)):
        new = taken_up(play, forking.before_step(play.records, step))
        to_the_end(new).check()


@pytest.mark.parametrize("name", NAMES)
def test_every_failed_scenario_is_retried(name: str):
    """What failed or was cancelled goes on; anything else is refused."""
    play = SCENARIOS[name]()
    if not isinstance(play.last, ev.ExecutionFailed | ev.ExecutionCancelled):
        with pytest.raises(ExecutionError, match="can be retried"):
            forking.retried(play.records)
        return
    new = taken_up(play, forking.retried(play.records), "retry")
    to_the_end(new).check()


@given(st.sampled_from(NAMES), st.data())
def test_a_copy_of_a_copy_is_a_copy(name: str, data: st.DataObject):
    """A fork can be forked again, anywhere, and ends."""
    play = SCENARIOS[name]()
    for _ in range(2):
        seq = data.draw(st.integers(1, len(play.records)))
        play = to_the_end(taken_up(play, forking.at_seq(play.records, seq)))
    play.check()


def _three_calls() -> Play:
    play = Play().begin("Compare", context={"user": "ann"})
    play.reply("Looking.", *(call("weather", call_id=f"c{i}", city=c) for i, c in enumerate("ab")))
    play.run("t1.c0", {"degrees": 1})
    play.run("t1.c1", {"degrees": 2}, state={"seen": ["b"]})
    play.reply("a is coldest")
    return play


def test_calls_before_the_point_keep_their_keys_and_later_ones_get_their_own():
    """E6: an idempotency key is of one call, whichever execution makes it."""
    play = _three_calls()
    seq = next(r.seq for r in play.records if isinstance(r.event, ev.ToolStarted))
    new = taken_up(play, forking.at_seq(play.records, seq))
    assert {c.key for c in new.transcript.calls.values()} == {
        ids.idempotency_key("x1", "t1.c0"),
        ids.idempotency_key("x1", "t1.c1"),
    }
    again = taken_up(
        play,
        forking.edited(play.records, "t1.m", Edit(calls=({"tool": "weather", "arguments": {"city": "z"}},))),
    )
    assert again.transcript.calls["t1.c0"].key == ids.idempotency_key("x2", "t1.c0")


def test_an_edited_result_takes_the_place_of_the_recorded_one():
    """The model is asked anew, with the other result and the calls that were settled before."""
    play = _three_calls()
    new = taken_up(play, forking.edited(play.records, "t1.c1", Edit(result={"degrees": 9})))
    assert [p.result for p in new.results()] == [{"degrees": 1}, {"degrees": 9}]
    assert new.state.shared == {"user": "ann", "seen": ["b"]}


def test_an_edited_answer_is_the_answer():
    """The machine goes on as if the model had said it."""
    play = _three_calls()
    new = taken_up(play, forking.edited(play.records, "t2.m", Edit(answer="b is coldest")))
    assert new.last.output == "b is coldest"


def test_a_fork_of_the_end_gives_the_same_answer():
    """Rule 2: an answer that led to the end is given again."""
    play = _three_calls()
    new = taken_up(play, forking.at_seq(play.records, len(play.records)))
    assert new.last.output == "a is coldest"


def test_an_open_approval_is_asked_anew_under_its_own_id():
    """E8: a yes is bound to one execution, and the old approval is good for nothing in the new one."""
    play = Play().begin()
    play.reply("", call("refund", amount=5))
    new = taken_up(play, forking.at_seq(play.records, len(play.records)))
    old, step = play.state.steps["t1.c0"], new.state.steps["t1.c0"]
    assert step.approval_id != old.approval_id
    assert step.effect_hash != old.effect_hash
    with pytest.raises(ExecutionError, match="decided already"):
        new.give(inp.Decide(old.approval_id, "approved", "ann", "cli", {"amount": 5}))
    new.decide("t1.c0")
    assert new.transcript.calls["t1.c0"].key == ids.idempotency_key("x2", "t1.c0")


def test_a_retry_gives_the_step_all_its_attempts():
    """The attempts that failed are left out of the copy."""
    play = Play().begin()
    while not play.state.over:
        if play.state.steps["t1.m"].status == "retrying":
            play.tick(60_000)
        else:
            play.model_fails()
    new = taken_up(play, forking.retried(play.records), "retry")
    assert new.state.steps["t1.m"].attempt == 1
    assert new.state.steps["t1.m"].failures == 0


def test_an_attempt_of_a_worker_is_unknown_in_the_copy():
    """E7: the tool's own policy decides about it."""
    play = Play().begin()
    play.reply("", call("email", city="a"), call("charge", city="a"), call("weather", city="a"))
    for step in ("t1.c0", "t1.c1", "t1.c2"):
        play.take(step)
    new = taken_up(play, forking.at_seq(play.records, len(play.records)))
    assert {i: s.status for i, s in new.state.steps.items()} == {"t1.c0": "approval", "t1.c2": "ready"}


@pytest.mark.parametrize(
    ("at", "edit"),
    [
        (0, None),
        (99, None),
        ("t9.m", None),
        ("t1.c0", Edit(answer="x")),
        ("t1.m", Edit(result=1)),
        (1, Edit(result=1)),
    ],
)
def test_a_point_that_is_none_is_refused(at: int | str, edit: Edit | None):
    """E0432 says which steps there are."""
    records = _three_calls().records
    with pytest.raises(ExecutionError) as refused:
        if edit is not None:
            forking.edited(records, at, edit)
        elif isinstance(at, str):
            forking.before_step(records, at)
        else:
            forking.at_seq(records, at)
    assert refused.value.code == "E0432"


def test_other_instructions_replace_what_a_function_gave():
    """What the function of the instructions gave does not stand in the copy."""
    play = SCENARIOS["every_hook"]()
    cut = forking.at_seq(play.records, len(play.records) - 1)
    assert any(isinstance(r.event, ev.Replaced) for r in cut.records)
    kept = forking.with_instructions(cut).records
    assert not [r for r in kept if isinstance(r.event, ev.Replaced) and r.event.subject == "instructions"]


def test_the_copy_says_where_it_comes_from():
    """The first event names the origin and how much of the journal is a copy."""
    play = _three_calls()
    new = taken_up(play, forking.at_seq(play.records, 5))
    started = new.records[0].event
    assert (started.origin.execution_id, started.origin.kind, started.input) == (
        "x1",
        "fork",
        user("Compare"),
    )
    assert started.origin.copied <= len(new.records)
