"""crash_test: what survives passes, what does not is found, and the failure can be shown again."""

import re
from typing import Any

import pytest

from perdure import Agent, OnTextMention, ToolContext, tool, wait_for_message_tool
from perdure.core import events as ev
from perdure.core.errors import ClientError, DefinitionError
from perdure.core.model import ModelRef, ModelRequest, ModelSettings
from perdure.engine.ports import Commit
from perdure.testing import CrashTestFailure, call, calls, crash_test
from perdure.testing.crash_judge import Recorder, wrong_keys
from perdure.testing.ledger import ToolAttempt
from tests.unit.testing.shop import BUY, MODEL, charges, mails, shop, team


def test_a_tool_that_honours_its_key_survives_every_kill():
    """Every boundary is tried, calls are made again, and nothing is done twice."""
    report = crash_test(shop(), "Buy", script=BUY, effects=charges)
    assert report.effects == 2
    assert report.calls == 3
    assert len(report.points) == 2 * (2 * report.commits + report.calls)
    assert len(set(report.points)) == len(report.points)
    assert report.repeated > 0
    assert "none doubled" in str(report)
    assert report.result.output == "Done: charged B"


def test_a_tool_that_ignores_its_key_is_found_and_shown_again():
    """A mail that is sent twice is a failure whose message names the kill, and that kill alone shows it again."""
    script = [call("mail", to="ann"), "sent"]
    with pytest.raises(CrashTestFailure, match="the tools did") as caught:
        crash_test(shop(), script=script, effects=mails)
    found = re.search(r"only='([^']+)'", str(caught.value))
    assert found is not None
    with pytest.raises(CrashTestFailure, match=found[1]):
        crash_test(shop(), script=script, effects=mails, only=found[1])
    assert crash_test(shop(), script=script, effects=mails, only="process:after:1").points == (
        "process:after:1",
    )


def test_a_server_alone_may_die_under_any_tool():
    """A worker that lives on hands in what it has: not even a tool without a key does it twice."""
    report = crash_test(shop(), script=[call("mail", to="ann"), "sent"], effects=mails, kill="server")
    assert report.repeated == 0


def test_approvals_survive():
    """A decision is asked for once and kept."""
    asked: list[str] = []

    def decide(approval: Any) -> bool:
        asked.append(approval.approval_id)
        return True

    script = [call("refund", order="A", amount=5), "{result:refund}"]
    report = crash_test(shop(), script=script, approve=decide)
    assert len(asked) == 1 + len(report.points)


def test_messages_survive():
    """What people say is heard once."""
    agent = Agent("a", MODEL, tools=[wait_for_message_tool("listen", "Wait for the customer.")])
    script = [call("listen"), call("listen"), "{result:listen}"]
    crash_test(agent, script=script, messages=["one", "two"], kill="process")


TEAMS: dict[str, tuple[Agent, dict[str, Any]]] = {
    "sequential": (team("sequential", "a", "b"), {}),
    "parallel": (team("parallel", "a", "b"), {}),
    "round_robin": (team("round_robin", "a", "b", max_turns=3), {}),
    "router": (team("router", "a", "b", router=lambda prompt: "b" if prompt else "a"), {}),
    "manual": (team("manual", "a", "b"), {"approve": lambda a: "DONE" if a.step == "p2" else "b"}),
    "swarm": (team("swarm", "a", "b", handoffs=[OnTextMention(text="from a", target="b")]), {}),
    "handoff": (team("handoff", "a", "b", model=MODEL), {}),
}


@pytest.mark.parametrize("name", TEAMS)
def test_every_strategy_survives(name: str):
    """Teams of every strategy come to the same end wherever they are killed, and no child runs twice."""
    agent, options = TEAMS[name]
    script = {"team": [call("transfer_to_b"), "end"], "a": lambda _: "from a", "b": lambda _: "from b"}
    report = crash_test(agent, script=script, kill="process", **options)
    assert report.commits >= 5


def test_an_attempt_that_must_not_be_repeated_is_told_and_not_doubled():
    """A tool with `on_unknown="fail"` may end otherwise where it was cut off, and its effects are never more."""
    done: list[str] = []

    @tool(on_unknown="fail")
    def launch() -> str:
        """Launch."""
        done.append("launched")
        return "launched"

    agent = Agent("a", MODEL, tools=[launch])
    said = crash_test(agent, script=[call("launch"), "over"], effects=done)
    assert said.effects == 1


def test_an_agent_that_depends_on_its_attempt_is_found():
    """Another answer after a kill is another outcome."""

    @tool
    def attempt(context: ToolContext) -> int:
        """Which attempt this is."""
        return context.attempt

    agent = Agent("a", MODEL, tools=[attempt])
    with pytest.raises(CrashTestFailure, match=r"'output': '2'.*, and not as .*'output': '1'"):
        crash_test(agent, script=[call("attempt"), "{result:attempt}"])


def test_each_run_begins_anew():
    """Effects are cleared and `reset` is called before each run; a dict, a list or a set may hold the effects."""
    resets: list[int] = []
    seen: set[str] = set()

    @tool
    def put(context: ToolContext) -> str:
        """Put."""
        seen.add(context.idempotency_key)
        return "put"

    agent = Agent("a", MODEL, tools=[put])
    script = [calls(call("put"), call("put")), "ok"]
    report = crash_test(agent, script=script, effects=seen, reset=lambda: resets.append(1), kill="process")
    assert report.effects == 2
    assert len(resets) == len(report.points) + 1


def test_what_cannot_be_run_cannot_be_tested():
    """The undisturbed run must come to an end, and a point must be one."""
    with pytest.raises(ClientError):
        crash_test(shop(), script=[call("refund", order="A", amount=1), "x"])
    for wrong in ("somewhere", "process:before:x", "worker:before:1"):
        with pytest.raises(DefinitionError):
            crash_test(shop(), script=["x"], only=wrong)


def _attempt(step: str, epoch: int, key: str) -> ToolAttempt:
    return ToolAttempt("a", "t", "x1", step, epoch, key, {})


def test_work_that_is_repeated_after_its_record_is_seen():
    """E3, E4: a second record of a step, an attempt or a request after the record are each told."""
    run = Recorder(None)
    done = ev.ToolCompleted("t1.c0", 1, "x")
    run.committed(Commit("x1", 1, 0, (done,), b"", "running"))
    run.began(_attempt("t1.c0", 2, "k"))
    run.asking(ModelRequest("x1", "t1.c0", 1, ModelRef("a", "b"), "", [], (), ModelSettings()))
    run.committed(Commit("x1", 2, 0, (done,), b"", "running"))
    run.began(_attempt("t1.c1", 1, "k"))
    assert [each[:2] for each in run.wrong] == ["E4", "E4", "E3"]


def test_keys_that_change_or_are_shared_are_seen():
    """E6: one key for each call, and one call for each key."""
    changed = wrong_keys([_attempt("t1.c0", 1, "k1"), _attempt("t1.c0", 2, "k2")])
    shared = wrong_keys([_attempt("t1.c0", 1, "k"), _attempt("t1.c1", 1, "k")])
    assert len(changed) == len(shared) == 1
    assert not wrong_keys([_attempt("t1.c0", 1, "k"), _attempt("t1.c0", 2, "k"), _attempt("t1.c1", 1, "l")])
