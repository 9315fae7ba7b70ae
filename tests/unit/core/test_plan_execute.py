"""The plan_execute machine: planning, carrying out, failing, going on with a fallback."""

import json
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import ToolError
from perdure.core.machines.draft import Applied
from perdure.core.machines.teams.tables import PLAN_EXECUTE, Team, follow
from perdure.core.messages import user
from perdure.core.plan_run import place_of
from perdure.core.plan_steps import StepPlan
from tests.unit.core.plan_play import FAULT, NO_MODEL, TOOLS, PlanPlay, op, step, steps, team_plan
from tests.unit.core.plan_scenarios import (
    FALLBACK,
    PLAN_SCENARIOS,
    all_kinds,
    diamond,
    fallback_fails,
    generate,
    guarded_by_a_function,
    model_is_lost_and_fails,
    never_a_plan,
    never_written,
    planned_at_the_second_try,
    planner_fails,
    ref,
    stopped_and_rescued,
    sums_up,
    with_guard,
    written_at_the_third_try,
)

# Planning -------------------------------------------------------------------------------------------------


def test_a_planner_is_told_the_request_the_contexts_and_the_tools():
    """What it is given holds all three, and its step has the role planner."""
    play = PlanPlay(team_plan(team={"planner_context": ("Be careful.",)})).begin("Sum up the news")
    (asked,) = play.of(ev.ChildRequested)
    assert (asked.step, asked.agent, asked.role) == ("p1", "planner", "planner")
    for part in ("Sum up the news", "Be careful.", '"steps"', "- write: The tool write."):
        assert part in asked.input.text


def test_an_answer_that_is_no_plan_goes_back_with_what_is_wrong():
    """The second planner sees the first one's answer and the errors; its plan is carried out."""
    play = planned_at_the_second_try()
    first, second = play.of(ev.ChildRequested)
    assert "I would fetch it." not in first.input.text
    assert "I would fetch it." in second.input.text
    assert "no JSON object with the key 'steps'" in second.input.text
    assert play.of(ev.ToolRequested)[1].arguments == {"text": "news"}
    assert play.last == ev.ExecutionCompleted("written")


def test_a_planner_that_has_used_its_retries_fails_the_execution():
    """After output_retries more tries it ends with E0425, and the errors are told."""
    play = never_a_plan()
    assert play.last.error.code == "E0425"
    assert "'nothing', which is no tool" in play.last.error.why
    assert len(play.of(ev.PlanRejected)) == 2


def test_a_fallback_goes_on_when_the_planner_fails():
    """It is told why, and its answer is the team's."""
    play = planner_fails()
    assert "The planner planner failed: [E0301]" in play.of(ev.ChildRequested)[1].input.text
    assert play.last.output == "rescued"
    assert "fallback" in play.last.reason


def test_a_plan_that_needs_a_model_is_rejected_where_there_is_none():
    """A team without a model cannot write arguments, and its planner is told so."""
    play = PlanPlay(team_plan(model=NO_MODEL)).begin()
    play.child_done("p1", steps(step("a", generate("write"))))
    assert "No model can write arguments" in play.of(ev.PlanRejected)[0].errors[0]


# Carrying out ---------------------------------------------------------------------------------------------


def test_steps_that_do_not_depend_on_each_other_run_at_once():
    """Each step begins when what it needs is done, whatever else is open; the last step's result is the output."""
    play = diamond()
    assert play.of(ev.ToolRequested)[-1].arguments == {"text": "from c"}
    assert play.last.output == "the end"
    assert play.of(ev.PlanAccepted)[0].by == "definition"


def test_parallel_operations_give_a_list():
    """They run at once, and a reference to their step is the list of their results, in the plan's order."""
    plan = steps(
        step("a", op("fetch"), op("check"), parallel=True),
        step("b", op("tell", all=ref("a"), one=ref("a.1.n"))),
    )
    play = PlanPlay(team_plan(plan)).begin()
    assert play.open == ["o1.c0", "o1.c1"]
    play.run("o1.c1", {"n": 2})
    play.run("o1.c0", 1)
    assert play.of(ev.ToolRequested)[-1].arguments == {"all": [1, {"n": 2}], "one": 2}


