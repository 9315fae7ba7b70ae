"""The reduction of an event stream to what a reader sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.view import View
from perdure.core import events as ev
from tests.unit.cli import records as r


def view_of(*events) -> View:
    """The view of these events."""
    view = View(r.ID)
    for record in r.records(*events):
        view.apply(record)
    return view


def test_every_kind_of_event_is_known():
    """The hand-made records cover every kind, and the view knows them all."""
    kinds = {type(e) for e in r.ALL_KINDS}
    assert kinds == set(ev.AnyEvent.__args__)
    assert view_of(*r.ALL_KINDS).unknown == 0


def test_a_whole_run():
    """Turns, tools, usage, answer and times are where a reader looks for them."""
    view = view_of(
        r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.QUESTION, r.LOOKUP_STARTED, r.LOOKUP_DONE,
        r.APPROVED, r.REFUND, r.REFUND_STARTED, r.REFUND_DONE, r.COMPLETED,
    )  # fmt: skip
    assert (view.agent, view.prompt, view.started_by) == ("support", "Refund A-1001", "local")
    assert (view.status, view.output, view.finish_reason) == ("completed", "Done.", "stop")
    assert view.usage.total_tokens == 1_100
    assert [(n.kind, n.name, n.state) for n in view.nodes] == [
        ("model", "mock", "done"), ("tool", "lookup", "done"), ("tool", "refund", "done"),
    ]  # fmt: skip
    model, lookup, refund = view.nodes
    assert (model.text.text, model.reasoning.text) == ("Let me see.", "hm")
    assert (lookup.result, lookup.worker, lookup.key, lookup.attempts) == ({"found": True}, "w1", "ik_0", 1)
    assert lookup.ended_ms - lookup.began_ms == 3_000
    assert refund.arguments == {"amount": 20}
    assert refund.approvals[0].edited
    assert (refund.approvals[0].by, refund.approvals[0].decision) == ("ada", "approved")
    assert view.ended_ms == r.T0 + 12_000
    assert view.steps == 3


def test_status_follows_what_is_pending():
    """The status is what the execution waits for, in the server's words."""
    steps = [
        (r.STARTED, "running"),
        (r.ASKED, "running"),
        (r.CALLS, "running"),
        (r.LOOKUP, "waiting:worker"),
        (r.QUESTION, "waiting:worker"),
        (r.LOOKUP_STARTED, "running"),
        (ev.ToolFailed("t1.c0", 1, r.ERROR, r.T0 + 90_000), "waiting:timer"),
        (ev.TimerFired("t1.c0", r.T0 + 90_000), "waiting:worker"),
        (ev.ToolStarted("t1.c0", 2, "w"), "running"),
        (ev.ToolCompleted("t1.c0", 2, 1), "waiting:approval"),
        (ev.ExecutionPaused("ada", "lunch"), "paused"),
        (ev.ExecutionResumed("ada"), "waiting:approval"),
        (ev.ExecutionQuarantined(r.ERROR), "quarantined"),
        (ev.ExecutionResumed("ada"), "waiting:approval"),
        (r.REJECTED, "running"),
        (ev.ExecutionCancelled("ada", "enough"), "cancelled"),
    ]
    view = View(r.ID)
    for seq, (event, status) in enumerate(steps, 1):
        view.apply(r.record(seq, event))
        assert view.status == status, event


