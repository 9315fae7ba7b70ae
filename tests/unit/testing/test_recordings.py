"""record and replay: a run as a file, run again on the agent as it is now."""

import json
from pathlib import Path
from typing import Any

import pytest

from perdure import Agent, wait_for_message_tool
from perdure import tool as make_tool
from perdure.core.errors import ClientError, ModelError
from perdure.core.messages import MediaPart
from perdure.testing import Recording, RunResult, call, calls, expect, mock_run, record, replay
from tests.unit.testing.shop import BUY, MODEL, charges, lookup, mail, mails, shop, team

EVERYTHING = [
    calls(call("lookup", order="A"), call("broken"), call("nothing")),
    calls(call("refund", order="A", amount=5), call("mail", to="ann")),
    "Done: {result:refund}",
]


def once(agent: Agent, script: Any, **options: Any) -> RunResult:
    """A run to be recorded."""
    return mock_run(agent, "Do it", script=script, **options)


def test_a_replay_is_the_same_run_and_touches_nothing(tmp_path: Path):
    """Answers, results, errors and decisions come from the file: no tool runs, no model and no person is asked."""
    record(once(shop(), EVERYTHING, approve=True), tmp_path / "run.jsonl")
    mails.clear()
    report = replay(tmp_path / "run.jsonl", shop())
    report.assert_same()
    assert report.same
    assert not report.plan_changed
    assert str(report) == "the same run"
    assert not mails
    assert report.result is not None
    expect(report.result).completed().output_contains("Done: 5 for A").approved("refund")


def test_a_rejection_and_shared_state_are_replayed(tmp_path: Path):
    """What a person refused is refused again; what a tool put into the shared state is there again."""
    from_state = [call("lookup", order="A"), call("refund", order="A", amount=5), "No."]
    record(once(shop(), from_state, approve=False), tmp_path / "run.jsonl")
    report = replay(tmp_path / "run.jsonl", shop())
    report.assert_same()
    assert report.result is not None
    expect(report.result).rejected("refund")
    assert report.result.tree is not None
    states = [getattr(e, "state", None) for e in report.result.tree.events]
    assert {"seen": "A"} in states


def test_a_whole_team_is_replayed(tmp_path: Path):
    """Child executions are found by their place, parallel ones too."""
    for strategy in ("sequential", "parallel"):
        agent = team(strategy, "a", "b")
        record(once(agent, {"a": ["1"], "b": ["2"]}), tmp_path / "run.jsonl")
        replay(tmp_path / "run.jsonl", agent).assert_same()
        assert set(Recording.load(tmp_path / "run.jsonl").nodes) == {"", "c1", "c2"}


def test_the_first_divergence_is_named(tmp_path: Path):
    """An agent that was changed goes another way: where, what was recorded, what is now, and the other answer."""
    record(once(shop(), BUY), tmp_path / "run.jsonl")
    report = replay(tmp_path / "run.jsonl", shop(max_turns=2))
    assert not report.same
    assert report.plan_changed
    assert report.first is not None
    assert "Done" in str(report.first.recorded)
    assert "max_turns" in str(report.first.now)
    assert "-Done: charged B" in report.diff
    with pytest.raises(AssertionError, match="another run: at moment"):
        report.assert_same()


def test_another_prompt_of_the_agents_alone_is_no_divergence(tmp_path: Path):
    """Other instructions are another plan, and the recorded answers stay what they are."""
    record(once(shop(), BUY), tmp_path / "run.jsonl")
    report = replay(tmp_path / "run.jsonl", shop(instructions="Be brief."))
    assert report.same
    assert str(report) == "the same run of another plan"


def test_another_model_gets_its_results_from_the_recording(tmp_path: Path):
    """A live model may call in another order: a result is found by its arguments, and one that is not there is told."""
    record(once(shop(), EVERYTHING, approve=True), tmp_path / "run.jsonl")
    mails.clear()
    script = [call("mail", to="ann"), call("lookup", order="A"), call("lookup", order="B"), "Other."]
    report = replay(tmp_path / "run.jsonl", shop(), script=script)
    assert report.missing == ("the result of lookup(order='B') at t3.c0",)
    assert not mails
    assert report.result is not None
    results = [c.get("result") for c in report.result.tool_calls]
    assert results == ["sent", {"order": "A", "paid": 30}, None]
    assert "not in the recording" in str(report)


