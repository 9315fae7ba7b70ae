"""The plan of the strategy plan_execute: reading, order, references, texts."""

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.errors import ToolError
from perdure.core.model import ToolSpec
from perdure.core.plan_reading import MAX_ERRORS, read_plan
from perdure.core.plan_steps import (
    Generate,
    Operation,
    PlanCheck,
    PlanStep,
    StepPlan,
    ready,
    resolve,
    step_result,
)
from perdure.core.plan_texts import find_plan, plan_prompt, replan_prompt

TOOLS = {
    "get": {
        "type": "object",
        "properties": {"url": {"type": "string"}, "times": {"type": "integer"}},
        "required": ["url"],
        "additionalProperties": False,
    },
    "write": {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    },
    "tell": {"type": "object", "properties": {}},
}
GET = {"tool": "get", "args": {"url": "x"}}


def step(*depends_on: str, **more) -> dict:
    """A step with one good operation."""
    return {"operations": [GET], "depends_on": list(depends_on)} | more


def using(*references: str, **more) -> dict:
    """A step whose operations use these references."""
    return {"operations": [{"tool": "get", "args": {"url": {"$ref": r}}} for r in references]} | more


def read(raw) -> StepPlan:
    """The plan of JSON that is good."""
    plan, errors = read_plan(raw, TOOLS)
    assert errors == ()
    assert plan is not None
    return plan


def errors_of(*steps, **more) -> str:
    """What is wrong with the plan of these steps, joined."""
    plan, errors = read_plan({"steps": list(steps)} | more, TOOLS)
    assert plan is None
    assert all(error.endswith(".") for error in errors)
    return "\n".join(errors)


