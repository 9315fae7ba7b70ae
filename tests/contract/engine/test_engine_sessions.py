"""Sessions: an execution goes on from the one before it, in order, whatever became of that one."""

import asyncio
import itertools
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.definition import MemoryDefinition
from perdure.core.model import ModelReply, ModelRequest
from perdure.core.plan import Plan
from tests.contract.engine.engine_harness import Gate, Harness, refused, reply
from tests.contract.engine.tree_harness import (
    TalkingModel,
    agent,
    at_every_commit,
    begin,
    children,
    of,
    texts,
)

ANN = agent("ann")


def short(request: ModelRequest) -> ModelReply:
    """Which answer of this conversation it is."""
    return reply(f"answer to {request.messages[-1].text}")


async def turn(
    h: Harness, prompt: str, root: Plan = ANN, *below: Plan, session: str = "s1", **fields: Any
) -> str:
    """Start an execution of the session."""
    return await begin(h, root, *below, prompt=prompt, session_id=session, **fields)


async def test_the_conversation_goes_on(h: Harness):
    """The third execution is shown the first two, over a restart; another session and another agent are not part of it."""
    h.model = TalkingModel(ann=short, bob=short)
    await h.open()
    for prompt in ("1", "2"):
        await h.ended(await turn(h, prompt))
    await h.ended(await turn(h, "else", session="s2"))
    await h.ended(await turn(h, "else", agent("bob")))
    await h.restart()
    await h.ended(await turn(h, "3"))
    assert texts(h.model.requests[-1]) == ["1", "answer to 1", "2", "answer to 2", "3"]
    assert [texts(r) for r in h.model.requests[2:4]] == [["else"], ["else"]]


async def test_two_at_once_are_one_after_the_other(h: Harness):
    """The second waits for the first and is shown its answer; waiting costs no memory."""
    gate = Gate(reply("First."))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else short(r))
    await h.open()
    first, second = await turn(h, "1"), await turn(h, "2")
    await gate.reached.wait()
    assert (await h.executions.get(second)).status == "waiting:session"
    gate.opened.set()
    await h.ended(first)
    await h.ended(second)
    assert texts(h.model.requests[-1]) == ["1", "First.", "2"]


async def test_ten_at_once_are_ordered(h: Harness):
    """Each is shown all those before it, in the order in which they were begun."""
    h.model = TalkingModel(ann=short)
    await h.open()
    ids = await asyncio.gather(*(turn(h, str(n)) for n in range(10)))
    for execution_id in ids:
        await h.ended(execution_id)
    by_start = sorted(h.model.requests, key=lambda r: len(r.messages))
    assert [len(r.messages) for r in by_start] == list(range(1, 20, 2))
    for before, after in itertools.pairwise(by_start):
        assert texts(after)[: len(before.messages)] == texts(before)


async def test_a_restart_while_one_waits(h: Harness):
    """It goes on waiting, and begins when the one before it has ended; also when that happened in between."""
    gate = Gate(reply("never"))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None))
    await h.open()
    first, second = await turn(h, "1"), await turn(h, "2")
    await gate.reached.wait()
    h.model = TalkingModel(ann=short)
    await h.restart()
    await h.ended(first)
    await h.ended(second)
    assert texts(h.model.requests[-1]) == ["1", "answer to 1", "2"]


