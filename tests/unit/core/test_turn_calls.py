"""Tool calls: which are accepted, in what order their results are shown, when they run again."""

import pytest

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.effects import OfferTask
from perdure.core.errors import ToolError
from perdure.core.machines.backoff import LOST_WITHOUT_WAIT, MOST_LOST
from perdure.core.messages import TextPart, ToolCallPart, ToolResultPart
from tests.unit.core.plans import CITY, TWICE, plan, tool
from tests.unit.core.play import FAULT, Play, call, model_calls, offers


def refused(play: Play) -> ev.ErrorInfo:
    """The error of the one refused call."""
    (event,) = play.of(ev.ToolRefused)
    return event.error


def test_parallel_calls_are_offered_at_once_and_the_next_turn_waits_for_all():
    """All calls of an answer are offered in one commit; the model is asked again after the last result."""
    play = Play().begin()
    play.reply("", *(call("weather", city=c) for c in "abc"))
    assert play.effects == tuple(OfferTask(f"t1.c{i}", "weather") for i in range(3))
    play.run("t1.c2")
    play.run("t1.c0")
    assert play.kinds == ["tool_completed"]
    play.run("t1.c1")
    assert play.kinds == ["tool_completed", "model_requested"]
    assert model_calls(play.effects) == [("t2.m", 1)]


def test_results_stand_in_the_order_of_the_calls_whatever_the_order_in_which_they_came():
    """Results, refusals, failures and rejections of one answer stand in one message, in the order of its calls."""
    play = Play().begin()
    play.reply(
        "", call("weather", call_id="a", city="a"), call("nope", call_id="b"), call("refund", call_id="c", amount=1),
        call("weather", call_id="d", city="d"), call("charge", call_id="e", city="e"),
    )  # fmt: skip
    play.take("t1.c4")
    play.silent("t1.c4")
    play.run("t1.c3", "D")
    play.decide("t1.c2", "rejected", reason="no")
    play.take("t1.c0")
    play.fails("t1.c0", retryable=False)
    assert [p.call_id for p in play.results()] == ["a", "b", "c", "d", "e"]
    assert [p.is_error for p in play.results()] == [True, True, True, False, True]
    assert play.results()[0].result == {
        "error": FAULT.what, "code": "E0301", "why": "no such city", "fix": "Use another city."
    }  # fmt: skip
    assert play.results()[2].result["reason"] == "no"
    assert play.results()[3] == ToolResultPart("d", "weather", "D")
    assert play.results()[4].result["code"] == "E0308"


def test_a_hook_that_holds_a_call_up_does_not_put_its_result_last():
    """The second call goes on first, and has its result first: the model sees them as it wrote the calls."""
    play = Play(plan(hooks=("before_tool",))).begin()
    play.reply("Looking.", *(call("weather", call_id=f"c{i}", city=str(i)) for i in range(2)))
    for late in (1, 0):
        play.run(f"t1.c{late}.i.s0", {})
        play.run(f"t1.c{late}", f"result {late}")
    assert [p.result for p in play.transcript.messages[-1].parts] == ["result 0", "result 1"]


def test_two_calls_with_the_same_call_id_are_two_calls():
    """A provider that repeats a call id loses no call and doubles none."""
    play = Play().begin()
    play.reply("", call("weather", call_id="same", city="a"), call("weather", call_id="same", city="b"))
    play.run("t1.c1", "B")
    play.run("t1.c0", "A")
    assert [p.result for p in play.results()] == ["A", "B"]


def test_an_unknown_tool_is_refused_with_the_name_that_was_meant():
    """The model is told the tools and the closest name, and may go on."""
    play = Play().begin()
    play.reply("", call("wether", city="a"))
    assert refused(play).code == "E0304"
    assert refused(play).fix == "Did you mean weather?"
    assert "weather, once" in refused(play).why
    assert play.state.turn == 2


def test_an_unknown_tool_like_no_other_is_refused_with_the_list():
    """Without a close name the model is told to use one of the list; a long name is cut."""
    play = Play().begin()
    play.reply("", call("x" * 1_000))
    assert refused(play).fix == "Use one of the tools that are listed."
    assert len(refused(play).what) < 200


