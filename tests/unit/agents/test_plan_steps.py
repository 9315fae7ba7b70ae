"""Plans that are written down: what is checked, and their JSON."""

from typing import Any

import pytest

from perdure.agents.plan_steps import Action, Context, Generate, Op, Plan, Ref, Step, Validation
from perdure.agents.tools import tool
from perdure.core.errors import PerdureError


@tool
def search(text: str) -> str:
    """Search."""
    return text


def refused(code: str, function: Any, *arguments: Any, **options: Any) -> PerdureError:
    """The error of this call."""
    with pytest.raises(PerdureError) as caught:
        function(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def test_a_whole_plan_as_json():
    """Steps, references, generated arguments, validation and actions are plain JSON."""
    first = Step("first", [Op(search, {"text": "x", "n": (1, 2)}), Op("count")], parallel=True)
    second = Step(
        "second",
        Op("write", generate=Generate("Write.", {"type": "object"}, 100, {"from": [Ref("first")]})),
        depends_on=[first],
    )
    plan = Plan(
        [first, second],
        [Validation("check", {"text": Ref("second")}, "$.score > 1"), Validation("look")],
        [Action("publish", {"it": {"$ref": "second"}})],
        [Action("undo")],
    )
    assert plan.to_json() == {
        "steps": [
            {
                "id": "first",
                "depends_on": [],
                "parallel": True,
                "operations": [
                    {"tool": "search", "args": {"text": "x", "n": [1, 2]}},
                    {"tool": "count", "args": {}},
                ],
            },
            {
                "id": "second",
                "depends_on": ["first"],
                "parallel": False,
                "operations": [
                    {
                        "tool": "write",
                        "generate": {
                            "instructions": "Write.",
                            "output_schema": {"type": "object"},
                            "max_tokens": 100,
                            "context": {"from": [{"$ref": "first"}]},
                        },
                    }
                ],
            },
        ],
        "validation": [
            {"tool": "check", "args": {"text": {"$ref": "second"}}, "success_condition": "$.score > 1"},
            {"tool": "look", "args": {}},
        ],
        "on_success": [{"tool": "publish", "args": {"it": {"$ref": "second"}}}],
        "on_failure": [{"tool": "undo", "args": {}}],
    }
    assert plan.tools == ("search", "count", "write", "check", "look", "publish", "undo")
    assert (repr(plan), repr(Ref("a"))) == ("Plan(first, second)", "Ref('a')")
    assert Generate("Write.").to_json() == {"instructions": "Write."}


def test_a_plan_that_cannot_be_carried_out_is_refused():
    """No steps, ids twice, unknown steps, references that are not waited for, and steps that wait for each other."""
    refused("E0101", Plan, [])
    refused("E0101", Plan, ["a"])
    refused("E0106", Plan, "a")
    refused("E0101", Plan, [Step("a", Op("t")), Step("a", Op("t"))])
    refused("E0101", Plan, [Step("a", Op("t"), ["b"])])
    refused("E0101", Plan, [Step("a", Op("t", {"x": [{"y": Ref("b")}]}))])
    refused("E0101", Plan, [Step("a", Op("t"))], [Validation("v", {"x": Ref("b")})])
    not_waited = [Step("a", Op("t")), Step("b", Op("t", {"x": Ref("a")}))]
    assert "depends_on" in refused("E0101", Plan, not_waited).fix
    circle = [Step("a", Op("t"), ["b"]), Step("b", Op("t"), ["a"])]
    assert " -> " in refused("E0101", Plan, circle).what
    refused("E0101", Plan, [Step("a", Op("t"), ["a"])])
    refused("E0101", Plan, [Step("a", Op("t"))], [Action("v")])


def test_parts_of_a_plan_are_checked_when_they_are_made():
    """Names, arguments that are not JSON, both arguments and a model, and empty texts."""
    refused("E0104", Ref, "a b")
    refused("E0104", Op, 1)
    refused("E0106", Op, "t", [1])
    refused("E0106", Op, "t", {"x": object()})
    refused("E0106", Op, "t", {}, Generate("x"))
    refused("E0106", Op, "t", generate="x")
    refused("E0106", Generate, "")
    refused("E0106", Generate, "x", [1])
    refused("E0106", Generate, "x", max_tokens=0)
    refused("E0101", Step, "a", [])
    refused("E0106", Step, "a", Op("t"), "b")
    refused("E0106", Validation, "t", None, "")
    refused("E0106", Context, "")
    refused("E0106", Context, "x", max_bytes=0)


def test_a_long_context_is_cut_between_characters():
    """What is over the limit is left out, and the planner is told so."""
    assert Context("aé", max_bytes=2).render() == "a\n[the rest is left out]"
    assert Context("aé", "T").render() == "T\n\naé"
