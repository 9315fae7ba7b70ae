"""Model steps: retries, answers, typed answers, cut-off answers, the limit of turns."""

from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.conditions import TextMention
from perdure.core.definition import GuardrailDefinition, RetryPolicy
from perdure.core.machines.turn import next_due_ms
from perdure.core.messages import MediaPart, Message, Part, ReasoningPart, TextPart, ToolCallPart
from perdure.core.model import ModelReply, Usage
from perdure.core.plan import Member
from perdure.core.requests import assemble
from perdure.core.transcript import CONTINUE
from tests.unit.core.plans import FORECAST, plan, tool
from tests.unit.core.play import OUTAGE, Play, call, model_calls


def test_begin_records_the_start_and_asks_the_model():
    """The start is written with its version; the first turn begins in the same commit."""
    play = Play().begin("Hi", session_id="s", idempotency_key="k", deadline_ms=2_000_000, context={"a": 1})
    start = play.records[0].event
    assert (start.agent, start.plan_hash, start.started_by, start.v) == (
        "helper",
        "p0",
        "tester",
        ev.EVENT_VERSION,
    )
    assert (start.session_id, start.idempotency_key, start.deadline_ms) == ("s", "k", 2_000_000)
    assert play.kinds == ["execution_started", "model_requested"]
    assert model_calls(play.effects) == [("t1.m", 1)]


def test_an_answer_ends_the_execution():
    """The text of an answer without calls is the output, and the usage of all turns is summed."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    play.run("t1.c0")
    play.reply("Warm.")
    assert play.last == ev.ExecutionCompleted("Warm.", "stop")
    assert play.state.phase == "completed"
    assert play.state.usage == Usage(20, 4)
    assert play.of(ev.ModelCompleted)[1].model == "mock-1"


def test_a_model_is_asked_again_until_its_attempts_are_used_up():
    """Each failure waits longer; the last one ends the execution with the provider's error."""
    play = Play().begin()
    play.model_fails()
    assert play.last.retry_at_ms == play.now + 1_000
    assert play.tick(999).events == ()
    assert model_calls(play.tick(1).effects) == [("t1.m", 2)]
    play.model_fails()
    assert play.last.retry_at_ms == play.now + 2_000
    play.tick(2_000)
    play.model_fails()
    assert play.last == ev.ExecutionFailed(OUTAGE)
    assert len(play.of(ev.ModelRequested)) == 3


def test_an_error_that_cannot_pass_ends_the_execution_at_once():
    """A refused key is not tried again."""
    play = Play().begin()
    play.model_fails(retryable=False)
    assert play.kinds == ["execution_failed"]


def test_failures_are_counted_per_turn():
    """A turn that needed retries leaves the next one all of its attempts."""
    play = Play().begin()
    for wait in (1_000, 2_000):
        play.model_fails()
        play.tick(wait)
    play.reply("", call("weather", city="a"))
    play.run("t1.c0")
    play.model_fails()
    assert play.state.phase == "active"
    assert play.state.steps["t2.m"].failures == 1


def test_a_provider_that_says_when_to_come_back_is_obeyed():
    """Retry-After is the least wait."""
    play = Play().begin()
    play.model_fails(retry_after_ms=90_000)
    assert play.last.retry_at_ms == play.now + 90_000
    assert next_due_ms(play.state) == play.now + 90_000


def test_lost_calls_do_not_use_up_the_attempts():
    """A restart is not the model's failure."""
    play = Play().begin()
    for attempt in range(2, 8):
        play.recover()
        if not play.effects:
            play.tick(60_000)  # the wait between many losses
        assert model_calls(play.effects) == [("t1.m", attempt)]
    play.model_fails()
    assert play.state.steps["t1.m"].failures == 1


@pytest.mark.parametrize("attempt", [1, 3])
def test_the_answer_of_another_attempt_is_ignored(attempt: int):
    """E3: an answer of a call that was lost comes too late and does nothing; so does its error."""
    play = Play().begin()
    play.recover()
    assert play.reply("late", attempt=attempt).events == ()
    assert play.give(inp.ModelErrored("t1.m", attempt, OUTAGE, True, 0)).events == ()
    assert play.reply("late", step="t7.m", attempt=1).events == ()
    play.reply("right")
    assert play.last.output == "right"


def test_an_answer_that_comes_while_the_step_waits_to_be_asked_again_is_ignored():
    """A failed attempt has no second outcome."""
    play = Play().begin()
    play.model_fails()
    assert play.reply("late", attempt=1).events == ()