async def test_a_crash_at_every_commit_keeps_the_order(h: Harness):
    """Three of a session, begun one after the other without waiting: each goes on from the one before it, once."""
    h.model = model = TalkingModel(ann=short)

    async def client(name: str) -> None:
        ids = [await turn(h, f"{name} {n}", session=name, idempotency_key=f"{name} {n}") for n in range(3)]
        for n, execution_id in enumerate(ids):
            assert (await h.ended(execution_id)).output == f"answer to {name} {n}"
            assert len(await h.found(execution_id, ev.ExecutionStarted)) == 1
        last = next(r for r in reversed(model.requests) if r.execution_id == ids[2])
        assert texts(last)[::2] == [f"{name} {n}" for n in range(3)]

    assert await at_every_commit(h, client) >= 5


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_what_ended_badly_is_still_part_of_the_conversation(h: Harness, end: str):
    """The next one begins all the same, and sees what was asked."""
    gate = Gate(reply("never"))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else short(r))
    await h.open()
    first = await turn(h, "1", timeout_ms=150 if end == "failed" else None)
    second = await turn(h, "2")
    await gate.reached.wait()
    if end == "cancelled":
        await h.executions.cancel(first, "ann", "")
    assert (await h.ended(first)).status == end
    await h.ended(second)
    assert texts(h.model.requests[-1]) == ["1", "2"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_one_that_is_cancelled_while_it_waits_does_not_let_the_next_one_pass(
    h: Harness, restarted: bool
):
    """Whoever comes after it waits in its place for the one before, begun before or after the cancel."""
    gate = Gate(reply("First."))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else short(r))
    await h.open()
    first, second, third = [await turn(h, str(n)) for n in (1, 2, 3)]
    await gate.reached.wait()
    await h.executions.cancel(second, "ann", "")
    fourth = await turn(h, "4")
    await asyncio.sleep(0.05)
    if restarted:
        gate.opened.set()
        await h.restart()
    else:
        assert [(await h.executions.get(x)).status for x in (third, fourth)] == ["waiting:session"] * 2
        gate.opened.set()
    for execution_id in (first, third, fourth):
        assert (await h.ended(execution_id)).status == "completed"
    assert texts(h.model.requests[-1])[:1] == ["1"]
    assert texts(h.model.requests[-1])[-4:] == ["2", "3", "answer to 3", "4"]


async def test_an_agent_without_contents_sees_its_own_input_only(h: Harness):
    """include_contents="none": still in order, and nothing of what was before."""
    ann = agent("ann", include_contents="none")
    h.model = TalkingModel(ann=short)
    await h.open()
    for execution_id in [await turn(h, str(n), ann) for n in range(3)]:
        await h.ended(execution_id)
    assert sorted(texts(r) for r in h.model.requests) == [["0"], ["1"], ["2"]]


async def test_an_idempotent_start_is_no_further_one(h: Harness):
    """The same key gives the same execution, running or ended, and what comes next does not see it twice."""
    gate = Gate(reply("First."))
    h.model = TalkingModel(ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else short(r))
    await h.open()
    first = await turn(h, "1", idempotency_key="k")
    await gate.reached.wait()
    assert await turn(h, "1", idempotency_key="k") == first
    assert (await refused(turn(h, "other", idempotency_key="k"))).code == "E0413"
    gate.opened.set()
    await h.ended(first)
    assert await turn(h, "1", idempotency_key="k") == first
    await h.ended(await turn(h, "2"))
    assert texts(h.model.requests[-1]) == ["1", "First.", "2"]


async def test_a_team_goes_on_with_its_conversation(h: Harness):
    """The agents of its second execution are shown the first one; also when it had to wait for that."""
    talk = of("sequential", "talk", bob := agent("bob"))
    gate = Gate(reply("Bob one."))
    h.model = TalkingModel(
        bob=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else reply("Bob two.")
    )
    await h.open()
    first, second = await turn(h, "1", talk, bob), await turn(h, "2", talk, bob)
    await gate.reached.wait()
    gate.opened.set()
    await h.ended(first)
    await h.ended(second)
    assert texts(h.model.by_agent["bob"][-1]) == ["1", "Bob one.", "2"]
    await h.restart()
    await h.ended(await turn(h, "3", talk, bob))
    assert texts(h.model.by_agent["bob"][-1]) == ["1", "Bob one.", "2", "Bob two.", "3"]
    assert len(await children(h, second)) == 1


async def test_what_an_agent_remembers_is_shown_once(h: Harness):
    """The messages of its memory stand before the conversation in each execution, and are no part of it."""
    remembered = {"role": "user", "content": "I am Ann."}, {"role": "assistant", "content": "Hello, Ann."}
    ann = agent("ann", memory=MemoryDefinition(remembered))
    h.model = TalkingModel(ann=short)
    await h.open()
    for prompt in ("1", "2", "3"):
        await h.ended(await turn(h, prompt, ann))
    shown = texts(h.model.requests[-1])
    assert shown == ["I am Ann.", "Hello, Ann.", "1", "answer to 1", "2", "answer to 2", "3"]


async def test_a_long_session_is_read_without_end(h: Harness):
    """Hundreds of executions: a restart reads them one after the other, however many there are."""
    h.model = TalkingModel(ann=lambda _: reply("ok"))
    await h.open()
    for n in range(400):
        await h.ended(await turn(h, str(n)))
    await h.restart()
    await h.ended(await turn(h, "last"))
    assert len(h.model.requests[-1].messages) == 801
