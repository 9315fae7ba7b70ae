"""E10: a fault of the engine in one execution is that execution's affair; after five it is set aside, in sight."""

import asyncio
from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.effects import CallModel, Effect
from perdure.core.errors import JournalError
from perdure.core.model import ModelReply, Usage
from perdure.engine.driver import Driver
from perdure.engine.ports import Commit, ExecutionFilter
from perdure.engine.resident import Resident
from tests.contract.engine.engine_harness import (
    Gate,
    Harness,
    broken,
    call,
    refused,
    reply,
    soon,
    start_request,
)
from tests.contract.engine.faulty_journal import FaultyJournal


async def garbage(*_: Any) -> Any:
    """An adapter that breaks its word: what it gives looks like an answer, and there is nothing in it."""
    nothing: Any = None
    return ModelReply(nothing, Usage(), "stop")


async def test_what_is_no_answer_at_all_is_a_failed_call(h: Harness):
    """The adapter gives a text in the place of a reply: the call is made again, then fails; nothing is set aside."""

    async def text(*_: Any) -> Any:
        return "not a reply"

    await h.open(text)
    execution_id = await h.start()
    assert (await h.ended(execution_id)).status == "failed"
    failed = await h.found(execution_id, ev.ModelFailed)
    assert len(failed) > 1
    assert {f.error.code for f in failed} == {"E0209"}


async def test_five_faults_and_it_is_set_aside(h: Harness):
    """The quarantine is recorded with what happened, shown, and lifted by a resume; others never notice."""
    await h.open(garbage)
    bad = await h.start("bad")
    view = await h.until(bad, "quarantined")
    (quarantined,) = await h.found(bad, ev.ExecutionQuarantined)
    assert quarantined.error.code == "E0411"
    assert quarantined.error.why
    assert [w.kind for w in view.waits] == ["model"]
    shown = await h.executions.find(ExecutionFilter(status=("quarantined",)))
    assert [v.execution_id for v in shown] == [bad]
    assert h.gauge("executions_resident") == 0
    h.model.turns = [reply("Done.")]
    others = [await h.start(str(n)) for n in range(5)]
    assert {(await h.ended(i)).output for i in others} == {"Done."}
    await h.executions.resume(bad, "ann")
    assert (await h.ended(bad)).output == "Done."


async def test_a_quarantine_outlives_a_restart(h: Harness):
    """It stays aside until somebody resumes it, with what it had."""
    await h.open(garbage)
    bad = await h.start("bad")
    await h.until(bad, "quarantined")
    await h.restart(reply("Done."))
    await asyncio.sleep(0.05)
    assert (await h.executions.get(bad)).status == "quarantined"
    assert h.model.requests == []
    await h.executions.resume(bad, "ann")
    assert (await h.ended(bad)).output == "Done."


async def test_what_is_quarantined_can_be_cancelled(h: Harness):
    """A person may as well give it up."""
    await h.open(garbage)
    bad = await h.start("bad")
    await h.until(bad, "quarantined")
    assert (await h.executions.cancel(bad, "ann", "")).status == "cancelled"


@pytest.mark.parametrize("raised", [KeyError("x"), RecursionError(), JournalError("E0505", "No")])
async def test_a_fault_in_the_commit_is_the_callers_and_the_executions_alone(h: Harness, raised: Exception):
    """However the journal breaks its word for one execution: callers are answered, and later it goes on."""
    made: list[FaultyJournal] = []

    def wrap(inner: Any) -> FaultyJournal:
        made.append(FaultyJournal(inner))
        return made[0]

    h.wrap = wrap
    await h.open(reply(call("look")), reply("Done."))
    bad = await h.start("bad")
    task = await h.take()

    def spoil(commit: Commit) -> None:
        if commit.execution_id == bad:
            raise raised

    made[0].spoil = spoil
    assert await h.hand_in(task) in ("E0414", "E0505")
    error = await refused(h.executions.pause(bad, "ann", ""))
    assert error.code in ("E0414", "E0505")
    other = await h.start("other")
    await h.hand_in(await h.take(worker="w2"), worker="w2")
    assert (await h.ended(other)).output == "Done."
    made[0].spoil = lambda _: None
    if await h.hand_in(task) is not None:
        await h.hand_in(await h.take(worker="w2"), worker="w2")
    assert (await h.ended(bad)).output == "Done."


async def test_a_fault_that_not_even_a_quarantine_survives_does_not_spin(h: Harness):
    """When nothing at all can be recorded the engine gives it up, and reads it again when somebody calls."""
    made: list[FaultyJournal] = []

    def wrap(inner: Any) -> FaultyJournal:
        made.append(FaultyJournal(inner))
        return made[0]

    h.wrap = wrap
    gate = Gate(reply("Done."))
    await h.open(gate)
    bad = await h.start("bad")
    await gate.reached.wait()
    tried = 0

    def spoil(commit: Commit) -> None:
        nonlocal tried
        tried += commit.execution_id == bad
        if commit.execution_id == bad:
            raise ZeroDivisionError

    made[0].spoil = spoil
    gate.opened.set()
    await soon(lambda: h.gauge("executions_resident") == 0)
    await asyncio.sleep(0.1)
    assert tried == 2 * h.config.max_faults
    made[0].spoil = lambda _: None
    h.model.turns = [reply("Done.")]
    await h.executions.pause(bad, "ann", "")
    await h.executions.resume(bad, "ann")
    assert (await h.ended(bad)).output == "Done."