def test_tools_run_for_real_only_when_they_are_named(tmp_path: Path):
    """`live_tools` run, `tools` stand in, all others come from the recording."""
    record(once(shop(), [call("mail", to="ann"), call("lookup", order="A"), "ok"]), tmp_path / "run.jsonl")
    mails.clear()
    report = replay(tmp_path / "run.jsonl", shop(), live_tools=["mail"], tools={"lookup": "other"})
    assert mails == ["ann"]
    assert report.first is not None
    assert "other" in str(report.first.now)


def test_a_decision_that_was_not_recorded_is_missing(tmp_path: Path):
    """A call that waits now and did not then is told, and decided by the policy that is given, or the run fails."""
    plain = Agent("shop", MODEL, tools=[lookup, mail])
    record(once(plain, [call("mail", to="x"), "ok"]), tmp_path / "run.jsonl")
    strict = Agent("shop", MODEL, tools=[lookup, _asking(mail)])
    undecided = replay(tmp_path / "run.jsonl", strict)
    assert undecided.error is not None
    assert undecided.error.code == "E0705"
    assert undecided.missing == ("the decision on mail at t1.c0",)
    assert "it did not end" in str(undecided)
    decided = replay(tmp_path / "run.jsonl", strict, approve={"mail": True})
    assert not decided.same
    assert decided.result is not None
    assert decided.result.is_success


def _asking(tool: Any) -> Any:
    return make_tool(approval_required=True, name="mail")(tool.func)


def test_an_error_of_the_model_is_replayed(tmp_path: Path):
    """A run that failed is a recording like any other."""
    record(once(shop(), [ModelError("E0204", "The provider says no")]), tmp_path / "run.jsonl")
    report = replay(tmp_path / "run.jsonl", shop())
    report.assert_same()
    assert report.result is not None
    expect(report.result).failed("E0204")


def test_media_and_context_are_given_again(tmp_path: Path):
    """What stood beside the prompt is part of the recording."""
    picture = MediaPart("image/png", url="https://example.com/a.png")
    record(once(shop(), ["ok"], media=[picture], context={"a": 1}), tmp_path / "run.jsonl")
    replay(tmp_path / "run.jsonl", shop()).assert_same()


def test_what_was_said_meanwhile_is_said_again(tmp_path: Path):
    """Messages that the agent waited for are part of the recording."""
    agent = Agent("a", MODEL, tools=[wait_for_message_tool("listen", "Wait for the customer.")])
    record(once(agent, [call("listen"), "{result:listen}"], messages=["hello"]), tmp_path / "run.jsonl")
    replay(tmp_path / "run.jsonl", agent).assert_same()


def test_the_same_run_gives_the_same_file(tmp_path: Path):
    """A recording can be kept under version control: it changes only when the run does."""
    charges.clear()
    one = record(once(shop(), BUY), tmp_path / "1.jsonl")
    record(once(shop(), BUY), tmp_path / "2.jsonl")
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert one.agent == "shop"
    assert Recording.load(tmp_path / "1.jsonl").tree == one.tree


def _header(path: Path, **changes: Any) -> None:
    first, _, body = path.read_text(encoding="utf-8").partition("\n")
    path.write_text(json.dumps(json.loads(first) | changes) + "\n" + body, encoding="utf-8")


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path):
    """Absent, something else, changed, newer: E0715 says which."""
    path = tmp_path / "run.jsonl"
    whys = {}

    def refused() -> str:
        with pytest.raises(ClientError) as caught:
            replay(path, shop())
        assert caught.value.code == "E0715"
        return caught.value.why

    whys["absent"] = refused()
    path.write_text("not JSON")
    whys["other"] = refused()
    path.write_text("{}\n")
    whys["no header"] = refused()
    record(once(shop(), ["ok"]), path)
    _header(path, perdure_recording=99)
    whys["newer"] = refused()
    record(once(shop(), ["ok"]), path)
    path.write_text(path.read_text(encoding="utf-8").replace('"ok"', '"no"'), encoding="utf-8")
    whys["changed"] = refused()
    assert "99" in whys["newer"]
    assert "SHA-256" in whys["changed"]
    assert "header" in whys["no header"]