def test_a_plan_is_read_into_its_types():
    """Every key of the JSON has its field, and ids are given where there are none."""
    plan = read(
        {
            "steps": [
                step(),
                {
                    "id": "sum",
                    "depends_on": ["step_1", "step_1"],
                    "parallel": True,
                    "description": "adds up",
                    "operations": [
                        {"tool": "write", "args": {"rows": [{"$ref": "step_1.0"}]}},
                        {
                            "tool": "write",
                            "generate": {
                                "instructions": "sum up",
                                "output_schema": {"type": "object"},
                                "max_tokens": 99,
                                "context": {"$ref": "step_1"},
                            },
                        },
                    ],
                },
            ],
            "validation": [
                {"tool": "tell", "args": {"x": {"$ref": "sum"}}, "success_condition": "$.ok"},
                {"tool": "tell"},
            ],
            "on_success": [{"tool": "tell", "args": {}}],
            "on_failure": [GET],
        }
    )
    assert plan == StepPlan(
        (
            PlanStep("step_1", (Operation("get", {"url": "x"}),)),
            PlanStep(
                "sum",
                (
                    Operation("write", {"rows": [{"$ref": "step_1.0"}]}),
                    Operation("write", {}, Generate("sum up", {"type": "object"}, 99, {"$ref": "step_1"})),
                ),
                ("step_1",),
                True,
                "adds up",
            ),
        ),
        (PlanCheck("tell", {"x": {"$ref": "sum"}}, "$.ok"), PlanCheck("tell")),
        (Operation("tell"),),
        (Operation("get", {"url": "x"}),),
    )
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(plan)), StepPlan) == plan


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({}, "at least one step"),
        ({"steps": []}, "at least one step"),
        ({"steps": {}}, "at least one step"),
        ({"steps": [step()] * 201}, "201 steps"),
        ({"steps": [{"operations": [GET] * 51}]}, "51 operations"),
        ({"steps": [3]}, "Step 1 must be an object"),
        ({"steps": [{"operations": []}]}, "no operations"),
        ({"steps": [{}]}, "no operations"),
        ({"steps": [{"operations": "get"}]}, "'operations' that is no list"),
        ({"steps": [{"operations": [3]}]}, "must be an object with the key 'tool'"),
        ({"steps": [{"operations": [{"args": {}}]}]}, "must be an object with the key 'tool'"),
        ({"steps": [{"operations": [{"tool": "nope", "args": {}}]}]}, "calls 'nope', which is no tool. The tools are: get, tell, write"),
        ({"steps": [{"operations": [{"tool": "get", "args": []}]}]}, "'args' that are no object"),
        ({"steps": [{"operations": [{"tool": "get", "args": {"url": 3}}]}]}, "url: 3 is not of type 'string'"),
        ({"steps": [{"operations": [{"tool": "get"}]}]}, "'url' is a required property"),
        ({"steps": [{"operations": [GET | {"generate": {"instructions": "x"}}]}]}, "both 'args' and 'generate'"),
        ({"steps": [{"operations": [{"tool": "get", "generate": "x"}]}]}, "must be an object"),
        ({"steps": [{"operations": [{"tool": "get", "generate": {}}]}]}, "must have 'instructions'"),
        ({"steps": [{"operations": [{"tool": "get", "generate": {"instructions": " "}}]}]}, "must have 'instructions'"),
        ({"steps": [{"operations": [{"tool": "get", "generate": {"instructions": "x", "output_schema": 3}}]}]}, "'output_schema'"),
        ({"steps": [{"operations": [{"tool": "get", "generate": {"instructions": "x", "max_tokens": True}}]}]}, "'max_tokens' True"),
        ({"steps": [{"operations": [{"tool": "get", "generate": {"instructions": "x", "model": "y"}}]}]}, "key 'model'"),
        ({"steps": [step(id="a b")]}, "The id of step 1"),
        ({"steps": [step(id="a.b")]}, "The id of step 1"),
        ({"steps": [step(id=3)]}, "The id of step 1"),
        ({"steps": [step(id="a"), step(id="a")]}, "Two steps have the id 'a'"),
        ({"steps": [step(id="step_2"), step()]}, "Two steps have the id 'step_2'"),
        ({"steps": [step(parallel="yes")]}, "'parallel' 'yes'"),
        ({"steps": [step(depend_on=["x"])]}, "the key 'depend_on', which is not known"),
        ({"steps": [step() | {"depends_on": "x"}]}, "'depends_on' that is no list"),
        ({"steps": [step() | {"depends_on": [3]}]}, "something else than ids"),
        ({"steps": [step("b", id="a")]}, "'a' depends on 'b', which is no step"),
        ({"steps": [step()], "validations": []}, "The plan has the key 'validations'"),
        ({"steps": [step()], "validation": {}}, "'validation' that is no list"),
        ({"steps": [step()], "validation": [{"tool": "tell", "success_condition": "$ = 1"}]}, "cannot be read"),
        ({"steps": [step()], "validation": [{"tool": "tell", "success_condition": 3}]}, "no text"),
        ({"steps": [step()], "validation": [3]}, "Validation 1 must be an object"),
        ({"steps": [step()], "validation": [{"tool": "tell", "args": {"x": {"$ref": "b"}}}]}, "'b' is no step"),
        ({"steps": [step()], "on_success": [{"tool": "get", "args": {}}]}, "Operation 1 of on_success does not fit"),
        ({"steps": [step()], "on_failure": [{"tool": "nope"}]}, "Operation 1 of on_failure calls 'nope'"),
        ({"steps": [step()], "on_failure": [3]}, "Operation 1 of on_failure must be an object"),
        ({"steps": [{"operations": [{"tool": "tell", "args": {"x": "\ud800"}}]}]}, "not JSON"),
        ({"steps": [using("b")]}, "'b' is no step of the plan"),
        ({"steps": [using("a.x", id="a")]}, "to itself"),
        ({"steps": [using("b", id="a"), step(id="b")]}, "later step that it does not depend on: add 'b'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(raw, said: str):
    """Each kind of error is a sentence that names the place."""
    plan, errors = read_plan(raw, TOOLS)
    assert plan is None
    assert any(said in error for error in errors), errors


def test_all_errors_are_found_in_one_pass():
    """A plan with several errors gets all of them at once, and at most fifty."""
    said = errors_of({"operations": [{"tool": "a"}, {"tool": "b"}]}, step("x"), validation=[{"tool": "c"}])
    assert len(said.splitlines()) == 4
    _, errors = read_plan({"steps": [step(f"x{n}") for n in range(200)]}, TOOLS)
    assert len(errors) == MAX_ERRORS


def test_nesting_has_a_limit():
    """JSON nested over the limit is refused before it is read."""
    value: object = "x"
    for _ in range(5_000):
        value = [value]
    assert "nested over" in errors_of({"operations": [{"tool": "tell", "args": {"x": value}}]})


@pytest.mark.parametrize(
    ("steps", "circle"),
    [
        ([step("a", id="a")], "a -> a"),
        ([step("b", id="a"), step("a", id="b")], "a -> b -> a"),
        ([step(id="z"), step("c", id="a"), step("a", "z", id="b"), step("b", id="c")], "a -> c -> b -> a"),
        ([step("b", id="a"), using("a", id="b")], "a -> b -> a"),
    ],
)
def test_a_circle_is_named(steps: list, circle: str):
    """Steps that wait for each other are refused, and the circle is spelled out."""
    assert f"wait for each other: {circle}." in errors_of(*steps)


def test_a_long_chain_is_no_circle():
    """200 steps in a row, and many that share what they depend on, are read quickly."""
    start = time.perf_counter()
    chain = [step(*(f"s{m}" for m in range(max(0, n - 20), n)), id=f"s{n}") for n in range(200)]
    assert len(read({"steps": chain}).steps) == 200
    assert time.perf_counter() - start < 3


def test_a_reference_to_an_earlier_step_is_a_dependency():
    """A reference to an earlier step adds the dependency; one that is met through others does not."""
    plan = read({"steps": [step(id="a"), using("a.x", "a.y", id="b"), using("a", id="c", depends_on=["b"])]})
    assert [s.depends_on for s in plan.steps] == [(), ("a",), ("b", "a")]
    plan = read({"steps": [step(id="a"), step("a", id="b"), using("a", id="c", depends_on=["b"])]})
    assert plan.steps[2].depends_on == ("b",)


def test_a_reference_to_a_later_step_that_is_declared_is_fine():
    """The order in the list does not matter where the dependency is declared."""
    plan = read({"steps": [using("b", id="a", depends_on=["b"]), step(id="b")]})
    assert ready(plan, set(), set()) == [1]


def test_a_generated_call_may_refer_in_its_context():
    """References in the context of `generate` make dependencies as those in arguments."""
    plan = read({"steps": [step(id="a"), {"operations": [{"tool": "get", "generate": {"instructions": "x", "context": [{"$ref": "a"}]}}]}]})  # fmt: skip
    assert plan.steps[1].depends_on == ("a",)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"rows": [{"$ref": "a"}]}, ""),
        ({"rows": {"$ref": "a"}}, ""),
        ({"$ref": "a"}, ""),
        ({"rows": [{"$ref": "a"}, 3]}, "rows[1]: 3 is not of type 'string'"),
        ({"rows": []}, "rows: [] should be non-empty"),
        ({"rows": [{"$ref": "a", "x": 1}]}, "is not of type 'string'"),
    ],
)
def test_arguments_are_judged_where_they_are_known(args: dict, said: str):
    """What a reference will bring is not judged; all around it is."""
    _, errors = read_plan({"steps": [step(id="a"), {"operations": [{"tool": "write", "args": args}]}]}, TOOLS)
    assert (said in "".join(errors)) if said else errors == ()


