"""The turn machine's tables: every row is walked by a scenario, and what has no row raises."""

import itertools
from typing import Any, get_args

import pytest

from perdure.core import events as ev
from perdure.core.errors import ExecutionError
from perdure.core.machines.turn_state import PHASES, STEPS, Phase, Step, StepStatus, TurnState, evolve
from perdure.core.messages import user
from perdure.core.model import Usage
from perdure.core.plan_steps import StepPlan
from tests.unit.core.play import FAULT, Play
from tests.unit.core.scenarios import SCENARIOS, all_plays

PHASE_NAMES: tuple[Phase, ...] = get_args(Phase)
STATUS_NAMES: tuple[StepStatus | None, ...] = (None, *get_args(StepStatus))
KINDS: tuple[type[ev.Event], ...] = get_args(ev.AnyEvent)
S = "t1.c0"

SAMPLES: dict[type[ev.Event], ev.Event] = {
    type(e): e
    for e in (
        ev.ExecutionStarted("a", "p", user("Hi"), "me"),
        ev.ExecutionPaused("me"),
        ev.ExecutionResumed("me"),
        ev.ExecutionCompleted("out"),
        ev.ExecutionFailed(FAULT),
        ev.ExecutionCancelled("me"),
        ev.ExecutionQuarantined(FAULT),
        ev.ModelRequested(S, 1),
        ev.ModelCompleted(S, 1, user("Hi"), Usage(), "stop"),
        ev.ModelFailed(S, 1, FAULT, 5),
        ev.ModelLost(S, 1, "restart"),
        ev.OutputRejected(S, ("wrong",)),
        ev.ToolRequested(S, "c", "weather", {}, "ik"),
        ev.ToolRefused(S, "c", "weather", FAULT),
        ev.ToolStarted(S, 2, "w"),
        ev.ToolCompleted(S, 1, "r"),
        ev.ToolFailed(S, 1, FAULT),
        ev.ToolLost(S, 1, "silent"),
        ev.TimerFired(S, 7),
        ev.ApprovalRequested(S, "c", "weather", {}, "a1", "h"),
        ev.ApprovalDecided(S, "a1", "approved", "me", "cli", "h"),
        ev.AnswerRefused(S, "required_tools", "Call weather first."),
        ev.FunctionRequested(S, "@gate", "a", {}, "ik"),
        ev.ChildRequested(S, "x2", "a", user("Hi")),
        ev.ChildCompleted(S, "out"),
        ev.ChildFailed(S, FAULT),
        ev.JudgeRequested(S, "polite", "Hi"),
        ev.ArgumentsRequested(S, "weather", "Write."),
        ev.PlanAccepted(StepPlan(())),
        ev.PlanRejected(("no plan",)),
        ev.PlanFailed(("it broke",)),
        ev.GuardDecided("in", "polite", passed=True),
        ev.HookEnded("in", "@before_agent"),
        ev.Replaced("in", "Hello", "@before_agent"),
        ev.AnswerProposed("t1.out", "out"),
        ev.AgentChosen("a", "order"),
        ev.HandoffDecided("a", met=True),
        ev.GateDecided("a", open=True),
        ev.StopDecided(1, stop=True),
        ev.MessageReceived("m1", user("Hi"), "me"),
        ev.ModelInterrupted(S, 1),
        ev.MessageAwaited(S, "c", "listen"),
        ev.MessagesTaken(S, "c", "listen", 1),
        ev.StopRequested("me"),
        ev.SessionAwaited(S, "x0"),
        ev.SessionJoined(S),
        ev.CallsPrefilled(user("Hi")),
        ev.CondenseRequested(S, 1, 0, 2, 900),
        ev.BudgetReached(S, "x1", "tokens", "used up", "stop"),
        ev.BudgetGranted("x1", "tokens", "me"),
    )
}


