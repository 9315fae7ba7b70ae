"""expect: what holds passes and chains, what does not says what was found."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure import Agent, AgentResult, Budget, EventType, RegexGuardrail, Status, TokenUsage
from perdure.testing import Expectation, RunResult, call, calls, expect, mock_run
from tests.unit.testing.shop import BUY, shop

REFUND = [call("refund", order="A", amount=5), "It is refunded: 555"]


@pytest.fixture(scope="module")
def bought() -> RunResult:
    """A run with three calls."""
    return mock_run(shop(), "Buy", script=BUY)


@pytest.fixture(scope="module")
def guarded() -> RunResult:
    """A run with an approval, a failed call and a guardrail that failed first."""
    agent = shop(guardrails=[RegexGuardrail(patterns=[r"\d"], name="digits")])
    script = [calls(*(REFUND[:1]), call("broken")), REFUND[1], "It is refunded"]  # type: ignore[arg-type]
    return mock_run(agent, script=script, approve=True)


def test_what_holds_can_be_chained(bought: RunResult):
    """Each expectation gives the chain back."""
    chain = (
        expect(bought)
        .completed()
        .status("COMPLETED")
        .no_errors()
        .used_tool("lookup", args={"order": "A"})
        .used_tool("charge", times=2)
        .did_not_use_tool("mail")
        .tool_call_order(["lookup", "charge", "charge"])
        .tools_used_exactly(["charge", "lookup", "charge"])
        .tool_result("lookup", {"order": "A", "paid": 30})
        .output_contains("done", case_sensitive=False)
        .output_matches(r"charged [AB]$")
        .output_equals("Done: charged B")
        .output_type(str)
        .events_contain(EventType.TOOL_CALL, tool_name="charge")
        .events_contain("error", expected=False)
        .event_sequence(["tool_call", EventType.TOOL_RESULT, "done"])
        .agent_ran("shop")
        .max_turns(3)
        .tokens_under(10_000)
        .cost_under(0.01)
    )
    assert isinstance(chain, Expectation)
    assert bought.execution_id in repr(chain)


def test_what_holds_of_people_and_guardrails(guarded: RunResult):
    """Decisions and verdicts are found; a tool that failed is an error even when the run is not."""
    expect(guarded).completed().approved("refund").guardrail_failed("digits").guardrail_passed("digits")
    with pytest.raises(AssertionError, match="it is broken"):
        expect(guarded).no_errors()


WRONG: list[tuple[Callable[[Expectation], Any], str]] = [
    (lambda e: e.failed(), "status failed"),
    (lambda e: e.used_tool("mail"), "a call of mail"),
    (lambda e: e.used_tool("lookup", args={"order": "Z"}), r"called with \{'order': 'Z'\}"),
    (lambda e: e.used_tool("charge", times=1), "1 calls of charge"),
    (lambda e: e.did_not_use_tool("charge"), "no call of charge"),
    (lambda e: e.tool_call_order(["charge", "lookup"]), "in the order"),
    (lambda e: e.tools_used_exactly(["charge"]), "exactly"),
    (lambda e: e.tool_result("lookup", 5), "lookup to give 5"),
    (lambda e: e.output_contains("done"), "'done' in the answer"),
    (lambda e: e.output_matches("^x"), "matches"),
    (lambda e: e.output_equals("x"), "the answer 'x'"),
    (lambda e: e.output_type(dict), "of type dict"),
    (lambda e: e.events_contain("tool_call", tool_name="mail"), "an event tool_call"),
    (lambda e: e.events_contain("done", expected=False), "no event done"),
    (lambda e: e.event_sequence(["done", "tool_call"]), "events in the order"),
    (lambda e: e.handoff_to("x"), "a handoff to x"),
    (lambda e: e.agent_ran("x"), "x to run"),
    (lambda e: e.agent_ran("shop", times=2), "2 times"),
    (lambda e: e.agent_did_not_run("shop"), "shop not to run"),
    (lambda e: e.guardrail_passed("g"), "the guardrail g to pass"),
    (lambda e: e.guardrail_failed("g"), "the guardrail g to fail"),
    (lambda e: e.approved("refund"), "refund to be approved"),
    (lambda e: e.rejected("refund"), "refund to be rejected"),
    (lambda e: e.max_turns(2), "at most 2 turns"),
    (lambda e: e.tokens_under(1), "fewer than 1 tokens"),
    (lambda e: e.cost_under(0), r"a cost under \$0"),
]


@pytest.mark.parametrize(("check", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_does_not_hold_says_what_happened(
    bought: RunResult, check: Callable[[Expectation], Any], said: str
):
    """The message has what was expected, what was found, and the events of the run."""
    with pytest.raises(AssertionError, match=said) as caught:
        check(expect(bought))
    assert "found:" in str(caught.value)
    assert "shop tool_call lookup(order='A')" in str(caught.value)


def test_failed_names_the_code():
    """A failure is expected by its code, and another one is told."""
    result = mock_run(shop(max_turns=1), script=[call("lookup", order="A"), "x"])
    expect(result).failed().failed("E0403")
    with pytest.raises(AssertionError, match="E0403"):
        expect(result).failed("E0404")
    with pytest.raises(AssertionError, match="E0403"):
        expect(result).completed()


def test_a_cost_is_under_a_limit_or_is_told():
    """The limit itself is too much, and the message has the cost."""
    result = AgentResult("hi", "x1", usage=TokenUsage(cost_usd=0.25))
    expect(result).cost_under(0.26)
    for limit in (0.25, 0.1, float("nan")):
        with pytest.raises(AssertionError, match=r"found: \$0\.250000"):
            expect(result).cost_under(limit)


def test_a_cost_that_is_not_known_is_never_under_a_limit():
    """A call of a model without a known price fails closed, and says so."""
    result = AgentResult("hi", "x1", usage=TokenUsage(1, 2, 3))
    with pytest.raises(AssertionError, match="no known price"):
        expect(result).cost_under(1_000)


def test_the_cost_of_a_run_is_by_its_models_prices():
    """An agent's own prices count, also for answers of a script; a model that nobody knows makes the cost unknown."""
    model = "openai/no-such-model"
    priced = Agent(
        "dear",
        model,
        budget=Budget(max_cost_usd=10, prices={model: {"input": 1.0, "output": 1.0}}),
    )
    result = mock_run(priced, "Hi", script=["ok"])
    assert result.usage.cost_usd == result.usage.total_tokens / 1_000_000 > 0
    expect(result).cost_under(0.01)
    unknown = mock_run(Agent("unknown", model), "Hi", script=["ok"])
    assert unknown.usage.cost_usd is None
    with pytest.raises(AssertionError, match="no known price"):
        expect(unknown).cost_under(0.01)


def test_a_plain_result_is_enough_for_most():
    """A result that came from anywhere can be looked at."""
    result = AgentResult({"a": 1}, "x1", Status.COMPLETED, messages=[{"role": "assistant"}])
    expect(result).completed().output_contains('"a": 1').output_type(dict).max_turns(1)