def test_a_missing_argument_is_seen_beside_a_reference():
    """That another argument is unknown does not hide that one is missing or too much."""
    args = {"times": {"$ref": "a"}, "more": 1}
    said = errors_of(step(id="a"), {"operations": [{"tool": "get", "args": args}]})
    assert "'url' is a required property" in said
    assert "'more' was unexpected" in said


def test_steps_without_mutual_dependence_are_ready_together():
    """What may begin is what has not begun and waits for nothing that is not done."""
    plan = read({"steps": [step(id="a"), step(id="b"), step("a", "b", id="c"), step("a", id="d")]})
    assert ready(plan, set(), set()) == [0, 1]
    assert ready(plan, set(), {0}) == [1]
    assert ready(plan, {0}, {0, 1}) == [3]
    assert ready(plan, {0, 1}, {0, 1, 3}) == [2]
    assert ready(plan, {0, 1, 2, 3}, {0, 1, 2, 3}) == []


@given(st.data())
def test_every_plan_without_a_circle_runs_to_its_end(data: st.DataObject):
    """Whatever order steps end in, each runs once and after what it depends on."""
    count = data.draw(st.integers(1, 12))
    order = data.draw(st.permutations(range(count)))  # position in time -> index in the list
    when = {index: time for time, index in enumerate(order)}
    raw = []
    for index in range(count):
        earlier = [f"s{other}" for other in range(count) if when[other] < when[index]]
        raw.append(
            step(
                *(data.draw(st.lists(st.sampled_from(earlier), max_size=3)) if earlier else []),
                id=f"s{index}",
            )
        )
    plan = read({"steps": raw})
    done: set[int] = set()
    started: set[int] = set()
    while len(done) < count:
        for index in ready(plan, done, started):
            assert index not in started
            assert {f"s{n}" for n in done} >= set(plan.steps[index].depends_on)
            started.add(index)
        running = sorted(started - done)
        assert running, "the plan stands still"
        done.add(data.draw(st.sampled_from(running)))


