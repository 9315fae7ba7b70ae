"""What functions of the user's are told of the conversation: `stop_when` after a turn, `before_model` before one."""

from typing import Any

from perdure.core import events as ev
from tests.unit.core.plans import plan
from tests.unit.core.play import Play, call


def told(play: Play) -> list[tuple[str, str]]:
    """Role and text of what the function was told that the last input asked for."""
    asked = [event for event in play.events if isinstance(event, ev.FunctionRequested)]
    messages: list[dict[str, Any]] = asked[-1].arguments["messages"]
    return [(message["role"], message["text"]) for message in messages]


def test_before_the_first_model_call_the_function_is_told_what_was_asked():
    """The prompt came with this very input, and is a part of the conversation all the same."""
    play = Play(plan(hooks=("before_model",))).begin("Where is it?")
    assert told(play) == [("user", "Where is it?")]


def test_a_stop_function_is_told_of_the_results_of_its_turn():
    """All calls of the turn have their result in the conversation, the one that came last too."""
    play = Play(plan(stop_when=True)).begin("Where is it?")
    play.reply("I look.", call("weather", city="a"), call("weather", city="b", call_id="2"))
    play.run("t1.c0", "sun")
    play.run("t1.c1", "rain")
    assert [role for role, _ in told(play)] == ["user", "assistant", "tool"]
    assert play.transcript.messages[-1].role == "assistant", "being told of it has not shown it to the model"


def test_before_the_next_model_call_the_function_is_told_what_the_model_is_shown():
    """The results of the turn before stand at the end, and what a person has said since."""
    play = Play(plan(hooks=("before_model",))).begin("Where is it?")
    play.run("t1.b.s0", {"changed": False})
    play.reply("I look.", call("weather", city="a"))
    play.run("t1.c0", "sun")
    assert [role for role, _ in told(play)] == ["user", "assistant", "tool"]
