"""Evaluations and judges."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from perdure.core.errors import ModelError
from perdure.testing import (
    CorrectnessEval,
    EvalCase,
    LLMJudge,
    MockModel,
    assert_output_satisfies,
    call,
    mock_run,
)
from tests.unit.testing.shop import BUY, shop, team


def grade(score: Any, reason: str = "because") -> MockModel:
    """A judge's model that always says this."""
    return MockModel([{"json": {"score": score, "reason": reason}}], repeat_last=True)


def case(name: str, **options: Any) -> EvalCase:
    """A case on the shop, with its script."""
    return EvalCase(name, shop(), "Buy", **({"script": BUY} | options))


def test_a_case_checks_all_that_it_says():
    """A case that is met passes; one that is not says everything that was wrong."""
    good = case(
        "good",
        expect_tools=["lookup"],
        expect_tools_not_used=["mail"],
        expect_tool_args={"lookup": {"order": "A"}},
        expect_output_contains=["Done", "charged"],
        expect_output_matches="^Done",
        custom_assertions=[lambda result: len(result.tool_calls) == 3],
        tags=["shop"],
    )
    bad = case(
        "bad",
        expect_tools=["mail"],
        expect_output_contains="never",
        expect_handoff_to="x",
        custom_assertions=[lambda _: False, lambda _: 1 / 0],
    )
    suite = CorrectnessEval().run([good, bad])
    assert (suite.pass_count, suite.fail_count, suite.total, suite.all_passed) == (1, 1, 2, False)
    (failed,) = suite.failed_cases()
    assert failed.name == "bad"
    whole = "\n".join(failed.failures)
    for part in ("a call of mail", "'never'", "handoff to x", "gave False", "ZeroDivisionError"):
        assert part in whole
    assert CorrectnessEval().run([good, bad], tags=["shop"]).all_passed
    assert not CorrectnessEval().run([good], tags=["other"]).all_passed, "no case is no success"


def test_a_team_must_keep_to_its_strategy():
    """The orchestration of a team is validated by itself."""
    agent = team("sequential", "a", "b")
    suite = CorrectnessEval().run([EvalCase("team", agent, script={"a": ["1"], "b": ["2"]})])
    assert suite.all_passed


def test_repeats_and_the_rate_that_is_enough():
    """A case is run as often as it says, and passes with the share of its runs that it asks for."""
    told = iter(["yes", "no", "yes", "yes"])
    flaky = case(
        "flaky", script=lambda _: next(told), expect_output_contains="yes", repeats=4, min_pass_rate=0.75
    )
    (result,) = CorrectnessEval().run([flaky]).cases
    assert result.pass_rate == 0.75
    assert result.passed
    strict = case("strict", script=["no"], expect_output_contains="yes")
    assert not CorrectnessEval().run([strict], repeats=2).all_passed


def test_a_run_that_does_not_end_is_a_failure():
    """A case whose agent waits for nobody fails with the reason, and the others go on."""
    stuck = case("stuck", script=[call("refund", order="A", amount=1), "x"])
    suite = CorrectnessEval().run([stuck, case("good")])
    assert suite.pass_count == 1
    assert "E0705" in suite.failed_cases()[0].failures[0]


def test_judges_grade_the_answer():
    """A score under the threshold fails the case, with the judge's reason; the table has the mean."""
    kind = LLMJudge(grade(0.9), "It is kind.")
    strict = LLMJudge(grade(0.4, "too short"), "It is long.", threshold=0.5)
    suite = CorrectnessEval().run([case("kind", judges=[kind]), case("long", judges=[kind, strict])])
    assert [c.passed for c in suite.cases] == [True, False]
    assert suite.cases[1].score == pytest.approx(0.65)
    assert "judged 0.40: It is long. (too short)" in suite.cases[1].failures[0]


@pytest.mark.parametrize(
    "said", ["not JSON", {"json": {"score": 7, "reason": "x"}}, {"json": {"score": "1"}}]
)
def test_a_judge_that_cannot_be_read_has_not_passed(said: Any):
    """E8: anything but a clear grade is a no."""
    judgement = LLMJudge(MockModel([said]), "Good.").judge("answer")
    assert not judgement.passed
    assert judgement.score == 0
    assert "cannot be read" in judgement.reason


def test_a_judge_that_fails_fails_the_case():
    """A model that cannot be called is not a yes either; one that fails for a moment is asked again."""
    broken = LLMJudge(MockModel([{"text": "x", "fail": {"code": "E0205", "times": 9}}]), "Good.")
    suite = CorrectnessEval().run([case("judged", judges=[broken])])
    assert "the judge failed" in suite.cases[0].failures[0]
    with pytest.raises(ModelError):
        broken.judge("x")
    moment = {"json": {"score": 1, "reason": "x"}, "fail": {"code": "E0206", "times": 1, "retry_after_ms": 1}}
    assert LLMJudge(MockModel([moment]), "Good.").judge("x").passed


def test_an_answer_can_be_asserted_by_a_judge():
    """`assert_output_satisfies` gives the judgement, or raises with score and reason; in a running loop too."""
    result = mock_run(shop(), "Buy", script=BUY)
    assert assert_output_satisfies(result, "It is done.", model=grade(1)).score == 1
    with pytest.raises(AssertionError, match=r"0\.20 of 0\.70"):
        assert_output_satisfies(result, "It is a poem.", model=grade(0.2))

    async def inside() -> bool:
        return LLMJudge(grade(1), "Good.").judge("x").passed

    assert asyncio.run(inside())


def test_the_report_is_a_table_and_json(tmp_path: Path):
    """The summary has a line for each case; the JSON has all of it."""
    suite = CorrectnessEval().run([case("first"), case("second", expect_tools=["mail"])])
    out = io.StringIO()
    suite.print_summary(out)
    assert "1 of 2 cases passed" in out.getvalue()
    assert "FAILED" in out.getvalue()
    written = json.loads(suite.to_json(tmp_path / "report.json"))
    assert written == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["cases"][1]["runs"][0]["failures"]
    assert written["fail_count"] == 1