class Stage:
    """A driver with a listener of its own, to see what becomes of effects that fail."""

    def __init__(self, h: Harness) -> None:
        self.driver: Driver = h.engine._driver
        self.failing = True
        self.failed = 0
        self._perform = self.driver.listeners.perform
        self.driver.listeners.perform = self._performed

    def _performed(self, resident: Resident, effect: Effect) -> None:
        if self.failing and resident.title == "bad" and isinstance(effect, CallModel):
            self.failed += 1
            raise OSError("no more tasks")
        self._perform(resident, effect)


async def test_an_effect_that_fails_is_begun_again(h: Harness):
    """Once, and it is made good without anybody noticing."""
    await h.open(reply("Done."))
    stage = Stage(h)
    bad = await h.start("bad")
    stage.failing = False
    assert (await h.ended(bad)).output == "Done."
    assert stage.failed == 1
    assert len(await h.found(bad, ev.ModelRequested)) == 1


async def test_an_effect_that_always_fails_sets_the_execution_aside(h: Harness):
    """Five times, then quarantine; its resume begins it anew; others go on."""
    await h.open(reply("Done."))
    stage = Stage(h)
    bad = await h.start("bad")
    await h.until(bad, "quarantined")
    assert stage.failed == h.config.max_faults
    other = await h.start("other")
    assert (await h.ended(other)).output == "Done."
    stage.failing = False
    await h.executions.resume(bad, "ann")
    assert (await h.ended(bad)).output == "Done."


async def test_callers_are_answered_while_effects_fail(h: Harness):
    """Nobody who talks to an execution in trouble waits for ever."""
    await h.open(reply("Done."))
    Stage(h)
    starting = asyncio.ensure_future(h.executions.start(start_request("bad")))
    bad = (await starting).execution_id
    pausing = [h.executions.pause(bad, f"p{n}", "") for n in range(5)]
    answers = await asyncio.wait_for(asyncio.gather(*pausing, return_exceptions=True), 5)
    assert all(getattr(a, "status", None) or getattr(a, "code", None) for a in answers)


# Models that misbehave -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [ValueError("\ud800"), RecursionError(), asyncio.CancelledError()])
async def test_an_adapter_that_raises_anything_is_a_failed_attempt(h: Harness, fault: BaseException):
    """E0209, tried again by the policy for failing models; also when it cancels itself."""

    async def raises(*_: Any) -> Any:
        raise fault

    await h.open([raises, reply("Done.")])
    execution_id = await h.start()
    assert (await h.ended(execution_id)).output == "Done."
    (failed,) = await h.found(execution_id, ev.ModelFailed)
    assert failed.error.code == "E0209"
    assert type(fault).__name__ in failed.error.why


async def test_a_model_that_says_what_cannot_be_stored(h: Harness):
    """Lone surrogates in a call's arguments: a failed attempt, and the storage is not to blame."""
    bad = reply(call("look", city="\ud800"))
    await h.open([bad, reply("Done.")])
    execution_id = await h.start()
    assert (await h.ended(execution_id)).output == "Done."
    (failed,) = await h.found(execution_id, ev.ModelFailed)
    assert failed.error.code == "E0209"
    assert h.engine.fault is None


async def test_a_late_answer_of_an_aborted_call_is_not_taken(h: Harness):
    """A model that does not let itself be stopped answers after the end: E5."""
    gate = Gate(reply("Too late."))

    async def stubborn(request: Any, on_delta: Any) -> Any:
        while True:
            try:
                return await gate(request, on_delta)
            except asyncio.CancelledError:
                continue

    await h.open(stubborn)
    execution_id = await h.start()
    await gate.reached.wait()
    await h.executions.cancel(execution_id, "ann", "")
    gate.opened.set()
    await asyncio.sleep(0.05)
    assert (await h.kinds(execution_id))[-1] == "execution_cancelled"
    assert h.gauge("executions_resident") == 0


async def test_calls_that_no_tool_can_take(h: Harness):
    """No such tool, arguments that are none: the model is told, and goes on."""
    await h.open(reply(call("nothing"), call("refund", amount="all")), reply("I see."))
    execution_id = await h.start()
    assert (await h.ended(execution_id)).output == "I see."
    assert [r.error.code for r in await h.found(execution_id, ev.ToolRefused)] == ["E0304", "E0305"]


async def test_a_worker_that_reports_nonsense(h: Harness):
    """An error without a code or with odd fields is still an error with a code."""
    await h.open(reply(call("look")), reply("I see."))
    execution_id = await h.start()
    odd = {"error": {"what": None, "code": 7, "extra": [1]}, "retryable": False}
    assert await h.hand_in(await h.take(), **broken(**odd)) is None
    await h.ended(execution_id)
    (failed,) = await h.found(execution_id, ev.ToolFailed)
    assert failed.error.code == "7"
