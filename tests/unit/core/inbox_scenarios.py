"""Scenarios of what is said to a running execution: messages, the wish that it stops, a session that goes on in order."""

from collections.abc import Callable

from perdure.core import events as ev
from perdure.core.definition import PrefilledCall
from tests.unit.core.plans import MAILBOX, TOOLS, plan, team
from tests.unit.core.play import Play, call
from tests.unit.core.team_scenarios import Stop, between


def messages(stop: Stop = None) -> Play:
    """Said while a model answers, for at once, while it waits to be asked again, and to a tool that waits for it."""
    play = Play(plan(tools={**TOOLS, **MAILBOX}, max_turns=9)).begin("Hello")
    between(play, stop, lambda: play.say("And tea?"))
    play.say("And tea?", message_id="m0")
    play.reply("Coffee.")  # not the last word: the next turn has both
    between(play, stop, lambda: play.say("Wait!", mode="interrupt"))
    play.model_fails()
    play.say("No, go on.", mode="interrupt")
    between(play, stop, lambda: play.reply("Tell me more.", call("listen")))
    between(play, stop, lambda: play.say("More."))
    play.say("A")
    play.say("B")
    between(
        play, stop, lambda: play.reply("And now?", call("glance", call_id="g1"), call("glance", call_id="g2"))
    )
    play.reply("Good.")
    return play


def stopped_soon(stop: Stop = None) -> Play:
    """It ends after the turn that it is in, with what there is."""
    play = Play().begin()
    play.reply("Looking.", call("weather", city="a"))
    between(play, stop, play.stop_soon)
    play.run("t1.c0")
    return play


def team_told() -> Play:
    """What is said to a team reaches the open child, and whoever speaks next; then it is to stop."""
    play = Play(team("round_robin", "ann", "bob")).begin("Talk.")
    play.say("Louder!")
    play.child_done("c1", "HELLO")
    play.pause()
    play.resume()
    play.stop_soon()
    play.child_done("c2", "BYE")
    return play


def session_in_order(stop: Stop = None) -> Play:
    """It begins after the execution before it in its session."""
    play = Play().begin("And now?", session_id="s1", after="x0", history=ev.HistoryRef("x0", "session"))
    play.join("x-other")
    between(play, stop, lambda: play.join("x0"))
    play.join("x0")
    play.reply("Now this.")
    return play


def condensed() -> Play:
    """A conversation that fills its window is summed up, at the second attempt, and goes on from the summary."""
    play = Play(plan(context_window=600, max_turns=9)).begin("Where is it cold?")
    for turn in range(1, 7):
        play.reply("Looking at many cities. " * 10, call("weather", city="a"))
        play.run(f"t{turn}.c0", {"report": "cold " * 60})
        summary = f"t{turn + 1}.z"
        if summary in play.state.steps:
            play.judge_fails(summary)
            play.tick(60_000)
            play.judge(summary, "It was cold in all of them.")
    play.reply("Everywhere.")
    return play


def prefilled(stop: Stop = None) -> Play:
    """Calls that are made before the model is first asked: one runs, one is refused, one needs a person's leave."""
    calls = (
        PrefilledCall("weather", {"city": "a"}),
        PrefilledCall("weather", {"town": "b"}),
        PrefilledCall("refund", {"amount": 1}),
    )
    play = Play(plan(prefill=calls)).begin("Hello")
    between(play, stop, lambda: play.decide("t0.c2"))
    play.take("t0.c0")
    between(play, stop, lambda: play.done("t0.c0"))
    play.run("t0.c2")
    play.reply("Done.")
    return play


STOPPED: tuple[Callable[[Stop], Play], ...] = (messages, stopped_soon, session_in_order, prefilled)
INBOX_SCENARIOS: tuple[Callable[[], Play], ...] = (*STOPPED, team_told, condensed)


def set_aside_inboxes() -> list[Play]:
    """The scenarios that say what may happen in between, during a pause and in quarantine."""
    return [made(stop) for made in STOPPED for stop in (Play.pause, Play.quarantine)]
