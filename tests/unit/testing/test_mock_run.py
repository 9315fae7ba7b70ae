"""mock_run: the real engine, compiler and worker, in this process and on virtual time."""

import asyncio
import dataclasses
import time
from typing import Any

import pytest

from perdure import (
    Agent,
    EventType,
    Guardrail,
    LLMGuardrail,
    RegexGuardrail,
    human_tool,
    tool,
    wait_for_message_tool,
)
from perdure.core.errors import ClientError, DefinitionError, ModelError, PerdureError
from perdure.core.model import ModelRequest
from perdure.testing import Decision, MockModel, call, calls, mock_run, text
from tests.unit.testing.shop import BUY, MODEL, shop

RATE_LIMITED = ModelError("E0206", "Too many requests", retryable=True)


def test_the_script_is_played_and_tools_really_run():
    """Each model step takes the next entry, tools run for real, and the whole run comes back."""
    result = mock_run(shop(), "Buy", script=BUY)
    assert result.output == "Done: charged B"
    assert [c["name"] for c in result.tool_calls] == ["lookup", "charge", "charge"]
    assert result.events[-1].type == EventType.DONE
    assert [r.step for r in result.requests] == ["t1.m", "t2.m", "t3.m"]
    assert [a.tool for a in result.attempts] == ["lookup", "charge", "charge"]
    assert result.messages[0]["parts"][0]["text"] == "Buy"


def test_waits_take_no_real_time():
    """A tool that sleeps for an hour and a model that is tried again cost no real time."""

    @tool
    async def slow() -> str:
        """Take an hour."""
        await asyncio.sleep(3_600)
        return "at last"

    began = time.monotonic()
    result = mock_run(Agent("a", MODEL, tools=[slow]), script=[RATE_LIMITED, call("slow"), "{result:slow}"])
    assert result.output == "at last"
    assert result.elapsed_ms > 3_600_000
    assert time.monotonic() - began < 30


def test_an_error_in_the_script_is_one_attempt():
    """A retryable error is tried again with the next entry; a final one ends the execution."""
    assert mock_run(shop(), script=[RATE_LIMITED, RATE_LIMITED, "ok"]).output == "ok"
    failed = mock_run(shop(), script=[ModelError("E0204", "The provider says no")])
    assert failed.is_failed
    assert failed.error is not None
    assert failed.error.code == "E0204"


def test_a_script_that_runs_out_says_so():
    """The error names the agent, how many entries there are, and what was said last."""
    result = mock_run(shop(), script=[call("lookup", order="A")])
    assert result.error is not None
    assert result.error.code == "E0211"
    assert "'shop' has 1 entries" in str(result.error)


def test_functions_answer_from_the_request():
    """A function may stand for one entry or for all, see the request, and be a coroutine."""

    def echo(request: ModelRequest) -> str:
        return request.messages[-1].text.upper()

    async def later(request: ModelRequest) -> dict[str, Any]:
        await asyncio.sleep(60)
        return text(f"turn {request.step}")

    assert mock_run(shop(), "hello", script=echo).output == "HELLO"
    assert mock_run(shop(), "hello", script=[later]).output == "turn t1.m"
    wrong = mock_run(shop(), script=lambda _: 1 / 0)
    assert "ZeroDivisionError" in str(wrong.error)


def test_without_a_script_the_agents_own_model_answers():
    """A MockModel of the agent's, or one model for all; a real model is never called without a key."""
    assert mock_run(Agent("a", MockModel(["mine"]))).output == "mine"
    assert mock_run(shop(), "hello", model="mock/echo").output == "hello"
    assert mock_run(shop(), model=MockModel(["theirs"])).output == "theirs"
    missing = mock_run(Agent("a", "nowhere/model", instructions="Work."), script={"b": ["x"]})
    assert missing.error is not None
    assert "no script for 'a'" in missing.error.what


@pytest.mark.parametrize("wrong", [[1], 5, {"shop": [None]}])
def test_what_is_no_script_is_refused(wrong: Any):
    """Something else than a script is an error of the test, before anything runs."""
    with pytest.raises(DefinitionError) as caught:
        mock_run(shop(), script=wrong)
    assert caught.value.code == "E0106"


