"""The demonstration's ledger and what it counts."""

import msgspec

from perdure.cli import demo_agent, demo_report
from perdure.cli.demo_agent import Ledger
from perdure.cli.view import View
from perdure.core import events as ev
from tests.unit.cli import records as r


def test_an_effect_happens_once_per_key(tmp_path):
    """The ledger notes every attempt, and one effect for each key, as a payment service would."""
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.entries() == []
    for _ in range(3):
        ledger.started("refund", "k1")
    assert [ledger.effect("refund", key, {"amount": 1}) for key in ("k1", "k1", "k2")] == [True, False, True]
    whats = [(e["what"], e["key"]) for e in ledger.entries()]
    assert whats == [("started", "k1")] * 3 + [("effect", "k1"), ("effect", "k2")]


def test_half_a_line_is_not_read(tmp_path):
    """A line that is still being written does not count."""
    path = tmp_path / "ledger"
    Ledger(path).started("refund", "k1")
    with path.open("a") as file:
        file.write('{"what": "eff')
    assert len(Ledger(path).entries()) == 1


def test_calls_are_counted_by_key():
    """A call that was started twice and took effect once is good; two effects, or a result without one, are not."""
    view = View(r.ID)
    for record in r.records(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, r.LOOKUP_DONE):
        view.apply(record)
    started = {"what": "started", "tool": "lookup", "key": "ik_0"}
    effect = {"what": "effect", "tool": "lookup", "key": "ik_0"}
    (call,) = demo_report.count_calls([started, started, effect], view)
    assert (call.attempts, call.effects, call.recorded, call.doubled, call.untrue) == (2, 1, 1, False, False)
    (doubled,) = demo_report.count_calls([started, effect, started, effect], view)
    assert doubled.doubled
    (lost,) = demo_report.count_calls([started], view)
    assert lost.untrue


def test_steps_that_ran_again_are_found():
    """A recorded step that begins after the kill is named, one that had begun before is not."""
    events = r.records(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, r.LOOKUP_DONE)
    again = [
        *events,
        r.record(7, ev.ToolStarted("t1.c0", 2, "w2")),
        r.record(8, ev.ModelRequested("t2.m", 2)),
    ]
    assert demo_report.run_again(["t1.m", "t1.c0"], events, 6) == []
    assert demo_report.run_again(["t1.m", "t1.c0"], again, 6) == ["t1.c0"]


def test_a_report_is_good_only_when_all_is():
    """Doubled effects, results without effects, repeated steps, no kill or no end: each alone spoils it."""
    call = demo_report.Call("refund", "k", 2, 1, 1)
    good = demo_report.Report("x", "completed", "mock/support", "check_policy", 8, 21, ["t1.m"], [], [call])
    assert good.good
    for changes in (
        {"calls": [msgspec.structs.replace(call, effects=2)]},
        {"calls": [msgspec.structs.replace(call, effects=0)]},
        {"redone": ["t1.m"]},
        {"killed_in": None},
        {"status": "failed"},
    ):
        assert not msgspec.structs.replace(good, **changes).good
    free = msgspec.structs.replace(good, model="openai_compatible/free", killed_in=None)
    assert free.good, "a real model need not call a tool"


def test_the_agent_of_the_demo():
    """It has the three tools, of which the one that pays needs an approval, on the model that was asked for."""
    agent = demo_agent.support_agent("openai/gpt-5-mini", "")
    assert agent.model == "openai/gpt-5-mini"
    assert {t.name: t.approval_required for t in agent.tools} == {
        "lookup_order": False,
        "check_policy": False,
        "refund": True,
    }
    assert demo_agent.support_agent().model == "mock/support"
