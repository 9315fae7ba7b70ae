"""Scenarios of plan_execute: whole executions, each by its name. Together they walk every row of its table."""

import json
from typing import Any

import msgspec

from perdure.core import inputs as inp
from perdure.core.definition import GuardrailDefinition
from perdure.core.plan import Member
from tests.unit.core.plan_play import FAULT, TOOLS, PlanPlay, op, step, steps, team_plan
from tests.unit.core.play import Play
from tests.unit.core.team_scenarios import Stop, between

Make = type[PlanPlay]
FALLBACK = {"fallback": Member("rescue", "h2")}


def ref(name: str) -> dict[str, str]:
    """A reference."""
    return {"$ref": name}


def generate(name: str, instructions: str = "Write.", **fields: Any) -> dict[str, Any]:
    """An operation whose arguments a model writes."""
    return {"tool": name, "generate": {"instructions": instructions, **fields}}


def with_guard(name: str, guard: GuardrailDefinition) -> dict[str, Any]:
    """The tools, one of them guarded."""
    return TOOLS | {name: msgspec.structs.replace(TOOLS[name], guards=(guard,))}


def planned_at_the_second_try(make: Make = PlanPlay) -> PlanPlay:
    """A planner whose first answer is no plan; then two steps."""
    play = make(team_plan(team={"planner_context": ("Be careful.",)})).begin("Sum up the news")
    play.child_done("p1", "I would fetch it.")
    play.child_done(
        "p2",
        "```json\n"
        + json.dumps(steps(step("a", op("fetch")), step("b", op("write", text=ref("a")))))
        + "\n```",
    )
    play.run("o1.c0", "news")
    play.run("o2.c0", "written")
    return play


def never_a_plan(make: Make = PlanPlay) -> PlanPlay:
    """A planner that calls a tool which is not there, as often as it may."""
    play = make(team_plan()).begin()
    for number in (1, 2):
        play.child_done(f"p{number}", steps(step("a", op("nothing"))))
    return play


def planner_fails(make: Make = PlanPlay) -> PlanPlay:
    """A planner whose execution fails; the fallback answers."""
    play = make(team_plan(team=FALLBACK)).begin()
    play.child_fails("p1")
    play.child_done("f1", "rescued")
    return play


def diamond(make: Make = PlanPlay) -> PlanPlay:
    """Two steps at once between a first and a last one."""
    plan = steps(
        step("a", op("fetch")),
        step("b", op("fetch"), depends_on=["a"]),
        step("c", op("check"), op("fetch"), depends_on=["a"]),
        step("d", op("write", text=ref("c")), depends_on=["b"]),
    )
    play = make(team_plan(plan)).begin()
    assert play.open == ["o1.c0"]
    play.run("o1.c0")
    assert play.open == ["o2.c0", "o3.c0"]
    play.run("o3.c0")
    assert play.open == ["o2.c0", "o3.c1"]
    play.run("o3.c1", "from c")
    assert play.open == ["o2.c0"]
    play.run("o2.c0")
    play.run("o4.c0", "the end")
    return play


def all_kinds(make: Make = PlanPlay) -> PlanPlay:
    """A tool that needs leave, one that a person answers, one that is an agent, and the checks after them."""
    plan = steps(
        step("leave", op("refund", amount=3)),
        step("person", op("ask")),
        step("agent", op("helper_agent", request="Think")),
        validation=[{"tool": "check", "args": {"x": ref("person.answer")}, "success_condition": "$.n > 1"}],
        on_success=[op("tell", to="ann"), op("tell", to="bob")],
    )
    play = make(team_plan(plan)).begin()
    play.decide("o1.c0", arguments={"amount": 2})
    play.run("o1.c0")
    play.decide("o2.c0", answer={"answer": "yes"})
    play.child_done("o3.c0", {"deep": 1})
    play.run("ov.c0", {"n": 2})
    assert play.open == ["oy.c0"]
    play.run("oy.c0")
    play.run("oy.c1")
    return play


def sums_up(make: Make = PlanPlay) -> PlanPlay:
    """A plan whose results the team's own model puts together."""
    play = make(
        team_plan(steps(step("a", op("fetch")), step("b", op("fetch"))), team={"synthesize": True})
    ).begin("Why?")
    play.run("o1.c0", "first")
    play.run("o2.c0", {"second": 2})
    request = play.asked("t1.m")
    assert request.tools == ()
    assert '[a]: first\n\n[b]: {"second":2}' in request.messages[-1].text
    play.reply("Because.")
    return play


