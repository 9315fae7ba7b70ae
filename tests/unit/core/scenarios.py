"""Scenarios: whole executions, each by its name. Together they walk every row of the turn machine's tables.

They are what the table coverage is measured on and what is recorded in `tests/replay`, so a scenario is never
changed once a release has recorded it: add another one.
"""

from collections.abc import Callable

from perdure.core import inputs as inp
from perdure.core.machines.backoff import MOST_LOST
from tests.unit.core.budget_scenarios import BUDGET_SCENARIOS, set_aside_budgets
from tests.unit.core.inbox_scenarios import INBOX_SCENARIOS, set_aside_inboxes
from tests.unit.core.joint_scenarios import JOINT_SCENARIOS, set_aside_joints
from tests.unit.core.plan_scenarios import PLAN_SCENARIOS, set_aside_plans
from tests.unit.core.plans import FORECAST, plan
from tests.unit.core.play import T0, Play, call
from tests.unit.core.team_scenarios import TEAM_SCENARIOS, set_aside_teams


def plain_answer() -> Play:
    """A question and its answer."""
    play = Play().begin("What is the capital of France?", session_id="s1", idempotency_key="k1")
    play.reply("Paris.")
    return play


def parallel_calls() -> Play:
    """Three calls at once whose results come in another order, one of them with shared state."""
    play = Play().begin("Compare", context={"user": "ann"})
    play.reply("Looking.", *(call("weather", call_id=f"c{i}", city=c) for i, c in enumerate("abc")))
    for step in ("t1.c2", "t1.c0", "t1.c1"):
        play.take(step, f"worker-{step}")
    play.done("t1.c1", {"degrees": 2})
    play.done("t1.c2", {"degrees": 3}, state={"seen": ["c"]})
    play.done("t1.c0", {"degrees": 1})
    play.reply("a is coldest")
    return play


def refused_calls() -> Play:
    """Calls that are not run: no such tool, bad arguments, one too many."""
    play = Play().begin()
    play.reply(
        "",
        call("wether", city="a"),
        call("weather", town="a"),
        call("once", city="a"),
        call("once", city="b"),
    )
    play.run("t1.c2")
    play.reply("Done.")
    return play


def approvals() -> Play:
    """One call approved as asked, one with edited arguments, one rejected."""
    play = Play().begin()
    play.reply("", *(call("refund", call_id=f"c{i}", amount=10 + i) for i in range(3)))
    play.decide("t1.c1", arguments={"amount": 1})
    play.decide("t1.c2", "rejected", reason="too much")
    play.decide("t1.c0")
    play.run("t1.c0", {"refunded": 10})
    play.run("t1.c1", {"refunded": 1})
    play.reply("Refunded 11.")
    return play


def tool_retries() -> Play:
    """A tool that fails once and is tried again, and one that fails for good."""
    play = Play().begin()
    play.reply("", call("weather", city="a"), call("weather", city="b"))
    play.take("t1.c0")
    play.fails("t1.c0")
    play.take("t1.c1")
    play.fails("t1.c1", retryable=False)
    play.tick(1_000)
    play.run("t1.c0")
    play.reply("One of them.")
    return play


def lost_workers() -> Play:
    """Workers that fall silent, under the policies retry and fail."""
    play = Play().begin()
    play.reply("", call("weather", city="a"), call("charge", city="b"))
    for step in ("t1.c0", "t1.c1"):
        play.take(step)
        play.silent(step)
    play.take("t1.c0", "w2")
    play.done("t1.c0")
    play.reply("One is unknown.")
    return play


def lost_too_often() -> Play:
    """A tool that kills every worker and is given up, then a model call that stops its server and ends the execution."""
    play = Play().begin()
    play.reply("", call("weather", city="a"))
    for _ in range(MOST_LOST):
        play.take("t1.c0")
        play.silent("t1.c0")
        play.tick(60_000)
    for _ in range(MOST_LOST):
        play.recover()
        if not play.state.over:
            play.tick(60_000)
    return play


def unknown_outcomes() -> Play:
    """Calls whose outcome is unknown and about which a person is asked: run again, and not."""
    play = Play().begin()
    play.reply("", call("email", city="a"), call("email", city="b"), call("transfer", amount=5))
    play.decide("t1.c2")
    for step in ("t1.c0", "t1.c1", "t1.c2"):
        play.take(step)
        play.silent(step)
    play.decide("t1.c0")
    play.decide("t1.c1", "rejected", reason="the customer has it")
    play.decide("t1.c2")
    play.run("t1.c0")
    play.run("t1.c2")
    play.reply("Sent.")
    return play


def model_outage() -> Play:
    """A model call that fails, is lost in a restart, and then answers."""
    play = Play().begin()
    play.model_fails(retry_after_ms=4_000)
    play.tick(4_000)
    play.recover()
    play.reply("Here again.")
    return play


def model_gives_up() -> Play:
    """A model call that fails as often as it may."""
    play = Play().begin()
    for wait in (1_000, 2_000):
        play.model_fails()
        play.tick(wait)
    play.model_fails()
    return play


