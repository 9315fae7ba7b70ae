"""Steering: pause, resume, cancel, deadline, quarantine, recovery, and what comes too late."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.definition import GuardrailDefinition
from perdure.core.effects import AbortModel, CallModel, OfferTask, SayToChild, TellChild, WithdrawTask
from perdure.core.errors import ExecutionError, ToolError
from perdure.core.machines.backoff import MOST_LOST
from perdure.core.machines.turn import effects_of, next_due_ms
from perdure.core.messages import Message, user
from perdure.core.model import ModelReply, Usage
from tests.unit.core.plans import plan
from tests.unit.core.play import FAULT, OUTAGE, T0, Play, call, conversation, folded, model_calls, offers
from tests.unit.core.scenarios import SCENARIOS

STOPS = pytest.mark.parametrize("stop", [Play.pause, Play.quarantine], ids=["pause", "quarantine"])
Stop = Callable[[Play], Any]


def working() -> Play:
    """An execution with one call on offer, one leased, one waiting for its retry, one for a person."""
    play = Play().begin()
    play.reply("", *(call("weather", city=c) for c in "abc"), call("refund", amount=1))
    play.take("t1.c1")
    play.take("t1.c2")
    play.fails("t1.c2")
    return play


# Pause and quarantine -----------------------------------------------------------------------------------


@STOPS
def test_what_is_on_offer_is_withdrawn_and_what_is_leased_goes_on(stop: Stop):
    """Nothing new begins; the worker that has a call may end it."""
    play = working()
    stop(play)
    assert play.effects == (WithdrawTask("t1.c0"),)
    assert play.give(inp.TakeTask("t1.c0", "w2")).events == ()
    assert effects_of(play.state) == ()
    play.done("t1.c1")
    assert play.kinds == ["tool_completed"]


@STOPS
def test_a_resume_offers_again_what_was_withdrawn_and_what_has_become_due(stop: Stop):
    """No call is lost over a pause, and none is offered twice."""
    play = working()
    stop(play)
    assert play.tick(5_000).events == ()
    assert next_due_ms(play.state) is None
    play.resume()
    assert play.kinds == ["execution_resumed", "timer_fired"]
    assert offers(play.effects) == ["t1.c0", "t1.c2"]


@STOPS
def test_a_wait_that_is_not_over_goes_on_after_the_resume(stop: Stop):
    """A retry keeps its time over a pause."""
    play = working()
    due = play.state.steps["t1.c2"].due_ms
    stop(play)
    play.resume()
    assert offers(play.effects) == ["t1.c0"]
    assert next_due_ms(play.state) == due


@STOPS
def test_an_answer_that_comes_in_the_meantime_offers_nothing_before_the_resume(stop: Stop):
    """The answer is recorded and its calls are accepted; the resume offers them."""
    play = Play().begin()
    stop(play)
    play.reply("", call("weather", city="a"), call("nope"), call("refund", amount=1))
    assert play.kinds == ["model_completed", "tool_requested", "tool_refused", "approval_requested"]
    assert play.effects == ()
    play.resume()
    assert play.effects == (OfferTask("t1.c0", "weather"),)


@STOPS
def test_the_next_turn_begins_with_the_resume(stop: Stop):
    """When the last result comes in during a pause, the model is asked after it."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.take("t1.c0")
    stop(play)
    play.done("t1.c0")
    assert play.effects == ()
    assert model_calls(play.resume().effects) == [("t2.m", 1)]