def test_every_kind_of_tool_can_be_an_operation():
    """Approvals, questions and agents work as everywhere; validations and on_success come after all steps."""
    play = all_kinds()
    requests = play.of(ev.ToolRequested)
    assert [(r.step, r.arguments) for r in requests] == [
        ("o1.c0", {"amount": 2}),
        ("ov.c0", {"x": "yes"}),
        ("oy.c0", {"to": "ann"}),
        ("oy.c1", {"to": "bob"}),
    ]
    assert play.last.output == {"deep": 1}
    roles = [message.role for message in play.transcript.messages]
    assert roles == ["user", "assistant"], "no model is told of a plan's results"
    assert play.state.usage.total_tokens == 24


def test_a_team_that_sums_up_answers_in_its_models_words():
    """The model is shown what each step gave, without tools; its answer is the output."""
    assert sums_up().last.output == "Because."


def test_a_tool_is_tried_again_by_its_policy():
    """A failed attempt is no failed operation as long as another one is due."""
    play = PlanPlay(team_plan(steps(step("a", op("fetch"))))).begin()
    play.fail("o1.c0", retryable=True)
    play.now += 1_000
    play.give(inp.Tick())
    play.run("o1.c0", "late")
    assert play.last.output == "late"


def test_what_is_over_max_calls_fails_the_plan():
    """The limit of a tool counts over the whole plan."""
    play = PlanPlay(team_plan(steps(step("a", op("once")), step("b", op("once"), depends_on=["a"])))).begin()
    play.run("o1.c0")
    assert play.last.error.code == "E0426"
    assert "step b (once) failed" in play.last.error.why


# Arguments that a model writes ----------------------------------------------------------------------------


def test_arguments_are_asked_for_again_with_what_is_wrong():
    """Each try is a step of its own; the call runs with what fits at last."""
    play = written_at_the_third_try()
    tries = play.of(ev.ArgumentsRequested)
    assert [(t.step, t.tries, t.context) for t in tries] == [
        ("o2.g0", 1, {"news": "N1"}),
        ("o2.g0.2", 2, {"news": "N1"}),
        ("o2.g0.3", 3, {"news": "N1"}),
    ]
    assert "not JSON" in tries[1].errors[0]
    assert "5 is not of type 'string'" in tries[2].errors[0]
    assert play.of(ev.ToolRequested)[-1].arguments == {"text": "five"}
    assert play.last.output == "done"


def test_the_model_that_writes_is_shown_the_tool_the_context_and_its_mistake():
    """The request holds what it needs and nothing of the conversation; max_tokens is the plan's."""
    plan = steps(
        step("a", generate("write", "Say hello.", context=[1], max_tokens=99, output_schema="{text: words}"))
    )
    play = PlanPlay(team_plan(plan)).begin("Greet")
    play.write("o1.g0", "sorry")
    request = play.asked("o1.g0.2")
    assert request.settings.max_tokens == 99
    assert request.tools == ()
    assert request.output_schema == TOOLS["write"].spec.input_schema
    question, said, again = (m.text for m in request.messages)
    for part in ("Greet", "Say hello.", "[1]", "{text: words}", "The tool write."):
        assert part in question
    assert said == "sorry"
    assert "not JSON" in again


def test_arguments_that_never_fit_fail_the_plan():
    """After four tries the operation is given up."""
    play = never_written()
    assert play.refusals[0].error.code == "E0305"
    assert play.last.error.code == "E0426"


def test_a_schema_of_the_plan_is_held_to():
    """Arguments that fit the tool but not the plan's own schema are asked for again."""
    plan = steps(step("a", generate("write", output_schema={"properties": {"text": {"maxLength": 3}}})))
    play = PlanPlay(team_plan(plan)).begin()
    play.write("o1.g0", '{"text": "long"}')
    assert "too long" in play.of(ev.ArgumentsRequested)[1].errors[0]


def test_a_model_that_cannot_be_asked_fails_the_plan():
    """Its attempts are those of any model call; then the operation fails and what is open is stopped."""
    play = model_is_lost_and_fails()
    assert [r.attempt for r in play.of(ev.ArgumentsRequested)] == [1, 2, 3, 4]
    assert play.last.error.code == "E0426"
    assert play.of(ev.PlanFailed)[0].stopped == ("o1.g0", "o2.c0")


