"""Approvals: one decision per call, bound to exactly what will run."""

import pytest

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.effects import OfferTask
from perdure.core.errors import ExecutionError, ToolError
from tests.unit.core.plans import AMOUNT
from tests.unit.core.play import Play, call


def asked(tool: str = "refund", **arguments: object) -> Play:
    """An execution that waits for a person about one call."""
    play = Play().begin()
    play.reply("", call(tool, **(arguments or {"amount": 10})))
    if tool == "email":
        play.take("t1.c0")
        play.silent("t1.c0")
    return play


def unknown() -> Play:
    """An execution that asks a person whether to run a call again."""
    return asked("email", city="a")


def test_a_call_that_needs_approval_is_not_offered_before_the_yes():
    """The question shows what would run and its hash; no effect is performed."""
    play = asked()
    assert play.kinds == ["model_completed", "approval_requested"]
    assert play.effects == ()
    request = play.last
    assert request.effect_hash == ids.effect_hash("x1", "t1.c0", "refund", AMOUNT, {"amount": 10})
    assert request.unknown_epoch is None
    assert play.give(inp.TakeTask("t1.c0", "w1")).events == ()


def test_an_approved_call_is_offered_with_the_arguments_that_were_shown():
    """The decision records who, where and the hash of what will run."""
    play = asked()
    play.decide("t1.c0", effect_hash=play.last.effect_hash, reason="fine")
    decision, request = play.events
    assert decision == ev.ApprovalDecided(
        "t1.c0", play.of(ev.ApprovalRequested)[0].approval_id, "approved", "ann", "cli",
        play.of(ev.ApprovalRequested)[0].effect_hash, "fine",
    )  # fmt: skip
    assert request.arguments == {"amount": 10}
    assert play.effects == (OfferTask("t1.c0", "refund"),)


def test_a_rejected_call_never_runs_and_the_model_is_told():
    """I7: nothing is requested, and the agent goes on with the reason."""
    play = asked()
    play.decide("t1.c0", "rejected", reason="too much")
    assert play.kinds == ["approval_decided", "model_requested"]
    assert not play.of(ev.ToolRequested)
    (part,) = play.results()
    assert part.is_error
    assert part.result["rejected"] is True
    assert part.result["reason"] == "too much"
    assert play.state.calls == {}


def test_a_rejection_without_a_reason_has_none():
    """The model is told of no reason that nobody gave."""
    play = asked()
    play.decide("t1.c0", "rejected")
    assert "reason" not in play.results()[0].result


def test_edited_arguments_are_what_runs():
    """The hash of the decision is that of the edited call, and the journal has both."""
    play = asked()
    play.decide("t1.c0", arguments={"amount": 1})
    decision, request = play.events
    assert decision.arguments == request.arguments == {"amount": 1}
    assert decision.effect_hash == ids.effect_hash("x1", "t1.c0", "refund", AMOUNT, {"amount": 1})
    assert play.transcript.calls["t1.c0"].arguments == {"amount": 1}


def test_arguments_that_were_not_changed_are_no_edit():
    """Sending back what was shown is a plain yes."""
    play = asked()
    play.decide("t1.c0", arguments={"amount": 10})
    assert play.events[0].arguments is None


@pytest.mark.parametrize("edited", [True, 1.0])
def test_an_edit_to_a_value_that_python_takes_for_equal_is_an_edit(edited: object):
    """What the person wrote runs: true and 1.0 are not 1."""
    play = asked(amount=1)
    play.decide("t1.c0", arguments={"amount": edited})
    assert ids.canonical_json(play.events[1].arguments) == ids.canonical_json({"amount": edited})


def test_edited_arguments_that_do_not_fit_decide_nothing():
    """E0305 says what is wrong, and the person can decide again."""
    play = asked()
    with pytest.raises(ToolError, match="E0305") as caught:
        play.decide("t1.c0", arguments={"amount": "all"})
    assert "not of type" in caught.value.why
    play.decide("t1.c0")
    assert play.state.steps["t1.c0"].status == "ready"


def test_a_rejection_cannot_carry_edited_arguments():
    """A no with new arguments is a contradiction, and nothing is decided."""
    play = asked()
    with pytest.raises(ToolError, match="a rejection cannot be edited"):
        play.decide("t1.c0", "rejected", arguments={"amount": 1})
    assert not play.of(ev.ApprovalDecided)


def test_a_decision_about_another_hash_is_refused():
    """What was looked at is what is decided: E0409, with the hash that is right."""
    play = asked()
    with pytest.raises(ExecutionError, match="E0409") as caught:
        play.decide("t1.c0", effect_hash="0" * 64)
    assert caught.value.fields == {"effect_hash": play.state.steps["t1.c0"].effect_hash}
    assert not play.of(ev.ApprovalDecided)


