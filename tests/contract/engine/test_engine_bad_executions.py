"""The embedded engine and its journal: one bad execution, commit or value harms no other (E10)."""

import asyncio
from typing import Any

import msgspec
import pytest

from perdure.core.errors import JournalError
from perdure.engine.ports import Commit, ExecutionFilter
from tests.contract.engine.engine_harness import (
    Gate,
    Harness,
    broken,
    call,
    decision,
    refused,
    reply,
    soon,
    start_request,
)
from tests.contract.engine.faulty_journal import FaultyJournal, Overlay


async def pause() -> None:
    """Time enough for anything that would happen by itself."""
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("code", ["E0503", "E0505"])
async def test_a_commit_that_is_refused_for_itself_harms_no_other(h: Harness, journal: Any, code: str):
    """E10: the journal refuses one execution's commits; all others go on as if nothing were."""
    await h.open(reply(call("look")), reply("Done."))
    disk: FaultyJournal = journal()
    bad = await h.start("bad")

    def spoil(commit: Commit) -> JournalError | None:
        return JournalError(code, "No", where="a test") if commit.execution_id == bad else None

    task = await h.take()
    disk.spoil = spoil
    others = [await h.start(str(n)) for n in range(5)]
    assert await h.hand_in(task) == code
    for _ in range(5):
        await h.hand_in(await h.take("helper.look", worker="w2"), worker="w2")
    assert {(await h.ended(i)).status for i in others} == {"completed"}
    assert h.engine.fault is None
    disk.spoil = lambda _: None
    again = await h.take(worker="w2") if await h.hand_in(task) is not None else None
    if again is not None:
        await h.hand_in(again, worker="w2")
    await h.ended(bad)


async def test_a_damaged_execution_harms_no_other(h: Harness, journal: Any):
    """E0503 for whoever calls it, at the start and later; the others are taken up and end."""
    gates = [Gate(reply("never")) for _ in range(3)]
    waiting = iter(gates)

    async def turn(asked: Any, on_delta: Any) -> Any:
        return await next(waiting)(asked, on_delta)

    await h.open(turn)
    disk: FaultyJournal = journal()
    bad, *good = [await h.start(str(n)) for n in range(3)]
    await soon(lambda: all(g.reached.is_set() for g in gates))
    await h.close()
    events = disk.inner.events

    async def damaged(execution_id: str, *args: Any, **named: Any) -> Any:
        if execution_id == bad:
            raise JournalError("E0503", "The chain is broken", where=f"execution {bad}", fix="Restore it.")
        return await events(execution_id, *args, **named)

    disk.inner = Overlay(disk.inner, events=damaged)
    h.wrap = lambda inner: inner
    h.model.turns = [reply("Done.")]
    await h.open()
    assert {(await h.ended(i)).output for i in good} == {"Done."}
    for verb in (h.executions.cancel(bad, "ann", ""), h.executions.events(bad, 0, 10)):
        assert (await refused(verb)).code == "E0503"
    assert (await h.executions.get(bad)).status == "running"
    fresh = await h.start("fresh")
    assert (await h.ended(fresh)).output == "Done."
    assert h.engine.fault is None


@pytest.mark.parametrize("state", [b'{"v":99,"phase":"dreaming"}', b'{"phase":"dreaming"}', b"{"])
async def test_a_state_that_this_version_cannot_read_harms_no_other(h: Harness, journal: Any, state: bytes):
    """It is listed with the others, refused by name when it is used, and does not keep the engine from opening."""
    await h.open(Gate(reply("never")))
    disk: FaultyJournal = journal()
    bad = await h.start("bad")
    good = await h.start("good")
    await h.close()

    def odd(row: Any) -> Any:
        return msgspec.structs.replace(row, state=state) if row.execution_id == bad else row

    whole = disk.inner

    async def rows(*args: Any) -> Any:
        return [odd(row) for row in await whole.find(*args)]

    async def row_of(*args: Any) -> Any:
        return odd(await whole.load(*args))

    async def unfinished() -> Any:
        return [odd(row) for row in await whole.unfinished()]

    disk.inner = Overlay(whole, find=rows, load=row_of, unfinished=unfinished)
    h.wrap = lambda inner: inner
    h.model.turns = [reply("Done.")]
    await h.open()
    assert (await h.ended(good)).output == "Done."
    assert {v.execution_id for v in await h.executions.find(ExecutionFilter())} == {bad, good}
    error = await asyncio.wait_for(refused(h.executions.cancel(bad, "ann", "")), 5)
    assert error.code in ("E0414", "E0503", "E0504")
    assert error.fix