@pytest.mark.parametrize(
    "shape",
    [
        "an example: {text: words}",
        {"properties": {"text": {"pattern": "^(a+)+$"}}},
        {"properties": {"text": {"$ref": "#/nowhere"}}},
        {"type": 5},
        {"text": ["not", "a", "schema"]},
    ],
)
def test_a_shape_that_cannot_be_checked_is_told_and_not_held_to(shape: Any):
    """What a planner wrote must not cost time without bound, nor make a call impossible."""
    play = PlanPlay(team_plan(steps(step("a", generate("write", output_schema=shape))))).begin()
    play.write("o1.g0", json.dumps({"text": "a" * 64 + "!"}))
    assert play.open == ["o1.c0"]


# Failing --------------------------------------------------------------------------------------------------


def test_what_is_open_is_stopped_when_an_operation_fails():
    """Tasks, approvals, model calls and agents end with the plan; late results of them are refused."""
    play = stopped_and_rescued()
    failed = play.of(ev.PlanFailed)[0]
    assert failed.operation == "o2.c0"
    assert set(failed.stopped) == {"o3.c0", "o4.c0", "o5.g0", "o6.c0"}
    assert play.open == ["on.c0"]
    assert play.transcript.calls.keys() == {"on.c0"}
    with pytest.raises(ToolError) as caught:
        play.give(inp.TaskSucceeded("o3.c0", 1, "late", None, 3))
    assert caught.value.code == "E0307"


def test_on_failure_runs_and_then_the_fallback():
    """An operation of on_failure that cannot run keeps no other from it; the fallback is told of all."""
    play = stopped_and_rescued()
    assert play.of(ev.ToolRequested)[-1].arguments == {"what": "G"}
    play.run("on.c0")
    assert play.refusals[0].step == "on.c1"
    play.run("on.c2")
    (asked,) = (c for c in play.of(ev.ChildRequested) if c.role == "fallback")
    for part in (
        "Do it all",
        '"id":"bad"',
        "[good]: G",
        "step bad (fetch) failed",
        "on_failure 2 (tell) failed",
    ):
        assert part in asked.input.text
    play.child_done("f1", "rescued")
    assert play.last.output == "rescued"


def test_a_fallback_that_fails_fails_the_team():
    """There is nothing after it."""
    play = fallback_fails()
    assert play.of(ev.PlanFailed)[0].errors == (
        "The step a (helper_agent) failed: The tool raised ValueError: no such city",
    )
    assert play.last.error.code == "E0418"


@pytest.mark.parametrize(
    ("condition", "result", "why"),
    [
        ("$.ok == true", {"ok": False}, "$.ok == true does not hold of"),
        ("", {"passed": False}, "does not look like a success"),
        ("$.n > 1", "text", "does not hold"),
    ],
)
def test_a_validation_that_does_not_hold_fails_the_plan(condition: str, result: Any, why: str):
    """What no condition holds of fails, and on_success never runs."""
    check = {"tool": "check", "args": {}, "success_condition": condition}
    play = PlanPlay(
        team_plan(steps(step("a", op("fetch")), validation=[check, op("fetch")], on_success=[op("tell")]))
    ).begin()
    play.run("o1.c0")
    assert play.open == ["ov.c0", "ov.c1"]
    play.run("ov.c0", result)
    assert why in play.last.error.why
    assert "tell" not in [r.tool for r in play.of(ev.ToolRequested)]


def test_a_reference_that_leads_nowhere_fails_the_operation():
    """What a step did not give cannot be handed on."""
    play = PlanPlay(
        team_plan(steps(step("a", op("fetch")), step("b", op("write", text=ref("a.title")))))
    ).begin()
    play.run("o1.c0", {"name": "x"})
    assert "leads nowhere" in play.last.error.why


def test_a_rejected_call_and_a_rejected_question_fail_the_plan():
    """A person's no is a failed operation."""
    for tool, name in ((op("refund", amount=1), "refund"), (op("ask"), "ask")):
        play = PlanPlay(team_plan(steps(step("a", tool)))).begin()
        play.decide("o1.c0", "rejected", reason="too much")
        assert f"step a ({name}) failed: ann rejected it: too much" in play.last.error.why


# Guardrails -----------------------------------------------------------------------------------------------