def written_at_the_third_try(make: Make = PlanPlay) -> PlanPlay:
    """A model that writes no JSON, then what does not fit, then what fits."""
    plan = steps(
        step("a", op("fetch")), step("b", generate("write", context={"news": ref("a")}, max_tokens=99))
    )
    play = make(team_plan(plan)).begin("Sum up")
    play.run("o1.c0", "N1")
    play.write("o2.g0", "sorry")
    play.write("o2.g0.2", '{"text": 5}')
    play.write("o2.g0.3", '```json\n{"text": "five"}\n```')
    play.run("o2.c0", "done")
    return play


def never_written(make: Make = PlanPlay) -> PlanPlay:
    """A model that never writes what fits."""
    play = make(team_plan(steps(step("a", generate("write"))))).begin()
    for name in ("o1.g0", "o1.g0.2", "o1.g0.3", "o1.g0.4"):
        play.write(name, "{}")
    return play


def model_is_lost_and_fails(make: Make = PlanPlay) -> PlanPlay:
    """The server stops while a model writes; later the provider is down for good."""
    play = make(team_plan(steps(step("a", generate("write")), step("b", op("fetch"))))).begin()
    play.crash()
    play.running.discard(("call", "o1.g0"))
    play.give(inp.Recover("restart"))
    for _ in range(3):
        attempt = play.state.steps["o1.g0"].attempt
        play.give(inp.ModelErrored("o1.g0", attempt, FAULT, retryable=True, jitter=0.5))
        play.now += 60_000
        if not play.state.over:
            play.give(inp.Tick())
    return play


def stopped_and_rescued(make: Make = PlanPlay) -> PlanPlay:
    """An operation fails while a task, a person's decision, a model and an agent are open; then on_failure, the fallback."""
    plan = steps(
        step("good", op("fetch")),
        step("bad", op("fetch"), depends_on=["good"]),
        step("task", op("tell"), depends_on=["good"]),
        step("person", op("refund", amount=1), depends_on=["good"]),
        step("model", generate("write"), depends_on=["good"]),
        step("agent", op("helper_agent"), depends_on=["good"]),
        on_failure=[op("tell", what=ref("good")), op("tell", what=ref("task")), op("check")],
    )
    play = make(team_plan(plan, team=FALLBACK)).begin("Do it all")
    play.run("o1.c0", "G")
    play.give(inp.TakeTask("o3.c0", "w2"))
    play.fail("o2.c0")
    return play


def guarded_by_a_function(make: Make = PlanPlay) -> PlanPlay:
    """A function judges a result while another step goes on; its words take the place of the result."""
    guard = GuardrailDefinition("clean", "function", "output", "fix")
    plan = steps(step("a", op("fetch")), step("b", op("check")), step("c", op("tell", what=ref("a"))))
    play = make(team_plan(plan, tools=with_guard("fetch", guard))).begin()
    play.run("o1.c0", "raw")
    assert play.open == ["o1.c0.r.s0", "o2.c0"]
    play.run("o2.c0")
    assert play.open == ["o1.c0.r.s0"], "what was not judged is no result yet"
    play.run("o1.c0.r.s0", {"passed": False, "fixed": "clean"})
    play.run("o3.c0", "end")
    return play


def fallback_fails(make: Make = PlanPlay) -> PlanPlay:
    """An agent that is an operation fails, and then the fallback does."""
    play = make(team_plan(steps(step("a", op("helper_agent"))), team=FALLBACK)).begin()
    play.child_fails("o1.c0")
    play.child_fails("f1")
    return play


def rejected_between(stop: Stop, make: Make = PlanPlay) -> PlanPlay:
    """A planner answers twice in vain while the execution is stopped."""
    play = make(team_plan(team=FALLBACK)).begin()
    between(play, stop, lambda: play.child_done("p1", "no plan"))
    between(play, stop, lambda: play.child_done("p2", "no plan"))
    play.child_done("f1", "rescued")
    return play


def accepted_between(stop: Stop, make: Make = PlanPlay) -> PlanPlay:
    """A planner answers with a plan while the execution is stopped."""
    play = make(team_plan()).begin()
    between(play, stop, lambda: play.child_done("p1", steps(step("a", generate("write")))))
    play.write("o1.g0", '{"text": "x"}')
    play.run("o1.c0")
    return play


def set_aside_plans() -> list[Play]:
    """The scenarios that say what may happen during a pause and in quarantine."""
    return [
        made(stop) for made in (rejected_between, accepted_between) for stop in (Play.pause, Play.quarantine)
    ]


PLAN_SCENARIOS = {
    f.__name__: f
    for f in (
        planned_at_the_second_try,
        never_a_plan,
        planner_fails,
        diamond,
        all_kinds,
        sums_up,
        written_at_the_third_try,
        never_written,
        model_is_lost_and_fails,
        stopped_and_rescued,
        guarded_by_a_function,
        fallback_fails,
    )
}