def test_an_agent_without_tools_says_so():
    """A call of a tool when there is none is refused."""
    play = Play(plan(tools={})).begin()
    play.reply("", call("weather", city="a"))
    assert refused(play).why == "The tools are: none."


def test_malformed_arguments_are_refused_with_what_was_written():
    """Arguments that are no JSON object are refused; at most 500 characters of them are repeated."""
    play = Play().begin()
    play.reply("", ToolCallPart("c", "weather", None, malformed='{"city": ' + "x" * 1_000))
    assert refused(play).code == "E0305"
    assert refused(play).why.startswith('{"city": x')
    assert len(refused(play).why) == 500
    assert play.results()[0].is_error


def test_malformed_arguments_without_their_text_are_refused():
    """A provider that gives neither arguments nor their text does no harm."""
    play = Play().begin()
    play.reply("", ToolCallPart("c", "weather"))
    assert refused(play).why == ""


def test_arguments_that_do_not_fit_are_refused_with_every_problem():
    """The model is told each problem of its arguments."""
    play = Play().begin()
    play.reply("", call("weather", town="a", city=3))
    assert "city: 3 is not of type 'string'" in refused(play).why
    assert "'town' was unexpected" in refused(play).why


def test_a_schema_that_cannot_be_checked_refuses_the_call():
    """E8: a schema with a reference to nowhere is no yes, and no fault of the engine."""
    broken = dict([tool("weather", {"$ref": "#/$defs/none"})])
    play = Play(plan(tools=broken)).begin()
    play.reply("", call("weather", city="a"))
    assert refused(play).code == "E0305"
    assert "cannot be checked" in refused(play).why


def test_max_calls_counts_calls_of_one_answer_and_of_later_ones():
    """The limit holds within an answer and over turns."""
    play = Play().begin()
    play.reply("", call("once", city="a"), call("once", city="b"))
    assert refused(play).code == "E0306"
    play.run("t1.c0")
    play.reply("", call("once", city="c"))
    assert [e.step for e in play.of(ev.ToolRefused)] == ["t1.c1", "t2.c0"]
    assert len(play.of(ev.ToolRequested)) == 1


def test_max_calls_counts_calls_that_wait_for_a_person():
    """A crowd of calls that all wait for a person cannot pass the limit; a rejected one is not counted."""
    play = Play().begin()
    play.reply("", call("refund_once", amount=1), call("refund_once", amount=2))
    assert refused(play).code == "E0306"
    play.decide("t1.c0", "rejected")
    play.reply("", call("refund_once", amount=3))
    play.decide("t2.c0")
    play.run("t2.c0")
    play.reply("", call("refund_once", amount=4))
    assert [e.step for e in play.of(ev.ToolRefused)] == ["t1.c1", "t3.c0"]


def test_max_calls_does_not_count_a_call_twice_whose_outcome_is_unknown():
    """A question about a call that was made already is not another call."""
    tools = dict([tool("email", max_calls=2, on_unknown="ask")])
    play = Play(plan(tools=tools)).begin()
    play.reply("", call("email", city="a"))
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.state.calls == {"email": 1}
    play.decide("t1.c0")
    play.run("t1.c0")
    play.reply("", call("email", city="b"))
    assert play.state.calls == {"email": 2}
    assert not play.of(ev.ToolRefused)