def walked(plays: list[Play]) -> tuple[set[Any], set[Any]]:
    """The rows that the journals of *plays* walk: (phase, event) -> phase, and (status, event) -> status."""
    phases, steps = set(), set()
    for play in plays:
        state = TurnState()
        for record in play.records:
            event = record.event
            step_id = getattr(event, "step", "")
            phase, before = state.phase, state.steps.get(step_id)
            evolve(state, event)
            after = state.steps.get(step_id)
            phases.add(((phase, type(event)), state.phase))
            if step_id:
                key = (before.status if before else None, type(event))
                steps.add((key, after.status if after else None))
    return phases, steps


def test_every_row_of_the_tables_is_walked_by_a_scenario_and_no_other():
    """The scenarios walk exactly the transitions that PHASES and STEPS have, each outcome of each row."""
    phases, steps = walked(all_plays())
    assert phases == set(PHASES.items())
    assert steps == {(key, after) for key, outcomes in STEPS.items() for after in outcomes}


def test_every_event_kind_occurs_in_a_scenario():
    """There is no kind of event that no scenario records."""
    assert {type(r.event) for p in all_plays() for r in p.records} == set(KINDS) == set(SAMPLES)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_the_same_each_time(name: str):
    """The core is pure: the same inputs give the same journal."""
    assert SCENARIOS[name]().records == SCENARIOS[name]().records


@pytest.mark.parametrize(
    ("phase", "kind"), [p for p in itertools.product(PHASE_NAMES, KINDS) if p not in PHASES]
)
def test_a_pair_that_is_not_in_phases_raises(phase: Phase, kind: type[ev.Event]):
    """An event that a phase does not know raises E0414, and says E5 when the execution is over."""
    state = TurnState(phase=phase)
    with pytest.raises(ExecutionError) as caught:
        evolve(state, SAMPLES[kind])
    assert caught.value.code == "E0414"
    assert ("E5" in caught.value.where) == (phase in ("completed", "failed", "cancelled"))
    assert state == TurnState(phase=phase)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (status, kind)
        for status, kind in itertools.product(STATUS_NAMES, KINDS)
        if ("active", kind) in PHASES and hasattr(SAMPLES[kind], "step") and (status, kind) not in STEPS
    ],
)
def test_a_pair_that_is_not_in_steps_raises(status: StepStatus | None, kind: type[ev.Event]):
    """An event that a step's status does not know raises E0414 and leaves the state alone."""
    steps = {} if status is None else {S: Step(status, attempt=1, due_ms=7, approval_id="a1")}
    state = TurnState(phase="active", steps=dict(steps))
    with pytest.raises(ExecutionError) as caught:
        evolve(state, SAMPLES[kind])
    assert caught.value.code == "E0414"
    assert state == TurnState(phase="active", steps=dict(steps))


@pytest.mark.parametrize(
    ("step", "event", "why"),
    [
        (Step("ready", attempt=1), ev.ToolStarted(S, 1, "w"), "epoch 1 does not follow"),
        (Step("ready", attempt=1), ev.ToolStarted(S, 3, "w"), "epoch 3 does not follow"),
        (Step("leased", attempt=2), ev.ToolCompleted(S, 1, "r"), "E3"),
        (Step("leased", attempt=2), ev.ToolFailed(S, 3, FAULT), "E3"),
        (Step("leased", attempt=2), ev.ToolLost(S, 1, "silent"), "E3"),
        (Step("ready", due_ms=8), ev.TimerFired(S, 7), "the timer is not set"),
        (Step("ready"), ev.TimerFired(S, 7), "the timer is not set"),
        (Step("approval", approval_id="a2"), SAMPLES[ev.ApprovalDecided], "I7"),
    ],
)
def test_an_event_that_names_another_attempt_timer_or_approval_raises(step: Step, event: ev.Event, why: str):
    """Whatever slipped past the engine, an event about something else is never recorded."""
    state = TurnState(phase="active", steps={S: step})
    with pytest.raises(ExecutionError, match="E0414") as caught:
        evolve(state, event)
    assert why in caught.value.where
    assert state.steps == {S: step}
