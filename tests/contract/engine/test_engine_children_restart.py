"""What a new engine makes of children and parents between whose records the last one stopped."""

from typing import Any

from perdure.core import events as ev
from perdure.core.machines.turn_state import decode_state, encode_state, evolve
from perdure.core.messages import Message, TextPart
from perdure.core.model import Usage
from perdure.engine.ports import Commit, ExecutionFilter, NewExecution
from perdure.engine.resident import status_of
from tests.contract.engine.engine_harness import Gate, Harness, call, decision, reply
from tests.contract.engine.team_plans import Book, Cast, call_of, solo
from tests.contract.engine.test_engine_children import in_order, opened, pair, soon_recorded, started
from tests.contract.journal.samples import commit
from tests.unit.core.plans import team, tool
from tests.unit.core.play import Play

REFUND = tool("refund", {}, approval_required=True)


async def by_hand(h: Harness, execution_id: str, *events: Any) -> None:
    """Record events as an engine would have that stopped at once afterwards; no engine is open."""
    await h.journal.open()
    row = await h.journal.load(execution_id)
    state = decode_state(row.state)
    for event in events:
        evolve(state, event)
    made = Commit(
        execution_id, row.last_seq, row.updated_at_ms + 1, events, encode_state(state), status_of(state)
    )
    await commit(h.journal, made)
    await h.journal.close()


async def test_a_child_that_ended_while_its_parent_could_not_be_told(h: Harness):
    """The crash was between the two records: the next engine tells the parent, once."""
    gate = Gate(reply("never"))
    _, book = await opened(h, ann=gate), Book()
    execution_id = await started(h, book.request(pair("sequential", book)))
    await gate.reached.wait()
    (child,) = await h.executions.find(ExecutionFilter(parent_id=execution_id))
    await h.close()
    said = Message("assistant", (TextPart("by hand"),))
    await by_hand(
        h,
        child.execution_id,
        ev.ModelCompleted("t1.m", 1, said, Usage(10, 5), "stop"),
        ev.ExecutionCompleted("by hand"),
    )
    h.model = Cast()
    await h.open()
    assert (await h.ended(execution_id)).output == "bob 1"
    assert [e.output for e in await h.found(execution_id, ev.ChildCompleted)] == ["by hand", "bob 1"]
    assert h.model.of("ann") == []
    await in_order(h)


async def test_an_orphan_is_cancelled(h: Harness):
    """E9: a parent ended, and the engine stopped before it could stop the child."""
    gate = Gate(reply("never"))
    _, book = await opened(h, ann=gate), Book()
    execution_id = await started(h, book.request(pair("sequential", book)))
    await gate.reached.wait()
    (child,) = await h.executions.find(ExecutionFilter(parent_id=execution_id))
    await h.close()
    await by_hand(h, execution_id, ev.ExecutionCancelled("ann", "enough"))
    h.model = Cast()
    await h.open()
    assert (await h.ended(child.execution_id)).status == "cancelled"
    await in_order(h)


async def stored(h: Harness, play: Play, book: Book, title: str = "by hand") -> str:
    """Put an execution that was played into the journal, as an engine that stopped left it; no engine is open."""
    plan_hash = book.keep(play.plan).plan_hash or ""
    await h.journal.open()
    for known, made in book.plans.items():
        await h.journal.put_plan(known, made, 0)
    new = NewExecution(play.execution_id, play.plan.agent, plan_hash, title, "tester", play.now)
    events = tuple(r.event for r in play.records)
    state = encode_state(play.state)
    await commit(
        h.journal, Commit(play.execution_id, 0, play.now, events, state, status_of(play.state), new=new)
    )
    await h.journal.close()
    return play.execution_id


async def test_a_child_that_was_never_begun_beside_an_open_question(h: Harness):
    """The parent waits for a person too: all the same its child is begun by the next engine."""
    await h.open()
    await h.close()
    book = Book()
    play = Play(solo("root", call_of(book.agent("ann")), REFUND), "x0root")
    play.begin()
    play.reply("", call("ask_ann", request="Go."), call("refund"))
    execution_id = await stored(h, play, book)
    h.model = Cast(root="Done.")
    await h.open()
    (ended,) = await soon_recorded(h, execution_id, ev.ChildCompleted)
    assert ended.output == "ann 1"
    await h.until(execution_id, "waiting:approval")


async def test_children_that_were_never_begun_are_begun_once_each(h: Harness):
    """All of a parallel team's children are begun by the next engine, also when the parent is paused at once."""
    await h.open()
    await h.close()
    book = Book()
    play = Play(team("parallel", *(book.agent(f"a{n}") for n in range(5))), "x0root")
    play.begin()
    execution_id = await stored(h, play, book)
    gate = Gate(reply("said"))
    h.model = Cast(**{f"a{n}": gate for n in range(5)})
    await h.open()
    await h.executions.pause(execution_id, "ann", "")
    await h.executions.resume(execution_id, "ann")
    gate.opened.set()
    assert (await h.ended(execution_id)).status == "completed"
    assert len(h.model.requests) == 5
    await in_order(h)


async def test_a_question_and_a_child_are_both_waited_for(h: Harness):
    """A decision while the child runs changes nothing for the child, and a restart in between forgets neither."""
    gate = Gate(reply("late"))
    book = Book()
    root = solo("root", call_of(book.agent("ann")), REFUND)
    await opened(h, root=[reply(call("ask_ann"), call("refund")), "Done."], ann=gate)
    execution_id = await started(h, book.request(root))
    await gate.reached.wait()
    await h.close()
    h.model = Cast(root=["Done."])
    await h.open()
    (row,) = await h.executions.approvals(execution_id, pending=True)
    await h.executions.decide(row.approval_id, decision("rejected"))
    assert (await h.ended(execution_id)).output == "Done."
    await in_order(h)