def test_taking_a_step_records_the_worker_and_the_epoch():
    """E1: `tool_started` names who has which epoch; nothing else happens."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.give(inp.TakeTask("t1.c0", "w7"))
    assert play.events == (ev.ToolStarted("t1.c0", 1, "w7"),)
    assert play.effects == ()


def test_a_step_that_is_not_on_offer_cannot_be_taken():
    """Taking a step that is leased, settled, waits, or was never there changes nothing."""
    play = Play().begin()
    play.reply("", call("weather", city="a"), call("refund", amount=1), call("weather", city="b"))
    play.take("t1.c0")
    play.take("t1.c2")
    play.fails("t1.c2")
    for step in ("t1.c0", "t1.c1", "t1.c2", "t9.c9"):
        assert play.give(inp.TakeTask(step, "w2")).events == ()


@pytest.mark.parametrize("report", ["succeeded", "errored"])
def test_a_result_of_an_old_epoch_is_refused(report: str):
    """E3: the worker that lost its lease is told E0307, and the one that has it wins."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))

    def late(epoch: int) -> inp.Input:
        if report == "succeeded":
            return inp.TaskSucceeded("t1.c0", epoch, "late")
        return inp.TaskErrored("t1.c0", epoch, FAULT, True, 0)

    with pytest.raises(ToolError, match="E0307"):
        play.give(late(1))
    play.take("t1.c0")
    play.silent("t1.c0")
    with pytest.raises(ToolError, match="E0307"):
        play.give(late(1))
    play.take("t1.c0", "w2")
    with pytest.raises(ToolError, match="epoch 1 does not hold the lease"):
        play.give(late(1))
    play.done("t1.c0", "right")
    with pytest.raises(ToolError, match="the step is settled"):
        play.give(late(2))
    assert [e.result for e in play.of(ev.ToolCompleted)] == ["right"]


def test_a_late_notice_of_a_silent_worker_changes_nothing():
    """A lease that ran out after the result was recorded, or for an old epoch, is no news."""
    play = Play().begin()
    play.reply("", call("weather", city="a"), call("weather", city="b"))
    play.take("t1.c0")
    play.silent("t1.c0")
    play.take("t1.c0")
    play.run("t1.c1")
    for step, epoch in (("t1.c0", 1), ("t1.c1", 1), ("t9.c9", 1)):
        assert play.give(inp.TaskSilent(step, epoch, "late")).events == ()


def test_a_failed_attempt_is_tried_again_after_its_wait():
    """The next attempt is offered when its time has come and not before, under the same key and the next epoch."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.take("t1.c0")
    play.fails("t1.c0")
    assert play.last.retry_at_ms == play.now + 1_000
    assert play.tick(999).events == ()
    assert play.tick(1).effects == (OfferTask("t1.c0", "weather"),)
    assert play.take("t1.c0", "w2") == 2
    play.fails("t1.c0")
    assert play.of(ev.ToolFailed)[1].retry_at_ms is None
    assert play.state.turn == 2


def test_an_attempt_that_cannot_succeed_is_not_tried_again():
    """A failure that the worker calls final goes to the model at once."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.take("t1.c0")
    play.fails("t1.c0", retryable=False)
    assert play.kinds == ["tool_failed", "model_requested"]
    assert play.results()[0].is_error