def test_references_are_replaced_by_results():
    """A reference is a whole result or a place in it; nothing else changes, and results are not searched again."""
    results = {"a": {"rows": [{"name": "x"}], "0": "zero"}, "b": {"$ref": "a"}}
    args = {
        "all": {"$ref": "a"},
        "deep": [{"$ref": "a.rows.0.name"}],
        "key": {"$ref": "a.0"},
        "b": {"$ref": "b"},
        "n": 1,
    }
    assert resolve(args, results) == {
        "all": results["a"],
        "deep": ["x"],
        "key": "zero",
        "b": {"$ref": "a"},
        "n": 1,
    }
    assert args["deep"] == [{"$ref": "a.rows.0.name"}]
    assert resolve({"$ref": "a", "more": 1}, results) == {"$ref": "a", "more": 1}


@pytest.mark.parametrize("reference", ["c", "a.x", "a.rows.1", "a.rows.name", "a.n.x", "a."])
def test_a_reference_to_nowhere_is_an_error(reference: str):
    """A place that is not there fails the call and is never null."""
    with pytest.raises(ToolError) as caught:
        resolve({"x": {"$ref": reference}}, {"a": {"rows": [1], "n": None}})
    assert caught.value.code == "E0305"
    assert reference in caught.value.what


def test_the_result_of_a_step():
    """A parallel step's result is the list of all outputs, another's is the last."""
    assert step_result(PlanStep("a", (), parallel=True), [1, 2]) == [1, 2]
    assert step_result(PlanStep("a", ()), [1, 2]) == 2


PLAN = {"steps": [{"operations": [{"tool": "get", "args": {"url": "a } ``` { b"}}]}]}
BODY = json.dumps(PLAN)
OTHER = json.dumps({"steps": []})


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        f"  {BODY}\n",
        json.dumps(PLAN, indent=2),
        f"Here is the plan:\n```json\n{BODY}\n```\nGood luck!",
        f"```JSON\n{json.dumps(PLAN)}",
        f"First {OTHER} and then {BODY}.",
        f"{OTHER}\n{BODY}",
        f"```json\n{OTHER}\n```\nor better\n```json\n{BODY}\n```",
        f'I think {{curly}} "quotes" ... {BODY} }} }}',
        f'{{"plan": {BODY}}}',
        f'{{"a": {{"a": {BODY}',
        f"{BODY}\nThat has steps: 1 and {{}}",
    ],
)
def test_the_plan_is_found_in_the_text(text: str):
    """A plan is found alone, in a fence, and in prose; the last one counts."""
    assert find_plan(text) == PLAN


@pytest.mark.parametrize(
    "text",
    ["", "no plan", "{}", '{"steps": 3}', BODY[:-1], '["steps"]', '{"steps": [NaN]}', "{" * 100_000, '{"a":' * 100_000, "```json"],
)  # fmt: skip
def test_where_there_is_no_plan_none_is_found(text: str):
    """A text without a whole object with a list of steps has no plan."""
    assert find_plan(text) is None


@pytest.mark.parametrize("piece", ["{", '{"a":', '{"a":"', "```json", '{"steps":[', "{}", '{"a":{}},', "[{"])
def test_no_text_holds_the_search_up(piece: str):
    """1 MB of hostile text is searched in a second or less."""
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    find_plan(text)
    assert time.perf_counter() - start < 3  # the machine has other work


@given(st.text('{}[]":,`jsontep \\1', max_size=60))
def test_the_search_never_fails(text: str):
    """Searching any text gives an object with steps or nothing."""
    found = find_plan(text)
    assert found is None or isinstance(found["steps"], list)


def test_what_is_found_in_the_prompts_own_example_is_explained():
    """The planner's instructions name every tool with its schema, and are the same bytes for the same tools."""
    specs = [ToolSpec(name, f"does\n {name}", schema) for name, schema in TOOLS.items()]
    prompt = plan_prompt(specs)
    for name in TOOLS:
        assert f"- {name}: does {name}" in prompt
    assert '"required":["url"]' in prompt
    assert prompt == plan_prompt(specs)
    assert "At most 200 steps" in prompt


def test_a_planner_is_asked_again_with_the_errors():
    """The second question lists what was wrong, or that there was no plan."""
    assert "- A is wrong.\n- B is wrong.\n" in replan_prompt(["A is wrong.", "B is wrong."])
    assert "no JSON object" in replan_prompt([])