def test_the_limit_of_turns_is_a_named_outcome_with_the_last_words():
    """E0403, never a silent success; what the agent said last is kept."""
    play = Play(plan(max_turns=1)).begin()
    play.reply("I will look.", call("weather", city="a"))
    play.run("t1.c0")
    assert play.last.error.code == "E0403"
    assert play.last.finish_reason == "max_turns"
    assert play.last.partial == "I will look."
    assert len(play.of(ev.ModelRequested)) == 1


def test_the_limit_of_turns_keeps_the_words_of_the_very_answer_that_reached_it():
    """A last answer whose calls are all refused, or that is cut off, is not lost."""
    refused = Play(plan(max_turns=2)).begin()
    refused.reply("First.", call("nope"))
    refused.reply("Second.", call("nope"))
    assert refused.last.partial == "Second."
    cut = Play(plan(max_turns=2)).begin()
    cut.reply("One, ", finish="length")
    cut.reply("two, ", finish="length")
    assert cut.last.partial == "One, two, "


def test_no_turns_at_all_fail_at_once():
    """A limit of zero asks no model."""
    play = Play(plan(max_turns=0)).begin()
    assert play.kinds == ["execution_started", "execution_failed"]


def test_an_answer_that_is_cut_off_is_gone_on_with_and_joined():
    """The parts are joined without a seam; the model is asked to go on and sees what it said."""
    play = Play().begin()
    play.reply("One, ", finish="length")
    assert play.shown[-1].text == CONTINUE
    play.reply("two, ", finish="length")
    play.reply("three.")
    assert play.last.output == "One, two, three."
    assert [m.role for m in play.shown] == ["user", "assistant", "user", "assistant", "user"]


def test_a_cut_answer_that_goes_on_with_a_call_begins_anew():
    """The parts before a tool call are no part of the answer after it."""
    play = Play().begin()
    play.reply("Let me ", finish="length")
    play.reply("look.", call("weather", city="a"))
    play.run("t2.c0")
    play.reply("Warm.")
    assert play.last.output == "Warm."


def test_a_cut_answer_that_cannot_be_gone_on_with_is_kept():
    """A provider that fails in the middle leaves all the parts that came."""
    play = Play().begin()
    play.reply("One, ", finish="length")
    play.reply("two, ", finish="length")
    play.model_fails(retryable=False)
    assert play.last.partial == "One, two, "


@pytest.mark.parametrize(
    "text", ['{"degrees": 3}', '```json\n{"degrees": 3}\n```', '\n```\n{"degrees": 3}```\n']
)
def test_a_typed_answer_is_the_value(text: str):
    """The output is the JSON value, with or without a code fence."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply(text)
    assert play.last == ev.ExecutionCompleted({"degrees": 3}, "stop")


def test_a_typed_answer_in_two_parts_is_joined_before_it_is_checked():
    """A JSON value that was cut off is checked as a whole."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply('{"deg', finish="length")
    play.reply('rees": 3}')
    assert play.last.output == {"degrees": 3}


def test_a_wrong_answer_is_asked_for_again_with_what_is_wrong():
    """The model sees its answer and each problem of it."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply('{"degrees": "warm"}')
    assert play.kinds == ["model_completed", "output_rejected", "model_requested"]
    assert play.shown[-2].text == '{"degrees": "warm"}'
    assert "degrees: 'warm' is not of type 'integer'" in play.shown[-1].text


@pytest.mark.parametrize("text", ["", "```\n```", "warm", '{"degrees": 3', "[" * 100_000, "1" * 5_000])
def test_an_answer_that_is_no_json_is_rejected(text: str):
    """Nothing that a model writes is a fault of the engine."""
    play = Play(plan(output=FORECAST, max_turns=1)).begin()
    play.reply(text)
    assert play.of(ev.OutputRejected)


def test_an_answer_that_never_fits_is_given_up():
    """After the retries E0410 says what is wrong, and the answer is kept."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply("warm")
    play.reply("hot")
    assert play.last.error.code == "E0410"
    assert play.last.finish_reason == "output_invalid"
    assert play.last.partial == "hot"
    assert "2 tries" in play.last.error.what