def test_fakes_stand_in_for_tools():
    """A value, a function with and without the context, and an exception."""
    script = [calls(call("lookup", order="A"), call("mail", to="x"), call("broken")), "ok"]

    def fake_mail(to: str, context: Any) -> str:
        return f"{to} {context.tool_name}"

    fakes = {"lookup": {"faked": True}, "shop.mail": fake_mail, "broken": PermissionError("closed")}
    result = mock_run(shop(), script=script, tools=fakes)
    found = {c["name"]: c for c in result.tool_calls}
    assert found["lookup"]["result"] == {"faked": True}
    assert found["mail"]["result"] == "x mail"
    assert "closed" in found["broken"]["error"]["what"]


def test_a_tool_from_elsewhere_needs_a_fake():
    """A tool whose function is not in this process is served by a fake, and without one the run says what it waits for."""

    @tool(external=True)
    def remote(x: int) -> int:
        """Elsewhere."""
        raise NotImplementedError

    agent = Agent("a", MODEL, tools=[remote])
    script = [call("remote", x=2), "{result:remote}"]
    assert mock_run(agent, script=script, tools={"remote": lambda x: x * 2}).output == "4"
    with pytest.raises(ClientError) as caught:
        mock_run(agent, script=script)
    assert caught.value.code == "E0705"
    assert "a.remote" in caught.value.why


def test_a_fake_for_nothing_is_refused():
    """A name that no agent has is a mistake in the test."""
    with pytest.raises(DefinitionError, match="'lokup'"):
        mock_run(shop(), script=["x"], tools={"lokup": 1})


REFUND = [call("refund", order="A", amount=5), "{result:refund}"]


@pytest.mark.parametrize(
    "policy",
    [
        True,
        {"refund": True},
        {"shop": True},
        {"*": True},
        {"refund": [True]},
        lambda approval: approval.arguments["amount"] == 5,
        Decision(arguments={"order": "A", "amount": 5}),
    ],
    ids=["all", "tool", "agent", "any", "list", "function", "decision"],
)
def test_a_policy_approves(policy: Any):
    """Whatever form a policy has, the call runs after it."""
    assert mock_run(shop(), script=REFUND, approve=policy).output == "5 for A"


def test_a_policy_rejects_and_edits():
    """A rejection reaches the agent with its reason; edited arguments are those that run."""
    rejected = mock_run(
        shop(), script=[REFUND[0], "No."], approve=Decision(approved=False, reason="too much")
    )
    assert rejected.tool_calls[0]["rejected"]
    assert rejected.tool_calls[0]["reason"] == "too much"
    edited = mock_run(shop(), script=REFUND, approve=Decision(arguments={"order": "A", "amount": 1}))
    assert edited.output == "1 for A"


def test_nobody_decides_unless_it_is_said():
    """Without a policy the run fails and names the call; a policy without an answer does the same."""
    for policy in (None, {"other": True}, {"refund": []}, lambda _: None, "yes"):
        with pytest.raises(ClientError, match="refund") as caught:
            mock_run(shop(), script=REFUND, approve=policy)
        assert caught.value.code == "E0705"


def test_a_question_is_answered_by_the_policy():
    """The answer of a question goes to the agent; a bare True is none."""
    agent = Agent("a", MODEL, tools=[human_tool("ask", "Ask a person.")])
    script = [call("ask", question="Which colour?"), "{result:ask.answer}"]
    assert mock_run(agent, script=script, approve={"ask": "blue"}).output == "blue"
    with pytest.raises(ClientError, match="answer"):
        mock_run(agent, script=script, approve=True)