def test_a_guardrail_at_the_arguments_blocks_the_operation():
    """There is no model to try again: the operation fails, and the tool never runs."""
    guard = GuardrailDefinition("clean", "regex", "input", "retry", patterns=("bad",), message="no bad words")
    play = PlanPlay(
        team_plan(steps(step("a", op("write", text="bad"))), tools=with_guard("write", guard))
    ).begin()
    assert play.last.error.code == "E0426"
    assert "The guardrail clean blocked this call" in play.last.error.why
    assert play.of(ev.ToolRequested) == []


def test_a_guardrail_at_the_result_blocks_it():
    """A result that is sent back is no result: the operation fails with the guardrail's words."""
    guard = GuardrailDefinition(
        "clean", "regex", "output", "retry", patterns=("bad",), message="no bad words"
    )
    play = PlanPlay(team_plan(steps(step("a", op("fetch"))), tools=with_guard("fetch", guard))).begin()
    play.run("o1.c0", "a bad thing")
    assert "guardrail clean blocked its result: no bad words" in play.last.error.why


def test_a_result_counts_when_its_guardrail_has_let_it_pass():
    """What takes its place is what the next step gets."""
    play = guarded_by_a_function()
    assert play.of(ev.ToolRequested)[-1].arguments == {"what": "clean"}
    assert play.last.output == "end"


def test_a_result_that_was_being_judged_when_the_plan_failed_is_told_to_nobody():
    """E8: on_failure and the fallback get what has passed, and nothing else."""
    guard = GuardrailDefinition("clean", "function", "output", "raise")
    plan = steps(step("a", op("fetch")), step("b", op("check")), on_failure=[op("tell", what=ref("a"))])
    play = PlanPlay(team_plan(plan, team=FALLBACK, tools=with_guard("fetch", guard))).begin()
    play.run("o1.c0", "secret")
    play.fail("o2.c0")
    assert play.refusals[0].step == "on.c0"
    assert "secret" not in play.of(ev.ChildRequested)[0].input.text


def test_callbacks_stand_around_operations():
    """before_tool may change the arguments, after_tool the result."""
    plan = team_plan(steps(step("a", op("write", text="x"))), hooks=("before_tool", "after_tool"))
    play = PlanPlay(plan).begin()
    (told,) = play.of(ev.FunctionRequested)
    assert told.arguments == {"tool": "write", "call_id": "o1.c0", "arguments": {"text": "x"}}
    play.run("o1.c0.i.s0", {"changes": {"arguments": {"text": "y"}}})
    play.run("o1.c0", "raw")
    play.run("o1.c0.r.s0", {"changes": {"result": "better"}})
    assert play.of(ev.ToolRequested)[0].arguments == {"text": "y"}
    assert play.last.output == "better"


# Steering and crashes -------------------------------------------------------------------------------------


def test_nothing_begins_while_it_is_paused():
    """What is decided is recorded, and offered when it is resumed."""
    play = PlanPlay(
        team_plan(steps(step("a", op("fetch")), step("b", generate("write"), depends_on=["a"])))
    ).begin()
    play.give(inp.TakeTask("o1.c0", "w1"))
    play.give(inp.Pause("ann", ""))
    play.give(inp.TaskSucceeded("o1.c0", 1, "x", None, 1))
    assert play.open == ["o2.g0"]
    assert play.running == set()
    play.give(inp.Resume("ann"))
    assert play.running == {("call", "o2.g0")}


def test_cancelling_stops_everything():
    """E9: nothing of a plan is left running."""
    play = PlanPlay(
        team_plan(steps(step("a", op("fetch")), step("b", generate("write")), step("c", op("helper_agent"))))
    ).begin()
    play.give(inp.Cancel("ann", ""))
    assert {type(e).__name__ for e in play.effects} == {"WithdrawTask", "AbortModel", "StopChild"}


@pytest.mark.parametrize("name", PLAN_SCENARIOS)
def test_a_scenario_is_the_same_each_time(name: str):
    """The core is pure: the same inputs give the same journal."""
    assert PLAN_SCENARIOS[name]().records == PLAN_SCENARIOS[name]().records


