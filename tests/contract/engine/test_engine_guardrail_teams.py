"""Guardrails of teams: on what a team is given, whatever its strategy, and on what it answers."""

from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.definition import AgentDefinition, OutputDefinition, ToolDefinition
from perdure.core.transcript import SUM_UP
from perdure.engine.journal.memory import MemoryJournal
from tests.contract.engine.engine_harness import Harness, call, decision, reply
from tests.contract.engine.guard_harness import WHY, check, guard, hold
from tests.contract.engine.team_harness import agent, cast, play, tree

NOTE = OutputDefinition(
    "Note", {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
)
ROUTE = '{"agent": "a", "final": true}'
TEAMS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "parallel": {},
    "router": {"router": agent("picker")},
    "round_robin": {"max_turns": 1},
    "random": {"max_turns": 1},
    "swarm": {},
    "manual": {"max_turns": 1},
}


@pytest.fixture
def m() -> Harness:
    """A harness over the memory journal."""
    return Harness(MemoryJournal)


def team(strategy: str, **fields: Any) -> AgentDefinition:
    """A team of `a` alone, without a model of its own; of `a` and `b` when *fields* say so."""
    given = {"agents": (agent("a"),), "strategy": strategy, **TEAMS[strategy], **fields}
    return AgentDefinition("team", given.pop("model", ""), **given)


async def to_the_end(h: Harness, execution_id: str, **functions: Any) -> Any:
    """Answer for the person of a manual team, and for the guardrail's function, until the team has ended."""
    view = await h.executions.get(execution_id)
    while view.status not in ("completed", "failed", "cancelled"):
        for row in await h.executions.approvals(execution_id, pending=True):
            answer = {"agent": "a"} if row.kind == "pick" else None
            await h.executions.decide(row.approval_id, decision("approved", answer=answer))
        for task in await h.tasks.poll("w", ["team.@guard.g"], 1, 20):
            await h.hand_in(task, check(task), worker="w")
        view = await h.executions.get(execution_id)
    return view


@pytest.mark.parametrize("kind", ["regex", "function"])
@pytest.mark.parametrize("strategy", TEAMS)
async def test_what_a_team_is_given_is_mended_before_any_agent_sees_it(m: Harness, strategy: str, kind: str):
    """In every strategy, whether the verdict comes at once or later: the first agent is shown the mended text."""
    model = await cast(m, a=["fine"], picker=[ROUTE])
    made = team(strategy, guardrails=(guard(kind, "agent input", "fix"),))
    execution_id = await play(m, made, "a bad prompt")
    assert (await to_the_end(m, execution_id)).output in ("fine", "[a]: fine")
    shown = [message.text for request in model.requests for message in request.messages]
    assert shown
    assert not any("bad" in text for text in shown)
    assert any("a good prompt" in text or "a [redacted] prompt" in text for text in shown)


@pytest.mark.parametrize("strategy", TEAMS)
async def test_what_a_team_is_given_stops_it(m: Harness, strategy: str):
    """No agent of it begins."""
    model = await cast(m, a=["fine"], picker=[ROUTE])
    made = team(strategy, guardrails=(guard("regex", "agent input", "raise"),))
    execution_id = await play(m, made, "a bad prompt")
    view = await m.ended(execution_id)
    assert view.error is not None
    assert (view.error["code"], view.finish_reason) == ("E0422", "guardrail")
    assert model.requests == []
    assert await m.found(execution_id, ev.ChildRequested) == []


@pytest.mark.parametrize("kind", ["regex", "function", "llm"])
async def test_a_teams_own_model_tries_again(m: Harness, kind: str):
    """The team's model is shown what its agents said and why that was not taken; its answer is judged like theirs."""
    model = await cast(m, a=["some"], b=["a bad answer"], team=["still bad", "fine"])
    made = AgentDefinition(
        "team",
        "mock/m",
        instructions="team.",
        agents=(agent("a"), agent("b")),
        strategy="sequential",
        guardrails=(guard(kind, "agent output", "retry"),),
    )
    execution_id = await play(m, made)
    assert (await to_the_end(m, execution_id)).output == "fine"
    first, second = model.shown_to("team")
    assert [SUM_UP in first.messages[-2].text, WHY in first.messages[-1].text] == [True, True]
    assert "[a]: some" in first.messages[-2].text
    assert second.messages[-2].text == "still bad"
    assert WHY in second.messages[-1].text
    assert len(await m.found(execution_id, ev.ChildRequested)) == 2
    actions = [d.action for d in await m.found(execution_id, ev.GuardDecided)]
    assert actions == ["retry", "retry", ""]
    hold(await m.records(execution_id))


