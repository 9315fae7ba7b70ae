"""Pause, resume, stop and cancel of nested teams: what is said to the root holds for all below it, over every crash."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.model import ModelReply, ModelRequest
from tests.contract.engine.engine_harness import Gate, Harness, call, reply
from tests.contract.engine.tree_harness import (
    TalkingModel,
    agent,
    at_every_commit,
    begin,
    caller,
    children,
    of,
    tolerant,
    tree,
)

ANN, BOB = agent("ann"), agent("bob")
PAIR = of("parallel", "pair", ANN, BOB)
LINE = of("sequential", "line", PAIR, CAROL := agent("carol"))
ROOT = caller("root", LINE)
ALL = (LINE, PAIR, ANN, BOB, CAROL)


def root_says(request: ModelRequest) -> ModelReply:
    """Calls the team, then is done."""
    return reply("Done.") if len(request.messages) > 1 else reply(call("line", request="Go"))


def held(*, ann: Any = None, bob: Any = None) -> tuple[TalkingModel, Gate, Gate]:
    """A model in which ann and bob wait at a gate each, the first time."""
    first, second = ann or Gate(reply("Ann.")), bob or Gate(reply("Bob."))
    voices = {
        "root": root_says,
        "ann": lambda r: first(r, lambda _: None),
        "bob": lambda r: second(r, lambda _: None),
    }
    return TalkingModel(**voices), first, second


async def statuses(h: Harness, execution_id: str) -> dict[str, str]:
    """The status of each execution of the tree, by agent."""
    rows = await tree(h, execution_id)
    return {"root": (await h.executions.get(execution_id)).status, **{r.agent: r.status for r in rows}}


async def all_have(h: Harness, execution_id: str, status: str) -> None:
    """Wait until all executions of the tree have the status."""
    for _ in range(500):
        found = await statuses(h, execution_id)
        if set(found.values()) == {status}:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(found)


async def going(h: Harness) -> tuple[str, TalkingModel, Gate, Gate]:
    """The tree with ann and bob in mid-call."""
    h.model, first, second = held()
    await h.open()
    execution_id = await begin(h, ROOT, *ALL)
    await first.reached.wait()
    await second.reached.wait()
    return execution_id, h.model, first, second


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_pause_reaches_all_and_so_does_the_resume(h: Harness, restarted: bool):
    """Nothing begins anywhere below while the root is paused; after the resume all goes on."""
    execution_id, model, first, second = await going(h)
    await h.executions.pause(execution_id, "ann", "")
    await all_have(h, execution_id, "paused")
    first.opened.set()
    second.opened.set()
    await asyncio.sleep(0.05)
    if restarted:
        await h.restart()
    assert set((await statuses(h, execution_id)).values()) <= {"paused", "completed"}
    assert "carol" not in model.by_agent
    await h.executions.resume(execution_id, "ann")
    assert (await h.ended(execution_id)).output == "Done."
    await all_have(h, execution_id, "completed")


async def test_a_stop_ends_all_with_what_there_is(h: Harness):
    """The open calls end, no stage begins, and each level is completed with what there is."""
    execution_id, model, first, second = await going(h)
    await h.executions.stop(execution_id, "ann", "enough")
    first.opened.set()
    second.opened.set()
    view = await h.ended(execution_id)
    assert (view.status, view.finish_reason) == ("completed", "stopped")
    await all_have(h, execution_id, "completed")
    assert "carol" not in model.by_agent
    assert len(model.by_agent["root"]) == 1


async def test_a_cancel_leaves_nothing_running(h: Harness):
    """E9: the calls are aborted and everything below is cancelled."""
    execution_id, _, first, second = await going(h)
    await h.executions.cancel(execution_id, "ann", "enough")
    await all_have(h, execution_id, "cancelled")
    assert (first.cancelled, second.cancelled) == (True, True)


async def test_a_child_that_a_person_has_paused_stays_paused_over_a_restart(h: Harness):
    """Only what its parent's pause has paused is resumed with it when the server is back."""
    execution_id, *_ = await going(h)
    (line,) = await children(h, execution_id)
    (pair,) = await children(h, line.execution_id)
    ann = next(r for r in await children(h, pair.execution_id) if r.agent == "ann")
    await h.executions.pause(ann.execution_id, "eve", "mine")
    h.model = TalkingModel(root=root_says)
    await h.restart()
    await asyncio.sleep(0.1)
    assert (await h.executions.get(ann.execution_id)).status == "paused"
    await h.executions.resume(ann.execution_id, "eve")
    await h.ended(execution_id)


def quick() -> TalkingModel:
    """Nobody waits, but the leaves take a little while, so that the verbs meet something in flight."""

    async def slow(request: ModelRequest) -> ModelReply:
        await asyncio.sleep(0.02)
        return reply(f"{request.instructions}.")

    return TalkingModel(root=root_says, ann=slow, bob=slow)


async def test_a_crash_at_every_commit_of_a_pause_and_a_resume(h: Harness):
    """Whatever record was the last one, the resumed tree comes to its end: nobody stays paused."""
    h.model = quick()

    async def client(name: str) -> None:
        execution_id = await begin(h, ROOT, *ALL, idempotency_key=name)
        await tolerant(h.executions.pause(execution_id, "ann", ""), "E0402")
        await asyncio.sleep(0.05)
        await tolerant(h.executions.resume(execution_id, "ann"), "E0402")
        assert (await h.ended(execution_id)).output == "Done."
        await all_have(h, execution_id, "completed")
        for row in await tree(h, execution_id):
            assert len(await h.found(row.execution_id, ev.ExecutionStarted)) == 1

    assert await at_every_commit(h, client) >= 12


@pytest.mark.parametrize("verb", ["stop", "cancel"])
async def test_a_crash_at_every_commit_of_an_end(h: Harness, verb: str):
    """Whatever record was the last one, nothing is left that runs, and no child was begun twice."""
    h.model = quick()
    wanted = {"stop": {"completed"}, "cancel": {"cancelled", "completed"}}[verb]

    async def client(name: str) -> None:
        execution_id = await begin(h, ROOT, *ALL, idempotency_key=name)
        await asyncio.sleep(0.03)
        act = h.executions.stop if verb == "stop" else h.executions.cancel
        await tolerant(act(execution_id, "ann", "enough"), "E0402")
        await h.ended(execution_id)
        for _ in range(500):
            found = await statuses(h, execution_id)
            if set(found.values()) <= wanted:
                break
            await asyncio.sleep(0.01)
        assert set(found.values()) <= wanted
        for row in await tree(h, execution_id):
            assert len(await h.found(row.execution_id, ev.ExecutionStarted)) == 1

    assert await at_every_commit(h, client) >= 5


async def test_a_crash_at_every_commit_of_a_nested_team(h: Harness):
    """Without any verb: each agent is asked once for what is recorded, and the answer is the same."""
    h.model = quick()

    async def client(name: str) -> None:
        execution_id = await begin(h, ROOT, *ALL, idempotency_key=name)
        assert (await h.ended(execution_id)).output == "Done."
        rows = await tree(h, execution_id)
        assert sorted(r.agent for r in rows) == ["ann", "bob", "carol", "line", "pair"]
        assert {r.status for r in rows} == {"completed"}

    assert await at_every_commit(h, client) >= 15