def test_the_status_of_a_team_follows_its_agents():
    """A team waits for its agents, for a person, or for a worker that runs a function, in the server's words."""
    steps = [
        (r.TEAM, "running"),
        (ev.FunctionRequested("r1", "@router", "paper", {}, "ik"), "waiting:worker"),
        (ev.ToolStarted("r1", 1, "w"), "running"),
        (ev.ToolCompleted("r1", 1, {"agent": "writer"}), "running"),
        (r.CHOSEN, "running"),
        (r.CHILD, "waiting:child"),
        (r.CHILD_DONE, "running"),
        (
            ev.ApprovalRequested("p2", "", "pick_agent", {}, "a1", "h", asks="pick", answer_schema={}),
            "waiting:approval",
        ),
        (
            ev.ApprovalDecided("p2", "a1", "approved", "ann", "cli", "h", answer={"agent": "critic"}),
            "running",
        ),
        (ev.ChildRequested("c2", "x2", "critic", r.TEAM.input), "waiting:child"),
        (ev.ChildFailed("c2", r.ERROR), "running"),
        (ev.AgentChosen("paper", "synthesis"), "running"),
        (ev.ModelRequested("t1.m", 1), "running"),
    ]
    view = View(r.ID)
    for seq, (event, status) in enumerate(steps, 1):
        view.apply(r.record(seq, event))
        assert view.status == status, event
    assert [t.number for t in view.turns] == [0, 1]
    assert [(n.kind, n.name, n.state) for n in view.nodes] == [
        ("function", "@router", "done"),
        ("agent", "writer", "done"),
        ("tool", "pick_agent", "done"),
        ("agent", "critic", "failed"),
        ("model", "model", "running"),
    ]
    assert view.node("p2").approvals[0].answer == {"agent": "critic"}
    assert view.node("c1").child_id == "x01child"


def test_an_approval_is_open_until_it_is_decided():
    """Only the undecided question is offered, with the hash that binds the decision."""
    view = view_of(r.STARTED, r.ASKED, r.CALLS, r.QUESTION)
    (node,) = view.approvals
    assert (node.open_approval.approval_id, node.open_approval.effect_hash) == ("a1", "h1")
    view.apply(r.record(5, r.REJECTED))
    assert view.approvals == []
    assert (node.state, node.approvals[0].reason) == ("rejected", "too much")


def test_nothing_is_asked_of_an_execution_that_has_ended():
    """A question that was open when the execution was cancelled is not offered."""
    view = view_of(r.STARTED, r.ASKED, r.CALLS, r.QUESTION, ev.ExecutionCancelled("ada"))
    assert view.approvals == []


def test_a_lost_attempt_may_ask_a_person():
    """With the policy `ask` the step comes back as a question that names the unknown attempt."""
    view = view_of(
        r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED,
        ev.ToolLost("t1.c0", 1, "silent", "ask"),
        ev.ApprovalRequested("t1.c0", "c0", "lookup", {"id": 1}, "a9", "h", unknown_epoch=1),
        ev.ApprovalDecided("t1.c0", "a9", "approved", "ada", "cli", "h"),
        ev.ToolStarted("t1.c0", 2, "w2"),
    )  # fmt: skip
    node = view.node("t1.c0")
    assert (node.lost, node.attempts, node.state, node.approvals[0].unknown_epoch) == (1, 2, "running", 1)


def test_a_lost_attempt_may_wait_for_the_next():
    """After several losses the step says when it is tried again, and no longer when it is."""
    lost = ev.ToolLost("t1.c0", 1, "silent", retry_at_ms=r.T0 + 60_000)
    view = view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, lost)
    node = view.node("t1.c0")
    assert (node.lost, node.state, node.retry_at_ms, node.error) == (1, "retry", r.T0 + 60_000, None)
    view.apply(r.record(7, ev.TimerFired("t1.c0", r.T0 + 60_000)))
    assert (node.state, node.retry_at_ms) == ("queued", None)


def test_a_lost_attempt_that_may_not_be_repeated_has_failed():
    """With the policy `fail` the step is settled and says that its outcome is unknown."""
    view = view_of(
        r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, ev.ToolLost("t1.c0", 1, "silent", "fail")
    )
    node = view.node("t1.c0")
    assert (node.state, node.error.code) == ("failed", "E0308")


def test_failures_are_kept_and_the_last_one_is_the_error():
    """Every failed attempt can be told; an attempt that will be tried again is no error yet."""
    again = ev.ToolFailed("t1.c0", 1, r.ERROR, r.T0 + 60_000)
    view = view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, again)
    node = view.node("t1.c0")
    assert (node.state, node.error, node.retry_at_ms) == ("retry", None, r.T0 + 60_000)
    view.apply(r.record(7, ev.ToolFailed("t1.c0", 2, r.ERROR)))
    assert (node.state, node.error, [f.attempt for f in node.failures]) == ("failed", r.ERROR, [1, 2])