@STOPS
def test_a_lost_worker_in_the_meantime_is_made_up_for_by_the_resume(stop: Stop):
    """A call that was lost is not offered before the resume."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.take("t1.c0")
    stop(play)
    play.silent("t1.c0")
    assert play.effects == ()
    assert offers(play.resume().effects) == ["t1.c0"]


@STOPS
def test_a_call_of_a_model_that_was_in_flight_is_made_again_by_the_resume(stop: Stop):
    """Whatever took the call away meanwhile, the resume asks for the attempt again; one that runs is left alone."""
    play = Play().begin()
    stop(play)
    play.resume()
    assert play.effects == (CallModel("t1.m", 1),)


@STOPS
def test_a_restart_in_the_meantime_asks_nobody_before_the_resume(stop: Stop):
    """The lost attempt is recorded; the next one begins with the resume."""
    play = Play().begin()
    stop(play)
    play.recover()
    assert play.kinds == ["model_lost"]
    assert play.effects == ()
    assert play.resume().effects == (CallModel("t1.m", 2),)


@STOPS
def test_the_final_answer_is_taken_in_the_meantime(stop: Stop):
    """What was paid for is not thrown away: the execution ends."""
    play = Play().begin()
    stop(play)
    play.reply("Done.")
    assert play.state.phase == "completed"


@STOPS
def test_the_limit_of_turns_is_reached_at_the_resume(stop: Stop):
    """A pause does not hide that the turns are used up."""
    play = Play(plan(max_turns=1)).begin()
    stop(play)
    play.reply("", call("nope"))
    assert play.state.phase != "failed"
    play.resume()
    assert play.last.error.code == "E0403"


@STOPS
def test_a_deadline_passes_in_the_meantime(stop: Stop):
    """Waiting counts: the deadline ends an execution that is set aside."""
    play = Play().begin(deadline_ms=T0 + 10)
    stop(play)
    assert next_due_ms(play.state) == T0 + 10
    play.tick(10)
    assert play.last.error.code == "E0404"


def test_steering_twice_is_steering_once():
    """A second pause, resume or quarantine changes nothing."""
    play = Play().begin()
    assert play.resume().events == ()
    play.pause()
    assert play.pause().events == ()
    play.quarantine()
    assert play.quarantine().events == ()
    assert play.last.error.code == "E0411"


@pytest.mark.parametrize("item", [inp.Pause("a"), inp.Resume("a"), inp.Quarantine(FAULT)])
def test_what_has_not_begun_cannot_be_steered(item: inp.Input):
    """Steering before the start is a fault of the engine."""
    play = Play()
    with pytest.raises(ExecutionError, match="E0414"):
        play.give(item)


def test_an_execution_begins_once():
    """A second start raises."""
    with pytest.raises(ExecutionError, match="E0414"):
        Play().begin().begin()


# The end ------------------------------------------------------------------------------------------------


def test_a_cancel_stops_everything_in_flight():
    """E9: offers are withdrawn, workers told, and the terminal event has who and why."""
    play = working()
    play.give(inp.Cancel("ann", "changed my mind"))
    assert play.effects == tuple(WithdrawTask(f"t1.c{i}") for i in range(3))
    assert play.last == ev.ExecutionCancelled("ann", "changed my mind")


def test_a_cancel_stops_the_call_of_the_model():
    """A model call that runs is aborted; one that only waits to be made has nothing to stop."""
    play = Play().begin()
    play.give(inp.Cancel("ann"))
    assert play.effects == (AbortModel("t1.m"),)
    waiting = Play().begin()
    waiting.model_fails()
    waiting.give(inp.Cancel("ann"))
    assert waiting.effects == ()


def test_the_deadline_ends_the_execution_and_stops_everything():
    """E0404 says the limit; not a millisecond too early."""
    play = Play(plan(timeout_ms=2_500)).begin(deadline_ms=T0 + 2_500)
    play.reply("Looking.", call("weather", city="a"))
    assert next_due_ms(play.state) == T0 + 2_500
    assert play.tick(2_499).events == ()
    play.tick(1)
    assert play.effects == (WithdrawTask("t1.c0"),)
    assert play.last.finish_reason == "timeout"
    assert play.last.error.why == "timeout_seconds is 2.5"
    assert play.last.partial == "Looking."


def test_a_deadline_that_the_start_gave_needs_no_limit_in_the_plan():
    """The error does not name a limit that the plan does not have."""
    play = Play().begin(deadline_ms=T0)
    play.tick()
    assert play.last.error.why == ""


def test_the_earliest_time_is_the_one_that_is_due():
    """A retry before the deadline, and the deadline before a later retry."""
    play = Play().begin(deadline_ms=T0 + 1_500)
    play.model_fails()
    assert next_due_ms(play.state) == T0 + 1_000
    play.tick(1_000)
    play.model_fails()
    assert next_due_ms(play.state) == T0 + 1_500


def test_without_a_wait_nothing_is_due():
    """An execution without a deadline that waits for a person has no timer."""
    play = Play().begin()
    play.reply("", call("refund", amount=1))
    assert next_due_ms(play.state) is None
    assert play.tick(10**9).events == ()


def reply_to(step: str) -> inp.ModelSucceeded:
    """An answer of a model."""
    return inp.ModelSucceeded(step, 1, ModelReply(Message("assistant", ()), Usage(), "stop"))


ENDS: dict[str, Callable[[], Play]] = {
    "completed": SCENARIOS["plain_answer"],
    "failed": SCENARIOS["all_turns"],
    "cancelled": SCENARIOS["cancelled"],
}


@pytest.mark.parametrize("phase", ENDS)
@pytest.mark.parametrize(
    "item",
    [reply_to("t1.m"), inp.ModelErrored("t1.m", 1, OUTAGE, True, 0), inp.TaskSilent("t1.c0", 1, "x"), inp.Tick(), inp.Recover("x")],
    ids=lambda item: type(item).__name__,
)  # fmt: skip
def test_what_comes_late_and_needs_no_answer_does_nothing(phase: str, item: inp.Input):
    """E5: terminal is final, and a late report of the engine's own is no error."""
    play = ENDS[phase]()
    assert play.state.phase == phase
    applied = play.give(item)
    assert (applied.events, applied.effects, applied.state.phase) == ((), (), phase)


