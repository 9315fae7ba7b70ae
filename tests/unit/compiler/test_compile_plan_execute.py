"""From a definition of the strategy plan_execute to a plan."""

from typing import Any

import msgspec
import pytest

from perdure.compiler import compile_definition
from perdure.core.definition import AgentDefinition, ToolDefinition
from perdure.core.errors import PerdureError
from perdure.core.plan import TeamPlan
from perdure.server.plans import Compiled

LOOK = ToolDefinition("look", input_schema={"type": "object", "properties": {"at": {"type": "string"}}})
PLAN: dict[str, Any] = {"steps": [{"id": "a", "operations": [{"tool": "look", "args": {"at": "x"}}]}]}
PLANNER = AgentDefinition("planner", "mock/echo")
RESCUE = AgentDefinition("rescue", "mock/echo", max_turns=9)


def team(**fields: Any) -> AgentDefinition:
    """A team without a model, with one tool."""
    given = {"strategy": "plan_execute", "tools": (LOOK,), "synthesize": False} | fields
    return AgentDefinition("team", **given)


def lowered(definition: AgentDefinition) -> TeamPlan:
    """The team of its plan."""
    found = compile_definition(definition).plan.team
    assert found is not None
    return found


def refused(code: str, definition: AgentDefinition) -> PerdureError:
    """The error with which a definition is refused."""
    with pytest.raises(PerdureError) as caught:
        compile_definition(definition)
    assert caught.value.code == code
    return caught.value


def test_a_planner_and_a_fallback_are_members():
    """Both have plans of their own; the fallback has the turns that the team gives it."""
    bundle = compile_definition(
        team(planner=PLANNER, fallback=RESCUE, fallback_max_turns=2, planner_context=("Known.",))
    )
    made = bundle.plan.team
    assert made is not None
    assert made.planner is not None
    assert made.fallback is not None
    assert bundle.members[made.fallback.plan_hash or ""].max_turns == 2
    assert made.planner_context == ("Known.",)
    assert made.plan is None
    assert [m.name for m in bundle.plan.members] == ["planner", "rescue"]


def test_a_fixed_plan_needs_no_planner_and_no_model():
    """The planner that is given beside it is left out; workers serve the team's tools, which no model is shown."""
    bundle = compile_definition(team(plan=PLAN, planner=PLANNER))
    assert bundle.plan.team is not None
    assert bundle.plan.team.planner is None
    assert bundle.members == {}
    assert bundle.plan.model.provider == ""
    assert bundle.plan.tool_specs == ()
    assert Compiled(bundle.plan, "h").worker_tools == ["team.look"]


@pytest.mark.parametrize(
    ("code", "fields", "what"),
    [
        ("E0106", {}, "needs a planner or a plan"),
        ("E0106", {"plan": PLAN, "tools": ()}, "needs tools"),
        ("E0106", {"plan": PLAN, "agents": (PLANNER,)}, "no use for `agents`"),
        ("E0106", {"plan": PLAN, "stop_when": True}, "no use for `stop_when`"),
        ("E0106", {"plan": PLAN, "required_tools": ("look",)}, "no use for `required_tools`"),
        ("E0106", {"plan": PLAN, "fallback_max_turns": 2}, "fallback_max_turns"),
        ("E0106", {"plan": PLAN, "fallback": RESCUE, "fallback_max_turns": 0}, "fallback_max_turns"),
        (
            "E0106",
            {"plan": PLAN, "fallback": AgentDefinition("there", external=True), "fallback_max_turns": 2},
            "fallback_max_turns",
        ),
        ("E0107", {"plan": PLAN, "synthesize": True}, "needs a model"),
        ("E0101", {"planner": PLANNER, "planner_context": ("x" * 1_100_000,)}, "planner_context has"),
        ("E0101", {"plan": {}}, "cannot be carried out"),
    ],
)
def test_what_does_not_fit_is_refused(code: str, fields: dict[str, Any], what: str):
    """An option that is missing, or that the strategy would never use."""
    assert what in refused(code, team(**fields)).what


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"steps": [{"operations": [{"tool": "see"}]}]}, "'see', which is no tool"),
        ({"steps": [{"operations": [{"tool": "look", "args": {"at": 1}}]}]}, "does not fit the tool"),
        ({"validation": [{"tool": "look", "success_condition": "$ ="}]}, "cannot be read"),
        ({"on_success": [{"tool": "look", "args": {"at": {"$ref": "z"}}}]}, "is no step"),
    ],
)
def test_a_fixed_plan_is_checked_when_it_is_compiled(changed: dict[str, Any], why: str):
    """Unknown tools, arguments, references and conditions are errors before anything runs."""
    assert why in refused("E0101", team(plan=PLAN | changed)).why


def test_a_plan_that_has_arguments_written_needs_a_model():
    """Without one it is refused; with one it is not."""
    plan = {"steps": [{"operations": [{"tool": "look", "generate": {"instructions": "Where?"}}]}]}
    assert "has a model write arguments" in refused("E0107", team(plan=plan)).what
    assert lowered(team(plan=plan, model="mock/echo")).plan == plan


@pytest.mark.parametrize(
    "fields",
    [
        {"planner": PLANNER},
        {"fallback": RESCUE},
        {"plan": PLAN},
        {"planner_context": ("x",)},
        {"fallback_max_turns": 1},
    ],
)
def test_other_strategies_have_no_use_for_a_plan(fields: dict[str, Any]):
    """What only plan_execute uses is refused elsewhere."""
    alone = msgspec.structs.replace(AgentDefinition("a", "mock/echo"), **fields)
    assert "has no use for" in refused("E0106", alone).what


def test_a_team_within_a_swarm_keeps_its_tools():
    """The tools to hand over with are not for a plan; its own are."""
    inner = team(plan=PLAN)
    swarm = AgentDefinition("swarm", agents=(inner, PLANNER), strategy="swarm", synthesize=False)
    plans = {plan.agent: plan for plan in compile_definition(swarm).all_plans}
    assert list(plans["team"].tools) == ["look"]