def test_guardrails_run_for_real():
    """A pattern, a function and a judging model guard the answer, and their verdicts are events."""
    polite = Guardrail(lambda content: "please" in content, name="polite")
    digits = RegexGuardrail(patterns=[r"\d"], name="digits")
    judge = LLMGuardrail(model=MODEL, policy="Be kind.", name="kind")
    agent = Agent("a", MODEL, guardrails=[digits, polite, judge])
    script = {"a": ["call 555", "no", "please wait"], "judge:kind": [True]}
    result = mock_run(agent, script=script)
    assert result.output == "please wait"
    verdicts = [(e.guardrail_name, e.type) for e in result.events if e.guardrail_name]
    assert verdicts[0] == ("digits", EventType.GUARDRAIL_FAIL)
    assert ("polite", EventType.GUARDRAIL_FAIL) in verdicts
    assert verdicts[-1] == ("kind", EventType.GUARDRAIL_PASS)


def test_the_answer_has_its_type():
    """An output type comes back as its own type."""

    @dataclasses.dataclass
    class Weather:
        degrees: int

    result = mock_run(Agent("a", MODEL, output_type=Weather), script=[{"json": {"degrees": 3}}])
    assert result.output == Weather(3)


def test_context_and_session_reach_the_agent():
    """What stands beside the prompt is shown to the model."""
    result = mock_run(shop(), "hi", script=["ok"], context={"customer": "Ann"}, session_id="s1")
    assert "Ann" in result.requests[0].messages[0].text
    assert result.tree is not None
    assert result.tree.answer.session_id == "s1"


def test_it_works_inside_a_running_loop():
    """A test that is a coroutine may call it as well."""

    async def inside() -> Any:
        return mock_run(shop(), "x", script=["ok"]).output

    assert asyncio.run(inside()) == "ok"
    with pytest.raises(PerdureError):
        asyncio.run(_fails())


async def _fails() -> None:
    mock_run(shop(), script=REFUND)


def test_a_wrong_agent_is_refused_as_by_the_server():
    """The compiler is the real one."""
    with pytest.raises(DefinitionError):
        mock_run(Agent("t", agents=[Agent("x", MODEL, instructions="x")], strategy="router"), script=["x"])


def test_runs_are_the_same_each_time():
    """Ids, times and order are the same in every run."""
    first, second = (mock_run(shop(), script=BUY) for _ in range(2))
    assert first.execution_id == second.execution_id
    assert [(e.seq, e.at_ms, e.type) for e in first.events] == [
        (e.seq, e.at_ms, e.type) for e in second.events
    ]


def test_virtual_time_has_an_end():
    """A run that does not end in its virtual time says what it waits for."""

    @tool
    async def for_ever() -> str:
        """Never end."""
        await asyncio.sleep(10_000_000)
        return ""

    with pytest.raises(ClientError) as caught:
        mock_run(Agent("a", MODEL, tools=[for_ever]), script=[call("for_ever")], timeout=600)
    assert caught.value.code == "E0705"


LISTEN = [call("listen"), call("listen"), "{result:listen}"]


def listener() -> Agent:
    """An agent that waits for messages."""
    return Agent("a", MODEL, tools=[wait_for_message_tool("listen", "Wait for the customer.")])


def test_people_say_the_messages_that_it_waits_for():
    """Each wait gets the next message; when there is none left the run says so."""
    result = mock_run(listener(), script=LISTEN, messages=["hello", "and bye"])
    assert "and bye" in result.output
    with pytest.raises(ClientError) as caught:
        mock_run(listener(), script=LISTEN, messages=["hello"])
    assert "waiting:message" in caught.value.what
    assert "messages=" in caught.value.fix


def test_the_sum_of_a_long_conversation_has_a_script_of_its_own():
    """A conversation that is condensed asks under its own name, and the agent's script goes on where it was."""
    agent = Agent("a", MODEL, context_window_budget=1_100, tools=[tool(_long)])
    script = {
        "a": [*(call("_long", number=n) for n in range(6)), "the end"],
        "condense:a": "It was long.",
    }
    result = mock_run(agent, script=script)
    assert result.output == "the end"
    assert result.tree is not None
    assert any(record.event["kind"] == "condense_requested" for record in result.tree.records)


def _long(number: int) -> str:
    """Say much."""
    return f"{number} much " * 150
