"""Scenarios of budgets: a limit stands in the way of a step, and everything that is done about it."""

from collections.abc import Callable

from perdure.core import inputs as inp
from perdure.core.definition import GuardrailDefinition
from tests.unit.core.plans import plan
from tests.unit.core.play import Play, call
from tests.unit.core.team_scenarios import Stop, between


def breach(play: Play, step: str, action: str, model: str = "") -> object:
    """The engine says that a limit stands in the way of *step*."""
    attempt = play.state.steps[step].attempt
    item = inp.BudgetBreached(step, attempt, "x1", "tokens", "100 tokens of 100 are used", action, model)
    return play.give(item)


def spent(stop: Stop = None) -> Play:
    """A person allows more, the next turns ask a cheaper model, a call is refused, and it ends with what there is."""
    play = Play(plan(max_turns=9)).begin("Compare")
    between(play, stop, lambda: breach(play, "t1.m", "ask"))
    between(play, stop, lambda: play.decide("t1.m.budget"))
    breach(play, "t2.m", "downgrade", "mock/small")
    play.give(inp.BudgetBreached("t2.m", 1, "x1", "tokens", "late", "stop"))
    between(
        play,
        stop,
        lambda: play.reply("Looking.", call("weather", city="a"), call("weather", call_id="b", city="b")),
    )
    between(play, stop, lambda: breach(play, "t3.c0", "finish"))
    play.run("t3.c1")
    breach(play, "t4.m", "finish")
    return play


def spent_for_good() -> Play:
    """A budget that says stop ends the execution."""
    play = Play().begin()
    breach(play, "t1.m", "stop")
    return play


def spent_twice() -> Play:
    """There is one cheaper model: when its calls are too many as well, the execution ends."""
    play = Play().begin()
    breach(play, "t1.m", "downgrade", "mock/small")
    breach(play, "t2.m", "downgrade", "mock/small")
    return play


def no_more_allowed() -> Play:
    """A person who is asked allows no more."""
    play = Play().begin()
    breach(play, "t1.m", "ask")
    play.decide("t1.m.budget", "rejected", reason="too dear")
    return play


def judge_too_dear() -> Play:
    """E8: a judge that the budget does not allow lets nothing pass."""
    judge = GuardrailDefinition("polite", "llm", model="mock/judge", policy="Be polite.")
    play = Play(plan(guards=(judge,))).begin()
    play.reply("Hello.")
    breach(play, "t1.out.s0", "finish")
    return play


STOPPED: tuple[Callable[[Stop], Play], ...] = (spent,)
BUDGET_SCENARIOS: tuple[Callable[[], Play], ...] = (
    *STOPPED,
    spent_for_good,
    spent_twice,
    no_more_allowed,
    judge_too_dear,
)


def set_aside_budgets() -> list[Play]:
    """The scenario that says what may happen in between, during a pause and in quarantine."""
    return [made(stop) for made in STOPPED for stop in (Play.pause, Play.quarantine)]