def test_a_record_that_was_tampered_with_is_refused():
    """When the stored arguments are not those of the hash, nobody's yes covers them."""
    play = asked()
    with pytest.raises(ExecutionError, match="E0409"):
        play.decide("t1.c0", asked={"amount": 10_000})
    assert not play.of(ev.ToolRequested)


@pytest.mark.parametrize("first", ["approved", "rejected"])
@pytest.mark.parametrize("second", ["approved", "rejected"])
def test_the_second_decision_is_refused(first: str, second: str):
    """E3: of two decisions the first one counts, whatever the second says."""
    play = asked()
    approval = play.last.approval_id
    play.decide("t1.c0", first)
    with pytest.raises(ExecutionError, match="E0408"):
        play.give(inp.Decide(approval, second, "bob", "web", {"amount": 10}))
    assert len(play.of(ev.ApprovalDecided)) == 1


def test_a_decision_about_an_approval_that_is_not_there_is_refused():
    """An approval of another execution decides nothing here."""
    play = asked()
    with pytest.raises(ExecutionError, match="E0408"):
        play.give(inp.Decide("a-other", "approved", "bob", "web", {"amount": 10}))


def test_each_call_has_its_own_approval():
    """Two equal calls are two questions; a yes to one is none to the other."""
    play = Play().begin()
    play.reply("", call("refund", amount=1), call("refund", amount=1))
    first, second = play.of(ev.ApprovalRequested)
    assert first.approval_id != second.approval_id
    assert first.effect_hash != second.effect_hash
    play.decide("t1.c1")
    assert play.state.steps["t1.c0"].status == "approval"
    assert play.state.steps["t1.c1"].status == "ready"


def test_an_unknown_outcome_asks_a_person_with_the_epoch():
    """E7: with the policy `ask` the question says which attempt is unknown, and nothing is offered."""
    play = unknown()
    assert play.kinds == ["tool_lost", "approval_requested"]
    assert play.effects == ()
    assert play.last.unknown_epoch == 1
    assert play.last.arguments == {"city": "a"}


def test_an_unknown_call_that_is_approved_is_offered_again_under_its_key():
    """A yes runs the same call again: no second request, the next epoch."""
    play = unknown()
    play.decide("t1.c0")
    assert play.kinds == ["approval_decided"]
    assert play.effects == (OfferTask("t1.c0", "email"),)
    assert play.take("t1.c0") == 2
    assert len(play.of(ev.ToolRequested)) == 1


def test_an_unknown_call_that_is_rejected_stays_unknown():
    """A no does not turn an unknown outcome into a failure: the model is told that it is not known."""
    play = unknown()
    play.decide("t1.c0", "rejected")
    assert play.results()[0].result["code"] == "E0308"
    assert play.results()[0].result["why"] == "A person decided not to run it again."


def test_an_unknown_call_cannot_be_edited():
    """The same key must mean the same effect."""
    play = unknown()
    with pytest.raises(ToolError, match="a call whose outcome is unknown cannot be edited"):
        play.decide("t1.c0", arguments={"city": "b"})
    assert not play.of(ev.ApprovalDecided)


def test_a_call_can_be_unknown_more_than_once():
    """Each unknown attempt is a question of its own; an old answer does not fit the new question."""
    play = unknown()
    old = play.last.approval_id
    play.decide("t1.c0")
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.last.unknown_epoch == 2
    assert play.last.approval_id != old
    with pytest.raises(ExecutionError, match="E0408"):
        play.give(inp.Decide(old, "approved", "ann", "cli", {"city": "a"}))


def test_a_gated_call_whose_outcome_is_unknown_has_two_approvals():
    """The first yes does not cover running it again."""
    play = asked("transfer", amount=5)
    first = play.last.approval_id
    play.decide("t1.c0")
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.last.approval_id != first
    assert play.state.steps["t1.c0"].status == "approval"


@pytest.mark.parametrize("stop", [Play.pause, Play.quarantine])
def test_a_decision_while_set_aside_offers_nothing_before_the_resume(stop: object):
    """A yes during a pause is recorded; the call is offered when the execution goes on."""
    for play in (asked(), unknown()):
        stop(play)  # type: ignore[operator]
        play.decide("t1.c0")
        assert play.effects == ()
        play.resume()
        assert play.effects == (OfferTask("t1.c0", play.state.steps["t1.c0"].tool or ""),)


def test_a_decision_after_the_end_is_refused():
    """E5: an approval of an execution that is over is void."""
    play = asked()
    approval = play.last.approval_id
    play.give(inp.Cancel("ann"))
    with pytest.raises(ExecutionError, match="E0402"):
        play.give(inp.Decide(approval, "approved", "ann", "cli", {"amount": 10}))