def test_deltas_are_joined():
    """Pieces join to the text, a piece sent twice changes nothing, and the recorded answer takes its place."""
    view = view_of(r.STARTED, r.ASKED)
    node = view.node("t1.m")
    for piece in (
        r.delta("Let ", 0),
        r.delta("me", 4),
        r.delta("Let ", 0),
        r.delta("hm", 0, part="reasoning"),
    ):
        view.apply(piece)
    assert (node.text.text, node.reasoning.text) == ("Let me", "hm")
    view.apply(r.record(3, r.CALLS))
    assert node.text.text == "Let me see."
    assert view.apply(r.delta("late", 0)) is False
    assert node.text.text == "Let me see."


def test_a_new_attempt_begins_its_text_anew():
    """What the attempt of a dead server streamed is dropped, also when its pieces come late."""
    view = view_of(r.STARTED, r.ASKED)
    view.apply(r.delta("old text", 0))
    view.apply(r.delta("new", 0, attempt=2))
    view.apply(r.delta("old again", 8))
    assert view.node("t1.m").text.text == "new"
    view.apply(r.record(3, ev.ModelLost("t1.m", 2, "gone")))
    assert view.node("t1.m").text.text == ""


def test_a_reader_who_comes_late_has_the_end_of_the_text():
    """Pieces after a gap are kept from where they begin."""
    view = view_of(r.STARTED, r.ASKED)
    view.apply(r.delta("middle ", 100))
    view.apply(r.delta("end", 107))
    assert (view.node("t1.m").text.base, view.node("t1.m").text.text) == (100, "middle end")


def test_an_unknown_kind_is_counted_and_skipped():
    """A newer server's event, or a form that does not fit, moves the position and breaks nothing."""
    view = view_of(r.STARTED, {"kind": "budget_spent", "usd": 1}, {"kind": "tool_started"}, {}, r.ASKED)
    assert (view.unknown, view.seq, view.status) == (3, 5, "running")


def test_steps_without_their_beginning_are_shown_all_the_same():
    """A stream that begins in the middle gives nodes with what is known of them."""
    view = view_of(r.REFUND_STARTED, r.REFUND_DONE, r.CALLS)
    assert [(n.name, n.state) for n in view.nodes] == [("t1.c1", "done"), ("mock", "done")]


@given(st.lists(st.integers(0, len(r.ALL_KINDS) - 1), max_size=60))
def test_any_order_of_events_is_survived(order: list[int]):
    """No sequence of events, however wrong, raises or leaves the tree inconsistent."""
    view = view_of(*(r.ALL_KINDS[i] for i in order))
    assert len({id(n) for n in view.nodes}) == len(view.nodes)
    assert view.seq == len(order)


@given(st.data())
def test_a_stream_that_begins_again_does_no_harm(data: st.DataObject):
    """Records at or below the position are ignored: a reconnect that repeats some gives the same view."""
    stream = r.records(*r.ALL_KINDS[:-2])
    once, twice = View(r.ID), View(r.ID)
    for record in stream:
        once.apply(record)
    for index, record in enumerate(stream):
        twice.apply(record)
        for old in stream[data.draw(st.integers(0, index)) : index + 1]:
            assert twice.apply(old) is False
    assert once == twice


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled"])
def test_endings(kind: str):
    """Each ending keeps what belongs to it."""
    ending = {
        "completed": r.COMPLETED,
        "failed": ev.ExecutionFailed(r.ERROR, finish_reason="max_turns", partial="half"),
        "cancelled": ev.ExecutionCancelled("ada", "enough"),
    }[kind]
    view = view_of(r.STARTED, r.ASKED, ending)
    assert view.status == view.ending == kind
    assert view.ended_ms == r.T0 + 3_000
    if kind == "failed":
        assert (view.error, view.partial, view.finish_reason) == (r.ERROR, "half", "max_turns")
    if kind == "cancelled":
        assert (view.halted_by, view.reason) == ("ada", "enough")
