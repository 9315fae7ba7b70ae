"""Teams in process, and the validators of their strategies."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from perdure import Agent, AgentResult, OnTextMention, agent_tool
from perdure.core import events as ev
from perdure.testing import RunResult, StrategyViolation, expect, mock_run, validate_strategy
from tests.unit.testing.shop import MODEL, team

SAYS = {"a": "from a", "b": "from b", "c": "from c"}


def run(agent: Agent, **options: Any) -> RunResult:
    """A run whose agents say their names."""
    return mock_run(agent, "hi", script={**SAYS, **options.pop("script", {})}, **options)


TEAMS: dict[str, tuple[Agent, dict[str, Any], list[str]]] = {
    "sequential": (team("sequential", "a", "b", "c"), {}, ["a", "b", "c"]),
    "parallel": (team("parallel", "a", "b"), {}, ["a", "b"]),
    "round_robin": (team("round_robin", "a", "b", max_turns=3), {}, ["a", "b", "a"]),
    "random": (team("random", "a", "b", max_turns=2), {}, []),
    "router": (team("router", "a", "b", router=lambda prompt: "b" if prompt else "a"), {}, ["b"]),
    "manual": (
        team("manual", "a", "b"),
        {"approve": {"pick_agent": ["b", "a", "DONE"]}},
        ["b", "a"],
    ),
    "swarm": (
        team("swarm", "a", "b", handoffs=[OnTextMention(text="from a", target="b")]),
        {},
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("name", TEAMS)
def test_every_strategy_runs_and_keeps_to_itself(name: str):
    """Each strategy comes to its end in process, its agents run in order, and its validator agrees."""
    agent, options, order = TEAMS[name]
    result = run(agent, **options)
    expect(result).completed()
    ran = list(result.agents.values())
    assert ran[0] == "team"
    if order:
        assert ran[1:] == order
    validate_strategy(agent, result)


def test_a_handoff_and_an_agent_as_a_tool():
    """A supervisor's transfer is a handoff; an agent that is a tool is an execution of its own."""
    agent = team("handoff", "a", "b", model=MODEL)
    script = {"team": [{"tool_calls": [{"tool": "transfer_to_b", "arguments": {}}]}, "end"]}
    result = run(agent, script=script)
    expect(result).handoff_to("b").no_handoff_to("a").agent_ran("b", times=1).agent_did_not_run("a")
    validate_strategy(agent, result)
    helper = Agent("a", MODEL, instructions="Help.")
    boss = Agent("boss", MODEL, tools=[agent_tool(helper)])
    asked = run(
        boss, script={"boss": [{"tool_calls": [{"tool": "a", "arguments": {"request": "x"}}]}, "{result:a}"]}
    )
    expect(asked).output_contains("from a").agent_ran("a")


def test_the_events_of_the_whole_tree_are_in_the_order_of_cause():
    """What a child did stands before the end that its parent heard of."""
    result = run(team("sequential", "a", "b"))
    said = [result.agents[e.execution_id] for e in result.events if e.type == "done"]
    assert said == ["a", "b", "team"]


def _without(result: RunResult, kind: type, **fields: Any) -> RunResult:
    """The run as if the team had not recorded events of this kind (with these fields)."""
    assert result.tree is not None
    gone = [
        i
        for i, e in enumerate(result.tree.events)
        if isinstance(e, kind) and all(getattr(e, k) == v for k, v in fields.items())
    ]
    assert gone
    tree = replace(
        result.tree,
        records=[r for i, r in enumerate(result.tree.records) if i not in gone],
        events=[e for i, e in enumerate(result.tree.events) if i not in gone],
    )
    return replace(result, tree=tree)


def _swapped(result: RunResult, *agents: str) -> RunResult:
    """The run as if the team's children had been these."""
    assert result.tree is not None
    names = iter(agents)
    events = [
        msgspec.structs.replace(e, agent=next(names)) if isinstance(e, ev.ChildRequested) else e
        for e in result.tree.events
    ]
    return replace(result, tree=replace(result.tree, events=events))


def refused(agent: Agent, result: RunResult) -> str:
    """What the validator says."""
    with pytest.raises(StrategyViolation) as caught:
        validate_strategy(agent, result)
    return str(caught.value).splitlines()[0]


def test_what_a_strategy_does_not_do_is_a_violation():
    """Another order, a stranger, a missing member, a turn out of turn, a speaker that nobody chose."""
    sequential = team("sequential", "a", "b", "c")
    result = run(sequential)
    assert "ran as ['b', 'a', 'c']" in refused(sequential, _swapped(result, "b", "a", "c"))
    assert "x is no member" in refused(sequential, _swapped(result, "a", "x", "c"))
    assert "no gate closed" in refused(sequential, _without(result, ev.ChildRequested, agent="c"))
    assert "while a was at work" in refused(sequential, _without(result, ev.ChildCompleted))
    parallel = team("parallel", "a", "b")
    assert "not each of" in refused(parallel, _swapped(run(parallel), "a", "a"))
    in_turn = team("round_robin", "a", "b", max_turns=2)
    assert "turn 2 was a's, not b's" in refused(in_turn, _swapped(run(in_turn), "a", "a"))
    routed = team("router", "a", "b", router=lambda: "b")
    assert "nobody was chosen" in refused(routed, _without(run(routed), ev.AgentChosen))
    swarm = TEAMS["swarm"][0]
    assert "a followed itself" in refused(swarm, _swapped(run(swarm), "a", "a"))


def test_transitions_that_are_not_allowed_are_violations():
    """Who may follow whom is held to, and a team that keeps to it passes."""
    limited = team("round_robin", "a", "b", "c", max_turns=3, allowed_transitions={"a": ["c"], "c": ["a"]})
    result = run(limited)
    assert list(result.agents.values())[1:] == ["a", "c", "a"]
    validate_strategy(limited, result)
    assert "turn 2" in refused(limited, _swapped(result, "a", "b", "a"))
    drawn = team("random", "a", "b", max_turns=2, allowed_transitions={"a": ["b"], "b": ["a"]})
    assert run(drawn).is_success


def test_a_result_of_one_execution_cannot_be_validated():
    """A plain result does not know the rest of the tree, and says what to use."""
    plain = AgentResult(output="x", execution_id="x1")
    with pytest.raises(AssertionError, match="gather"):
        validate_strategy(team("parallel", "a", "b"), plain)
    with pytest.raises(AssertionError, match="gather"):
        expect(plain).agent_ran("a")