def test_lost_attempts_do_not_use_up_the_retries():
    """E7: an attempt that is unknown is not a failed one, and a failed one not lost."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    for _ in range(LOST_WITHOUT_WAIT):
        play.take("t1.c0")
        play.silent("t1.c0")
        assert offers(play.effects) == ["t1.c0"]
    play.take("t1.c0")
    play.fails("t1.c0")
    assert play.last.retry_at_ms == play.now + 1_000
    play.tick(1_000)
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.last.retry_at_ms == play.now + 1_000


def test_a_tool_that_kills_its_workers_is_given_up_and_the_model_is_told():
    """The first three losses are offered again at once, then after 1, 2, 4 ... seconds; the tenth is the last."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    waits = []
    for _ in range(MOST_LOST - 1):
        play.take("t1.c0")
        play.silent("t1.c0")
        due = play.last.retry_at_ms
        waits.append(due and due - play.now)
        if due:
            assert offers(play.effects) == []
            assert play.give(inp.TakeTask("t1.c0", "early")).events == ()
            assert play.tick(due - play.now - 1).events == ()
            play.tick(1)
        assert offers(play.effects) == ["t1.c0"]
    assert waits == [None, None, None, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.kinds == ["tool_lost", "model_requested"]
    (told,) = play.results()
    assert told.is_error
    assert told.result["code"] == "E0308"
    assert told.result["why"] == "worker w1 was silent; 10 attempts were lost, and no further one is made"


def test_a_person_decides_about_lost_attempts_as_often_as_they_like():
    """The policy ask has no limit: each further attempt is somebody's decision."""
    play = Play().begin()
    play.reply("", call("email", city="a"))
    for _ in range(MOST_LOST + 1):
        play.take("t1.c0")
        play.silent("t1.c0")
        play.decide("t1.c0")
        assert offers(play.effects) == ["t1.c0"]


def test_an_attempt_that_is_lost_in_a_pause_is_offered_after_it():
    """A loss while paused offers nothing; resuming does, after the wait if there is one."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    for losses in range(1, LOST_WITHOUT_WAIT + 2):
        play.take("t1.c0")
        play.pause()
        play.silent("t1.c0")
        assert offers(play.effects) == []
        play.resume()
        assert offers(play.effects) == (["t1.c0"] if losses <= LOST_WITHOUT_WAIT else [])
    assert offers(play.tick(1_000).effects) == ["t1.c0"]


def test_policy_fail_tells_the_model_that_the_outcome_is_unknown():
    """E7: with the policy `fail` the call is not run again, and the model is not told that it failed."""
    play = Play().begin()
    play.reply("", call("charge", city="a"))
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.kinds == ["tool_lost", "model_requested"]
    assert "not known" in play.results()[0].result["error"]
    assert play.results()[0].result["why"] == "worker w1 was silent"


def test_keys_are_the_same_over_attempts_and_different_for_each_call():
    """E6: retries, losses and approvals keep the key; equal calls have different ones."""
    play = Play().begin()
    play.reply("", call("email", city="a"), call("email", city="a"))
    keys = {e.step: e.key for e in play.of(ev.ToolRequested)}
    assert len(set(keys.values())) == 2
    play.take("t1.c0")
    play.silent("t1.c0")
    assert play.transcript.calls["t1.c0"].key == keys["t1.c0"]
    play.decide("t1.c0")
    assert play.transcript.calls["t1.c0"].key == keys["t1.c0"] == ids.idempotency_key("x1", "t1.c0")
    play.run("t1.c0")
    play.run("t1.c1")
    play.reply("", call("email", city="a"))
    assert play.of(ev.ToolRequested)[-1].key not in keys.values()
    other = Play(execution_id="x2").begin()
    other.reply("", call("email", city="a"))
    assert other.of(ev.ToolRequested)[0].key not in keys.values()


def test_shared_state_is_merged_in_the_order_of_the_results():
    """The context is the first shared state; each result changes the keys that it names and no others."""
    play = Play().begin(context={"a": 0, "b": 0})
    play.reply("", call("weather", city="a"), call("weather", city="b"))
    play.take("t1.c0")
    play.take("t1.c1")
    play.done("t1.c1", state={"b": 1, "c": 1})
    play.done("t1.c0", state={"c": 2})
    assert play.state.shared == {"a": 0, "b": 1, "c": 2}
    assert play.of(ev.ToolCompleted)[0].state == {"b": 1, "c": 1}


def test_a_result_without_state_records_none():
    """An empty change of the shared state takes no room in the journal."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.take("t1.c0")
    play.done("t1.c0", state={})
    assert play.of(ev.ToolCompleted)[0].state is None


def test_text_beside_calls_is_no_answer():
    """An answer with calls goes on, whatever text stands beside them and whatever reason the provider gives."""
    play = Play().begin()
    play.reply("Let me see.", call("weather", city="a"), finish="stop")
    assert play.state.phase == "active"
    assert play.transcript.messages[1].parts[0] == TextPart("Let me see.")


def test_a_hundred_calls_in_one_answer_are_all_run():
    """No number of parallel calls loses one."""
    play = Play(plan(tools=dict([tool("weather", CITY, retry=TWICE)]))).begin()
    play.reply("", *(call("weather", call_id=f"c{i}", city=str(i)) for i in range(100)))
    assert len(offers(play.effects)) == 100
    for index in reversed(range(100)):
        play.run(f"t1.c{index}", index)
    assert [p.result for p in play.results()] == list(range(100))