async def test_an_execution_whose_state_does_not_fit_its_events(h: Harness, journal: Any):
    """I9: it is refused by name when it is read."""
    await h.open(reply(call("refund", amount=1)))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    await h.until(execution_id, "waiting:approval")
    events = disk.inner.events

    async def shortened(*args: Any, **named: Any) -> Any:
        return (await events(*args, **named))[:-1]

    disk.inner = Overlay(disk.inner, events=shortened)
    error = await refused(h.executions.cancel(execution_id, "ann", ""))
    assert error.code == "E0503"
    assert "I9" in error.what
    assert execution_id in error.where


async def test_an_execution_that_cannot_be_read_for_a_reason_nobody_thought_of(h: Harness, journal: Any):
    """Whoever waits for it is told; nobody hangs, and it can be read when the reason is gone."""
    await h.open(reply(call("refund", amount=1)), reply("Done."))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    view = await h.until(execution_id, "waiting:approval")

    async def strange(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    whole = disk.inner
    disk.inner = Overlay(whole, events=strange)
    asking = [h.executions.cancel(execution_id, "ann", "") for _ in range(5)]
    answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
    assert [getattr(a, "code", a) for a in answers] == ["E0503"] * 5
    disk.inner = whole
    await h.executions.decide(str(view.waits[0].approval_id), decision("rejected"))
    await h.ended(execution_id)


async def test_a_value_that_cannot_be_stored_is_the_affair_of_its_caller(h: Harness, journal: Any):
    """Inputs that share a commit with it are recorded; nobody else notices."""
    await h.open(reply(call("look"), call("refund", amount=1)), reply("Done."))
    disk: FaultyJournal = journal()
    execution_id = await h.start()
    task = await h.take()
    (row,) = await h.executions.approvals(execution_id, pending=True)
    disk.holding = True
    first = asyncio.ensure_future(h.executions.pause(execution_id, "ann", ""))
    await soon(lambda: disk.held)
    # While that commit is held, four inputs come in; they will be one commit.
    bad = asyncio.ensure_future(h.hand_in(task, "\ud800"))
    deciding = asyncio.ensure_future(h.executions.decide(row.approval_id, decision("approved")))
    resuming = asyncio.ensure_future(h.executions.resume(execution_id, "ann"))
    await pause()
    disk.release()
    await first
    assert await bad == "E0508"
    assert (await deciding).decision == "approved"
    assert (await resuming).status != "paused"
    assert await h.hand_in(task, **broken(retryable=False)) is None
    await h.hand_in(await h.take())
    await h.ended(execution_id)
    assert h.engine.fault is None


async def test_a_start_that_cannot_be_stored(h: Harness, journal: Any):
    """E0508 for the caller; no execution begins, and nothing is left of it."""
    await h.open()
    journal()
    for bad in (
        start_request("\ud800"),
        start_request(context={"x": "\ud800"}),
        start_request(session_id="\ud800"),
        start_request(idempotency_key="\ud800"),
    ):
        error = await refused(h.executions.start(bad))
        assert (error.code, bool(error.what), bool(error.fix)) == ("E0508", True, True)
    assert h.gauge("executions_resident") == 0
    assert h.engine.fault is None
    await h.ended(await h.start())
