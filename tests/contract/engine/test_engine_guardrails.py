"""The matrix of guardrails: where they stand, who judges, and what is done about what did not pass."""

from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.core import events as ev
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import ExecutionView
from tests.contract.engine.engine_harness import Harness, decision
from tests.contract.engine.guard_harness import (
    ACTIONS,
    KINDS,
    PLACES,
    WHY,
    JudgedModel,
    Worker,
    begun,
    by_kind,
    by_place,
    guard,
    guarded,
    hold,
    opened,
    script,
    shown,
    working,
)

CELLS = [(p, k, a) for p in PLACES for k in KINDS for a in ACTIONS]
DIAGONAL = [
    (PLACES[n], KINDS[(n + shift) % 4], ACTIONS[(n + 2 * shift) % 4]) for n in range(4) for shift in (0, 1)
]


@pytest.fixture
def m() -> Harness:
    """A harness over the memory journal."""
    return Harness(MemoryJournal)


@pytest.fixture
def s(tmp_path: Path) -> Harness:
    """A harness over the SQLite journal."""
    return Harness(lambda: SqliteJournal(tmp_path / "data", SystemClock()))


@pytest.mark.parametrize(("place", "kind", "action"), CELLS)
async def test_a_cell_of_the_matrix(m: Harness, place: str, kind: str, action: str):
    """Something bad comes by: what is done, what the model sees, and what runs, is what the cell says."""
    await play(m, place, kind, action)


@pytest.mark.parametrize(("place", "kind", "action"), DIAGONAL)
async def test_a_cell_over_sqlite(s: Harness, place: str, kind: str, action: str):
    """The same over the other journal."""
    await play(s, place, kind, action)


async def play(h: Harness, place: str, kind: str, action: str) -> None:
    """Let something bad come by, and hold what happens against the cell."""
    model = await opened(h, *script(place))
    async with working(h) as worker:
        execution_id = await begun(h, place, guard(kind, place, action))
        if action == "human":
            await approve(h, execution_id, place)
        view = await h.ended(execution_id)
        decided = await h.found(execution_id, ev.GuardDecided)
    first = next(d for d in decided if not d.passed)
    done = done_in(place, kind, action)
    assert (first.guard, first.action) == ("g", done)
    assert first.message
    hold(await h.records(execution_id))
    assert bool(model.judged) == (kind == "llm")
    assert ("@guard.g" in worker.names()) == (kind in ("function", "external"))
    OUTCOMES[done](place, view, model, worker)


async def approve(h: Harness, execution_id: str, place: str) -> None:
    """A person lets the content pass as it is."""
    await h.until(execution_id, "waiting:approval")
    (row,) = await h.executions.approvals(execution_id, pending=True)
    assert row.kind == "guardrail"
    assert row.arguments["guardrail"] == "g"
    assert row.arguments["message"]
    content = {
        "agent input": "a bad prompt",
        "agent output": "a bad answer",
        "tool input": {"q": "bad"},
        "tool output": "bad found",
    }
    assert row.arguments["content"] == content[place]
    await h.executions.decide(row.approval_id, decision("approved"))


def done_in(place: str, kind: str, action: str) -> str:
    """What is really done: raise, where nobody can try again, or where there is nothing to put in the place."""
    if action == "retry" and place == "agent input":
        return "raise"
    if action == "fix" and (kind == "llm" or (kind == "regex" and place == "tool input")):
        return "raise"
    return action


def _retried(place: str, view: ExecutionView, model: JudgedModel, worker: Worker) -> None:
    assert (view.status, view.output) == ("completed", "fine")
    told = shown(model, 1)
    assert WHY in told
    if place == "agent output":
        assert len(model.requests) == 2
        assert told.startswith("Your answer was not accepted")
        return
    assert "E0314" in told
    assert "bad found" not in told
    assert worker.looked == (["fine"] if place == "tool input" else ["bad", "fine"])


def _raised(place: str, view: ExecutionView, model: JudgedModel, worker: Worker) -> None:
    assert view.error is not None
    assert (view.status, view.error["code"], view.finish_reason) == ("failed", "E0422", "guardrail")
    assert len(model.requests) == (0 if place == "agent input" else 1)
    assert worker.looked == (["bad"] if place == "tool output" else [])