@pytest.mark.parametrize("phase", ENDS)
@pytest.mark.parametrize(
    ("item", "code"),
    [
        (inp.TakeTask("t1.c0", "w"), "E0307"),
        (inp.TaskSucceeded("t1.c0", 1, "late"), "E0307"),
        (inp.TaskErrored("t1.c0", 1, FAULT, True, 0), "E0307"),
        (inp.Decide("a1", "approved", "ann", "cli", {}), "E0402"),
        (inp.Cancel("ann"), "E0402"),
        (inp.Pause("ann"), "E0402"),
        (inp.Resume("ann"), "E0402"),
        (inp.Quarantine(FAULT), "E0402"),
        (inp.Begin("p", user("Hi"), "me"), "E0402"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, inp.Input) else value,
)
def test_who_comes_late_and_waits_for_an_answer_is_told(phase: str, item: inp.Input, code: str):
    """E5: a worker hears E0307, everybody else E0402 with the status; nothing is recorded."""
    play = ENDS[phase]()
    count = len(play.records)
    with pytest.raises((ExecutionError, ToolError)) as caught:
        play.give(item)
    assert caught.value.code == code
    assert phase in str(caught.value)
    assert len(play.records) == count


# Recovery -----------------------------------------------------------------------------------------------


def test_a_restart_asks_the_model_again_under_the_next_attempt():
    """What the lost attempt streamed is void; the journal says so before it is asked again."""
    play = Play().begin()
    play.recover()
    assert play.events == (
        ev.ModelLost("t1.m", 1, "the server was restarted"),
        ev.ModelRequested("t1.m", 1, 2),
    )
    assert play.effects == (CallModel("t1.m", 2),)


def test_a_restart_with_nothing_in_flight_changes_nothing():
    """Recovery of an execution that waits records nothing."""
    play = working()
    assert play.recover().events == ()


def test_a_restart_leaves_a_wait_alone():
    """A model step that waits to be asked again keeps its time over a restart."""
    play = Play().begin()
    play.model_fails()
    assert play.recover().events == ()
    assert next_due_ms(play.state) == T0 + 1_000


def test_a_model_call_that_stops_its_server_waits_longer_and_longer_and_then_fails():
    """The first three losses are asked again at once, then after 1, 2, 4 ... seconds; the tenth ends the execution."""
    play = Play().begin()
    waits = []
    for _ in range(MOST_LOST - 1):
        play.recover()
        due = play.of(ev.ModelLost)[-1].retry_at_ms
        waits.append(due and due - play.now)
        if due:
            assert play.effects == ()
            assert play.tick(due - play.now - 1).events == ()
            play.tick(1)
        assert model_calls(play.effects) == [("t1.m", len(waits) + 1)]
    assert waits == [None, None, None, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    play.recover()
    assert play.kinds == ["model_lost", "execution_failed"]
    assert play.last.error.code == "E0405"
    assert play.last.error.why == "the server was restarted"


def test_losses_are_counted_for_each_model_call_apart_from_its_failures():
    """A failed attempt is no lost one, and the next turn's call begins anew."""
    play = Play().begin()
    for _ in range(3):
        play.recover()
    play.model_fails()
    play.tick(1_000)
    play.recover()
    assert play.of(ev.ModelLost)[-1].retry_at_ms == play.now + 1_000
    play.tick(1_000)
    play.reply("", call("nothing"))
    play.recover()
    assert model_calls(play.effects) == [("t2.m", 2)]


def test_a_paused_execution_waits_with_its_lost_model_call():
    """What is lost during a pause is asked again after it, and not before its time."""
    play = Play().begin()
    for _ in range(3):
        play.recover()
    play.pause()
    play.recover()
    assert play.kinds == ["model_lost"]
    play.resume()
    assert play.effects == ()
    assert model_calls(play.tick(1_000).effects) == [("t1.m", 5)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_after_a_crash_at_any_point_the_effects_are_those_that_are_not_done(name: str):
    """E4: at every boundary the state gives exactly the effects whose steps have no recorded outcome."""
    whole = SCENARIOS[name]()
    for cut in whole.commits:
        play = Play()
        play.records = whole.records[:cut]
        play.state = folded(play.records)
        play.transcript = conversation(play.records)
        effects = play.crash()
        done = {_name(e) for e in effects if not isinstance(e, SayToChild | TellChild)}
        assert done == _open_work(play.records)
        # What a child was told may have got lost with the crash: it is told again.
        told = {e.step for e in effects if isinstance(e, SayToChild)}
        assert told == {step for name, step in done if name == "StartChild"}


def _name(effect: Any) -> tuple[str, str]:
    return type(effect).__name__, effect.step


def _open_work(records: list[ev.Recorded]) -> set[tuple[str, str]]:
    """What is to be done, read from the journal alone, by other rules than the machine's: a reference."""
    work: set[tuple[str, str]] = set()
    active = False
    for record in records:
        match record.event:
            case ev.ExecutionStarted() | ev.ExecutionResumed():
                active = True
            case (
                ev.ModelRequested(step=step)
                | ev.JudgeRequested(step=step)
                | ev.CondenseRequested(step=step)
                | ev.ArgumentsRequested(step=step)
            ):
                work.add(("CallModel", step))
            case (
                ev.ModelCompleted(step=step)
                | ev.ModelFailed(step=step)
                | ev.ModelLost(step=step)
                | ev.ModelInterrupted(step=step)
            ):
                work.discard(("CallModel", step))
            case (
                ev.ToolRequested(step=step)
                | ev.FunctionRequested(step=step)
                | ev.TimerFired(step=step)
                | ev.ToolLost(step=step, policy="retry", retry_at_ms=None)
            ):
                work.add(("OfferTask", step))
            case ev.ApprovalDecided(step=step, decision="approved") if _was_requested(records, step):
                work.add(("OfferTask", step))
            case ev.ToolStarted(step=step):
                work.discard(("OfferTask", step))
            case ev.ChildRequested(step=step):
                work.add(("StartChild", step))
            case ev.ChildCompleted(step=step) | ev.ChildFailed(step=step):
                work.discard(("StartChild", step))
            case ev.BudgetReached(step=step):
                work -= {("CallModel", step), ("OfferTask", step)}
            case ev.PlanFailed(stopped=stopped):
                work = {item for item in work if item[1] not in stopped}
            case ev.SessionAwaited(step=step):
                work.add(("AwaitSession", step))
            case ev.SessionJoined(step=step):
                work.discard(("AwaitSession", step))
            case event if ev.kind_of(event).startswith("execution_"):
                active = False
    return work if active else set()


def _was_requested(records: list[ev.Recorded], step: str) -> bool:
    return any(isinstance(r.event, ev.ToolRequested) and r.event.step == step for r in records)


def test_behind_a_stop_nobody_answers_again_for_a_guardrail():
    """What it refuses is not judged over and over: retry counts as raise."""
    guard = GuardrailDefinition("polite", "regex", "output", "retry", patterns=("bad",))
    play = Play(plan(guards=(guard,))).begin()
    play.stop_soon()
    play.reply("So bad.")
    assert not play.of(ev.AnswerRefused)
    assert (play.last.finish_reason, play.last.error.code) == ("guardrail", "E0422")