def typed_answer() -> Play:
    """An answer that does not fit its type, and then one that does."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply("It is warm.")
    play.reply('```json\n{"degrees": 21}\n```')
    return play


def wrong_answer() -> Play:
    """An answer that never fits its type."""
    play = Play(plan(output=FORECAST)).begin()
    play.reply('{"degrees": "many"}')
    play.reply('{"degrees": "few"}')
    return play


def long_answer() -> Play:
    """An answer cut off at its length limit, and gone on with."""
    play = Play().begin()
    play.reply("One, two, ", finish="length")
    play.reply("three.")
    return play


def all_turns() -> Play:
    """An agent that never comes to an answer."""
    play = Play(plan(max_turns=2)).begin()
    for turn in (1, 2):
        play.reply(f"Try {turn}", call("weather", city="a"))
        play.run(f"t{turn}.c0")
    return play


def out_of_time() -> Play:
    """A deadline that passes while a person is asked and a worker works."""
    play = Play(plan(timeout_ms=60_000)).begin(deadline_ms=T0 + 60_000)
    play.reply("", call("refund", amount=1), call("weather", city="a"))
    play.take("t1.c1")
    play.tick(60_000)
    return play


def cancelled() -> Play:
    """A cancel while a call is offered and another is leased."""
    play = Play().begin()
    play.reply("", call("weather", city="a"), call("weather", city="b"))
    play.take("t1.c1")
    play.give(inp.Cancel("ann", "no longer needed"))
    return play


def set_aside(stop: Callable[[Play], object]) -> Play:
    """What may end, fail, or be decided while nothing may begin; and going on afterwards."""
    play = Play(plan(output=FORECAST, max_turns=9, output_retries=3)).begin()
    stop(play)
    play.model_fails()
    play.resume()
    play.tick(1_000)
    stop(play)
    play.recover()
    play.resume()
    stop(play)
    play.reply("not JSON")
    play.resume()
    play.reply(
        "",
        *(call(t, city="a") for t in ("weather", "charge", "email", "email", "weather")),
        call("refund", amount=1),
    )
    for index in range(5):
        play.take(f"t2.c{index}")
    stop(play)
    play.fails("t2.c0")
    for step in ("t2.c1", "t2.c2", "t2.c3"):
        play.silent(step)
    play.decide("t2.c2")
    play.decide("t2.c3", "rejected")
    play.decide("t2.c5")
    play.done("t2.c4", "late")
    play.resume()
    play.tick(1_000)
    for step in ("t2.c0", "t2.c2", "t2.c5"):
        play.run(step)
    stop(play)
    play.reply("", call("nothing"), call("weather", city="a"), call("refund", amount=2))
    play.resume()
    play.run("t3.c1")
    play.decide("t3.c2", "rejected")
    stop(play)
    play.reply('{"degrees": 3}')
    return play


def paused() -> Play:
    """Everything that may happen during a pause."""
    return set_aside(Play.pause)


def quarantined() -> Play:
    """Everything that may happen in quarantine."""
    return set_aside(Play.quarantine)


def ends_set_aside() -> list[Play]:
    """The other ends out of a pause and out of quarantine."""
    found = []
    for stop in (Play.pause, Play.quarantine):
        failed = Play().begin()
        stop(failed)
        failed.model_fails(retryable=False)
        ended = Play().begin()
        stop(ended)
        ended.give(inp.Cancel("ann"))
        found += [failed, ended]
    return found


def paused_in_quarantine() -> Play:
    """A quarantine during a pause, and a pause during a quarantine."""
    play = Play().begin()
    play.pause()
    play.quarantine()
    play.pause()
    play.resume()
    play.reply("Still here.")
    return play


def withheld() -> Play:
    """An answer that the provider withheld."""
    play = Play().begin()
    play.reply("", finish="content_filter")
    return play


SCENARIOS: dict[str, Callable[[], Play]] = {
    made.__name__: made
    for made in (
        plain_answer,
        parallel_calls,
        refused_calls,
        approvals,
        tool_retries,
        lost_workers,
        lost_too_often,
        unknown_outcomes,
        model_outage,
        model_gives_up,
        typed_answer,
        wrong_answer,
        long_answer,
        all_turns,
        out_of_time,
        cancelled,
        paused,
        quarantined,
        paused_in_quarantine,
        withheld,
        *TEAM_SCENARIOS,
        *JOINT_SCENARIOS,
        *INBOX_SCENARIOS,
        *BUDGET_SCENARIOS,
        *PLAN_SCENARIOS.values(),
    )
}


def all_plays() -> list[Play]:
    """Every scenario, played."""
    set_aside = (
        *set_aside_teams(),
        *set_aside_joints(),
        *set_aside_inboxes(),
        *set_aside_budgets(),
        *set_aside_plans(),
    )
    return [*(made() for made in SCENARIOS.values()), *ends_set_aside(), *set_aside]