def test_a_rejected_answer_is_no_part_of_the_next_one():
    """A cut and rejected answer does not stand before the corrected one."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply('{"deg', finish="length")
    play.reply("oops")
    play.reply('{"degrees": 4}')
    assert play.last.output == {"degrees": 4}


@pytest.mark.parametrize(
    ("finish", "text"), [("content_filter", ""), ("error", ""), ("error", "Half an ans")]
)
def test_an_answer_that_the_provider_withheld_or_broke_off_is_no_success(finish: str, text: str):
    """E0204 names the reason, and what came is kept as partial."""
    play = Play().begin()
    play.reply(text, finish=finish)  # type: ignore[arg-type]
    assert play.last.error.code == "E0204"
    assert finish in play.last.error.why
    assert play.last.partial == text


def test_a_filtered_answer_with_a_text_says_why_it_ended():
    """A text that the provider let through is the output, under the reason that it gave."""
    play = Play().begin()
    play.reply("Some of it", finish="content_filter")
    assert play.last == ev.ExecutionCompleted("Some of it", "content_filter")


def test_the_request_of_a_step_has_the_plan_and_the_conversation():
    """`assemble` is a pure function of plan and transcript."""
    play = Play(plan(output=FORECAST)).begin("Hi", context={"user": "ann"})
    request = assemble(play.plan, play.transcript, "x1", "t1.m", 2)
    assert (request.execution_id, request.step, request.attempt) == ("x1", "t1.m", 2)
    assert request.model == play.plan.model
    assert request.settings == play.plan.settings
    assert request.instructions == "Be brief."
    assert [t.name for t in request.tools] == list(play.plan.tools)
    assert request.output_name == "Forecast"
    assert request.output_schema == FORECAST.schema
    assert request.messages[0].text == 'Context:\n{\n  "user": "ann"\n}\n\nHi'
    plain = assemble(plan(model_retry=RetryPolicy()), play.transcript, "x1", "t1.m", 1)
    assert (plain.output_name, plain.output_schema) == (None, None)


def test_what_a_model_is_asked_stays_as_it_was():
    """The conversation goes on while a request is under way: what is said meanwhile is not in it."""
    play = Play().begin("Hi")
    request = assemble(play.plan, play.transcript, "x1", "t1.m", 1)
    play.reply("Hello.")
    assert [m.text for m in play.transcript.messages] == ["Hi", "Hello."]
    assert [m.text for m in request.messages] == ["Hi"]


@pytest.mark.parametrize(
    "part",
    [
        TextPart("\ud83d"),
        ReasoningPart("x", "\ud83d"),
        ToolCallPart("c", "weather", {"city": "\udc00"}),
        ToolCallPart("c", "weather", {"city": 10**5_000}),
        ToolCallPart("\ud83d", "weather", {"city": "a"}),
        MediaPart("text/plain", data="x", url="\ud83d"),
    ],
)
def test_an_answer_that_cannot_be_stored_is_a_failed_attempt(part: Part):
    """E10: half a character in an answer is the provider's failure; it is asked again, and nothing stands still."""
    play = Play().begin()
    answer = ModelReply(Message("assistant", (part,)), Usage(1, 1), "stop")
    play.give(inp.ModelSucceeded("t1.m", 1, answer))
    assert play.last.error.code == "E0209"
    assert play.last.retry_at_ms == play.now + 1_000
    play.tick(1_000)
    play.reply("Right.")
    assert play.last.output == "Right."


def test_an_answer_nested_beyond_all_bounds_is_a_failed_attempt():
    """A value that no reader can follow is not recorded."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"city": deep}
    play = Play().begin()
    answer = ModelReply(Message("assistant", (ToolCallPart("c", "weather", deep),)), Usage(), "stop")
    play.give(inp.ModelSucceeded("t1.m", 1, answer))
    assert "RecursionError" in play.last.error.why
    while deep:  # taken apart by hand: freeing it in one go recurses as well
        deep = deep["city"]


def test_an_error_that_cannot_be_stored_is_stored_with_question_marks():
    """A provider's own words must not keep its failure out of the journal."""
    play = Play().begin()
    play.give(inp.ModelErrored("t1.m", 1, ev.ErrorInfo("E0204", "No", why="half a \ud83d"), False, 0.5))
    assert play.last.error == ev.ErrorInfo("E0204", "No", why="half a ?")


def test_an_answer_that_is_not_accepted_does_not_end_by_its_condition_either():
    """The condition is met, the guardrail refuses: the model answers again, and the same text is not judged again."""
    guard = GuardrailDefinition("polite", "regex", "output", "retry", patterns=("bad",))
    play = Play(plan(guards=(guard,), termination=TextMention("DONE"))).begin()
    play.reply("So bad. DONE")
    assert len(play.of(ev.AnswerRefused)) == 1
    play.reply("Fine. DONE")
    assert play.last.output == "Fine. DONE"


def test_a_handover_that_is_not_accepted_has_a_result():
    """Providers want one for each call: the request that asks again is well-formed."""
    guard = GuardrailDefinition("polite", "regex", "output", "retry", patterns=("bad",))
    name, transfer = tool("transfer_to_bob", {}, kind="handover", agent=Member("bob", "p-bob"))
    play = Play(plan(guards=(guard,), tools={name: transfer})).begin()
    play.reply("So bad.", call(name, call_id="c7"))
    told, again = play.transcript.messages[-2:]
    assert [(p.call_id, p.is_error) for p in told.parts] == [("c7", True)]
    assert again.role == "user"
