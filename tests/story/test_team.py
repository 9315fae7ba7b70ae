"""A team outlives its server twice: one process began it, another approves on the root's id, a third sees it all."""

import asyncio
import json
from typing import Any

from perdure import AgentHandle
from tests.story.programs.cast import REPORT
from tests.story.stage import SOON_S, Process, Stage, until


def seen(follower: Process, kind: str, count: int = 1) -> bool:
    """Whether the follower has seen so many events of this type."""
    return sum(line["type"] == kind for line in follower.lines()) >= count


def test_a_team_goes_on_over_two_deaths_of_its_server(stage: Stage):
    """The stream of the whole tree has no gap and no duplicate; the approval is given to the root; one effect."""
    stage.start_server()
    starter = stage.program("team_starter")
    (root,) = until(starter.lines, "the team to be started")
    assert starter.ended() == 0, starter.said()
    follower = stage.program("follower", root)
    until(lambda: seen(follower, "handoff"), "the follower to be connected")
    stage.worker("bureau")  # only now: the first agent needs a tool before it says a word

    until(lambda: seen(follower, "token", 5), "the first agent's words")
    stage.server.kill()  # in mid-token of a child
    stage.start_server()
    until(lambda: seen(follower, "waiting"), "the second agent's question")
    stage.server.kill()  # while the root waits for a child that waits for a person
    stage.start_server()

    decider = stage.program("decider", root, "approve", json.dumps({"by": "ada"}))
    assert decider.ended() == 0, decider.said()
    (met,) = decider.lines()
    assert (met["status"], met["waiting"], "refused" in met) == ("waiting:child", True, False)
    assert (met["pending"]["name"], met["pending"]["agent"]) == ("refund", "cashier")
    assert follower.ended(SOON_S) == 0, follower.said()

    lines = follower.lines()
    check_result(lines)
    check_stream(stage, root, lines[:-1])
    effects = stage.ledger()
    assert [e["tool"] for e in effects] == ["refund"]
    stage.stop_server()
    asyncio.run(stage.checked())


def check_result(lines: list[dict[str, Any]]) -> None:
    """What the team and its agents came to."""
    assert lines[-1] == {
        "type": "result",
        "output": "The refund: refunded 4000",
        "sub_results": {"reporter": REPORT, "cashier": "The refund: refunded 4000"},
    }


def check_stream(stage: Stage, root: str, lines: list[dict[str, Any]]) -> None:
    """Each execution's events are those that are stored, once and in order; the order among them is cause and effect."""
    told = [line for line in lines if line["seq"]]
    executions = list(dict.fromkeys(line["execution"] for line in told))
    assert len(executions) == 3
    with stage.runtime() as runtime:
        for execution_id in executions:
            stored = AgentHandle(execution_id, runtime).events()
            own = [(t["seq"], t["type"], t["content"]) for t in told if t["execution"] == execution_id]
            assert own == [(e.seq, e.type, e.content) for e in stored]
    ends = [line["agent"] for line in told if line["type"] == "done"]
    assert ends == ["reporter", "cashier", "bureau"]
    assert told[0]["execution"] == told[-1]["execution"] == root

    words = [line for line in lines if line["type"] == "token" and line["agent"] == "reporter"]
    last = max(line["attempt"] for line in words)
    assert last > 1, "the server was not killed in mid-token"
    assert "".join(line["content"] for line in words if line["attempt"] == last) == REPORT