def test_what_is_said_is_taken_by_a_tool_that_listens():
    """A tool that gives messages can be an operation: it waits for the next one, and its result is what was said."""
    play = PlanPlay(
        team_plan(steps(step("a", op("listen")), step("b", op("tell", what=ref("a.messages.0.text")))))
    ).begin()
    assert play.open == ["o1.c0"]
    play.give(inp.Say("m1", user("Use the blue one."), "ann"))
    assert play.of(ev.ToolRequested)[0].arguments == {"what": "Use the blue one."}


def test_a_stop_ends_the_plan_when_what_is_open_is_done():
    """Nothing more begins; the output is the result of the last step that is done."""
    play = PlanPlay(team_plan(steps(step("a", op("fetch")), step("b", op("tell"), depends_on=["a"])))).begin()
    play.give(inp.TakeTask("o1.c0", "w1"))
    play.give(inp.StopSoon("ann", ""))
    play.give(inp.TaskSucceeded("o1.c0", 1, "half", None, 1))
    assert (play.last.output, play.last.finish_reason) == ("half", "stopped")


def test_a_stop_while_a_plan_is_being_written_carries_nothing_out():
    """What the planner gives is not begun."""
    play = PlanPlay(team_plan()).begin()
    play.give(inp.StopSoon("ann", ""))
    play.child_done("p1", steps(step("a", op("fetch"))))
    assert (play.last.output, play.last.finish_reason) == ("", "stopped")


@pytest.mark.parametrize(("operation", "opened"), [(op("fetch"), "o1.c0"), (generate("write"), "o1.g0")])
@pytest.mark.parametrize("action", ["stop", "ask", "downgrade", "finish"])
def test_a_budget_that_stands_in_the_way_fails_the_operation(operation: Any, opened: str, action: Any):
    """A call that it does not allow fails the plan; a budget that says stop ends the execution at once."""
    play = PlanPlay(team_plan(steps(step("a", operation)))).begin()
    attempt = play.state.steps[opened].attempt
    play.running -= {("call", opened), ("offer", opened)}
    play.give(inp.BudgetBreached(opened, attempt, "x1", "tokens", "too many tokens", action, "mock/small"))
    assert play.last.error.code == ("E0424" if action == "stop" else "E0426")
    assert "too many tokens" in play.last.error.why


class Forgetful(PlanPlay):
    """A play whose memory is read anew from the journal before every input."""

    def give(self, item: inp.Input) -> Applied:
        if self.records:
            self.crash()
        return super().give(item)


@pytest.mark.parametrize("name", PLAN_SCENARIOS)
def test_what_is_decided_follows_from_the_record(name: str):
    """Memory that is read anew before every input decides the same."""
    assert PLAN_SCENARIOS[name](Forgetful).records == PLAN_SCENARIOS[name]().records


def test_the_scenarios_walk_every_row_of_the_table():
    """Each row of PLAN_EXECUTE is walked, and leads where it says; no event meets a phase that it has no row for."""
    walked = set()
    for make in PLAN_SCENARIOS.values():
        team = Team()
        for record in make().records:
            event = record.event
            before = team
            if isinstance(event, ev.ExecutionStarted):
                team = Team("plan_execute", "ready")
                continue
            after = follow(before, event)
            assert after is not None
            team = after
            if (before.phase, type(event)) in PLAN_EXECUTE and place_of(getattr(event, "step", "")) is None:
                walked.add(((before.phase, type(event)), after.phase))
    assert walked == set(PLAN_EXECUTE.items())


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (phase, event)
        for phase in ("ready", "planning", "executing", "failed", "falling_back")
        for event in (
            ev.ChildRequested("p1", "x", "planner", user("Hi"), role="planner"),
            ev.ChildCompleted("p1", "out"),
            ev.ChildFailed("p1", FAULT),
            ev.PlanAccepted(StepPlan(())),
            ev.PlanRejected(("wrong",)),
            ev.PlanFailed(("wrong",)),
        )
        if (phase, type(event)) not in PLAN_EXECUTE
    ],
    ids=lambda v: v if isinstance(v, str) else ev.kind_of(v),
)
def test_a_pair_that_is_not_in_the_table_raises(phase: Any, event: ev.AnyEvent):
    """An event that a phase does not know is a fault of the engine, and the state stays as it is."""
    assert follow(Team("plan_execute", phase), event) is None