async def test_a_team_without_a_model_cannot_try_again(m: Harness):
    """The agents are not all run again: the execution fails, and says why."""
    model = await cast(m, a=["a bad answer"])
    execution_id = await play(m, team("sequential", guardrails=(guard("regex", "agent output", "retry"),)))
    view = await m.ended(execution_id)
    assert view.error is not None
    assert (view.error["code"], view.error["why"]) == ("E0422", WHY)
    assert len(model.requests) == 1


@pytest.mark.parametrize("strategy", TEAMS)
@pytest.mark.parametrize(("kind", "on_fail"), [("regex", "fix"), ("function", "fix"), ("regex", "human")])
async def test_what_a_team_answers_is_judged(m: Harness, strategy: str, kind: str, on_fail: str):
    """Once, at its end, in every strategy: mended, or let pass by a person."""
    await cast(m, a=["a bad answer"], picker=[ROUTE])
    execution_id = await play(m, team(strategy, guardrails=(guard(kind, "agent output", on_fail),)))
    view = await to_the_end(m, execution_id)
    said = str(view.output).removeprefix("[a]: ")
    assert said in (("a bad answer",) if on_fail == "human" else ("a good answer", "a [redacted] answer"))
    assert len(await m.found(execution_id, ev.GuardDecided)) == 1


async def test_a_guardrail_of_a_member_fails_the_team(m: Harness):
    """The team's error names the member, and has the guardrail's words."""
    await cast(m, a=["a bad answer"])
    made = team("sequential", agents=(agent("a", guardrails=(guard("regex", "agent output", "raise"),)),))
    view = await m.ended(await play(m, made))
    assert view.error is not None
    assert view.error["code"] == "E0418"
    assert "a failed" in view.error["what"]
    assert "E0422" in view.error["why"]


async def test_a_guardrail_of_a_member_tries_again_within_the_team(m: Harness):
    """The member's own model answers again; the next stage is given only what passed."""
    model = await cast(m, a=["a bad answer", "some"], b=["fine"])
    first = agent("a", guardrails=(guard("regex", "agent output", "retry"),))
    execution_id = await play(m, team("sequential", agents=(first, agent("b"))))
    assert (await m.ended(execution_id)).output == "fine"
    (seen,) = model.shown_to("b")
    assert "some" in seen.messages[-1].text
    assert "a bad answer" not in seen.messages[-1].text
    assert len(await tree(m, execution_id)) > len(await m.records(execution_id))


async def test_the_typed_answer_of_a_team_is_mended(m: Harness):
    """What takes the place of the last agent's answer is held to the team's output type."""
    await cast(m, a=['{"text": "bad"}'])
    made = team("sequential", output=NOTE, guardrails=(guard("regex", "agent output", "fix"),))
    assert (await m.ended(await play(m, made))).output == {"text": "[redacted]"}


async def test_a_guardrail_of_a_tool_that_is_an_agent(m: Harness):
    """Its input is judged before the child begins, its answer before the caller's model is shown it."""
    asked = reply(call("ask", request="a bad one"))
    model = await cast(m, lead=[asked, reply(call("ask", "d", request="one")), "fine"], a=["bad news"])
    guards = (
        guard("regex", "tool input", "retry"),
        guard("regex", "tool output", "fix", name="h"),
    )
    tool = ToolDefinition("ask", kind="agent", agent=agent("a"), guardrails=guards)
    execution_id = await play(m, agent("lead", tools=(tool,)))
    assert (await m.ended(execution_id)).output == "fine"
    assert len(model.shown_to("a")) == 1
    told = [r.messages[-1].parts[0].result for r in model.shown_to("lead")[1:]]
    assert told[0]["code"] == "E0314"
    assert told[1] == "[redacted] news"