def _fixed(place: str, view: ExecutionView, model: JudgedModel, worker: Worker) -> None:
    assert view.status == "completed"
    texts = [shown(model, n) for n in range(len(model.requests))]
    if place != "tool input":
        assert not any("bad" in text for text in texts)
    if place == "agent input":
        assert texts[0] in ("a [redacted] prompt", "a good prompt")
    elif place == "agent output":
        assert view.output in ("a [redacted] answer", "a good answer")
        assert len(model.requests) == 1
    elif place == "tool input":
        assert worker.looked == ["good", "fine"]
    else:
        assert texts[1] in ("[redacted] found", "good found")
        assert worker.looked == ["bad", "fine"]


def _let_pass(place: str, view: ExecutionView, model: JudgedModel, worker: Worker) -> None:
    assert view.status == "completed"
    assert view.output == ("a bad answer" if place == "agent output" else "fine")
    assert shown(model, 0) == ("a bad prompt" if place == "agent input" else "Hello.")
    if place.startswith("tool"):
        assert shown(model, 1) == "bad found"
        assert worker.looked == ["bad", "fine"]


OUTCOMES: dict[str, Any] = {"retry": _retried, "raise": _raised, "fix": _fixed, "human": _let_pass}


@by_kind
@pytest.mark.parametrize("place", ["agent output", "tool input", "tool output"])
async def test_retries_are_counted_and_then_it_fails(m: Harness, place: str, kind: str):
    """With two retries the third bad thing ends the execution, with the guardrail's own words."""
    model = await opened(m, *script(place, stubborn=True))
    async with working(m) as worker:
        execution_id = await begun(m, place, guard(kind, place, "retry", max_retries=2))
        view = await m.ended(execution_id)
    assert view.error is not None
    assert (view.status, view.error["code"], view.error["why"]) == ("failed", "E0422", WHY)
    actions = [d.action for d in await m.found(execution_id, ev.GuardDecided)]
    assert actions == ["retry", "retry", "raise"]
    assert len(model.requests) == 3
    assert len(worker.looked) == (3 if place == "tool output" else 0)


@by_place
@by_kind
async def test_nothing_bad_passes_in_silence(m: Harness, place: str, kind: str):
    """What is good passes at once, is recorded as passed, and nothing about it is changed."""
    turns = script(place)
    await opened(m, *(turns[1:] if place != "agent input" else turns))
    async with working(m):
        started = await m.start("Hello.", changed=guarded(place, guard(kind, place, "raise")))
        view = await m.ended(started)
        decided = await m.found(started, ev.GuardDecided)
    assert (view.status, view.output) == ("completed", "fine")
    assert [d.passed for d in decided] == [True]


@by_place
async def test_a_person_who_refuses(m: Harness, place: str):
    """An input or an answer ends the execution; a tool's call or result is told to the model, which goes on."""
    model = await opened(m, *script(place))
    async with working(m) as worker:
        execution_id = await begun(m, place, guard("regex", place, "human"))
        await m.until(execution_id, "waiting:approval")
        (row,) = await m.executions.approvals(execution_id, pending=True)
        await m.executions.decide(row.approval_id, decision("rejected", reason="not that"))
        view = await m.ended(execution_id)
    if place.startswith("agent"):
        assert view.error is not None
        assert (view.status, view.error["code"], view.error["why"]) == ("failed", "E0422", "not that")
        return
    assert (view.status, view.output) == ("completed", "fine")
    assert "not that" in shown(model, 1)
    assert "bad found" not in shown(model, 1)
    assert worker.looked == (["fine"] if place == "tool input" else ["bad", "fine"])


@by_place
async def test_a_person_who_puts_something_in_the_place(m: Harness, place: str):
    """The approval of a guardrail's question may have a content, which then stands for what was asked about."""
    model = await opened(m, *script(place))
    content: Any = {"q": "mine"} if place == "tool input" else "mine"
    async with working(m) as worker:
        execution_id = await begun(m, place, guard("regex", place, "human"))
        await m.until(execution_id, "waiting:approval")
        (row,) = await m.executions.approvals(execution_id, pending=True)
        await m.executions.decide(row.approval_id, decision("approved", answer={"content": content}))
        view = await m.ended(execution_id)
    assert view.status == "completed"
    if place == "agent input":
        assert shown(model, 0) == "mine"
    elif place == "agent output":
        assert view.output == "mine"
    elif place == "tool input":
        assert worker.looked == ["mine", "fine"]
    else:
        assert shown(model, 1) == "mine"
    (replaced,) = await m.found(execution_id, ev.Replaced)
    assert (replaced.value, replaced.by) == (content, "ann")
