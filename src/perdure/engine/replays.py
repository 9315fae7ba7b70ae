"""Replays: calls answered from the journal of the execution that is replayed. No worker is asked, and no person.

A call is found by its tool and its arguments; of several such calls the k-th gets what the k-th was given: the result, or
the error that the model was told. Functions of the agent (guardrails, callbacks, routers) are calls like any other; what a
person decided or answered is found in the same way. Models are asked anew: that is what is tried out.

What was not recorded: `fail` tells the model (E0431), `ask` asks a person whether the call may be made by a worker, `live`
makes it. A person's leave that was not recorded is refused under `fail`, and asked for otherwise.

Each answer is given as the inputs of a worker that had it at hand, in one commit, and is looked up again after a restart:
how many such calls came before is read from the replay's own journal. A child execution replays that of the same step and
agent, else the last one of the same agent.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.errors import PerdureError
from perdure.engine.driver import STORAGE_DOWN, Driver
from perdure.engine.ports import Journal
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.engine.task_gateway import TaskGateway
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_WORKER = "@recording"
_RETRY_S = 0.5

Outcome = ev.ToolCompleted | ev.ToolFailed | ev.ToolLost


class Made(NamedTuple):
    """What became of one call: what a person decided about it, and its outcome."""

    decision: ev.ApprovalDecided | None = None
    outcome: Outcome | None = None


# By what was asked, in the order in which it was asked.
Recording = dict[str, list[Made]]


class Replays:
    """Answers the calls of replays."""

    def __init__(self, journal: Journal, driver: Driver, residency: Residency, gateway: TaskGateway) -> None:
        self._journal = journal
        self._driver = driver
        self._residency = residency
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, execution_id: str, step: str) -> None:
        """Answer a step that would be offered to the workers."""
        self._spawn(self._answer, execution_id, step)

    def notice(self, resident: Resident, records: Sequence[ev.Recorded]) -> None:
        """Decide what a person would be asked."""
        for record in records:
            event = record.event
            if isinstance(event, ev.ApprovalRequested) and event.unknown_epoch is None:
                self._spawn(self._decide, resident.execution_id, event.step)

    def take_up(self, execution_id: str, step: str, status: str) -> None:
        """Answer what a crash has left open."""
        work = self._decide if status == "approval" else self._answer
        self._spawn(work, execution_id, step)

    async def child_origin(self, origin: ev.Origin, asked: ev.ChildRequested) -> ev.Origin:
        """Which execution a child of a replay replays; one without an id has recorded nothing."""
        found = ""
        if origin.execution_id:
            for record in await self._journal.events(origin.execution_id):
                event = record.event
                if isinstance(event, ev.ChildRequested) and event.agent == asked.agent:
                    found = event.child_id
                    if event.step == asked.step:
                        break
        return ev.Origin(found, 0, "replay", on_missing=origin.on_missing)

    # ---------------------------------------------------------------------------------------------------

    async def _answer(self, execution_id: str, step: str) -> None:
        resident = await self._residency.get(execution_id)
        origin, open_step = resident.origin, resident.state.steps.get(step)
        call = resident.transcript.calls.get(step) or resident.transcript.functions.get(step)
        if origin is None or open_step is None or open_step.status != "ready" or call is None:
            return
        allowed = call.asked_at_ms > 0  # after the request: a person let it be made
        key = call_key(call.tool, call.arguments)
        owner, tool = open_step.agent or resident.agent, call.tool
        epoch = open_step.attempt + 1
        number = await self._number(execution_id, step, key)
        found = _nth(await self._recording(origin.execution_id), key, number).outcome
        if found is None and (allowed or origin.on_missing == "live"):
            self._gateway.offer_step(execution_id, owner, step, tool)
        elif found is None and origin.on_missing == "ask" and not tool.startswith("@"):
            await self._give(execution_id, [inp.AskLive(step)])
        else:
            await self._give(execution_id, [inp.TakeTask(step, _WORKER), _outcome(found, step, epoch, tool)])

    async def _decide(self, execution_id: str, step: str) -> None:
        resident = await self._residency.get(execution_id)
        origin, open_step = resident.origin, resident.state.steps.get(step)
        asked = resident.transcript.calls.get(step)
        if origin is None or asked is None or open_step is None or open_step.status != "approval":
            return
        approval = open_step.approval_id or ""
        key = call_key(asked.tool, asked.arguments)
        recording = await self._recording(origin.execution_id)
        number = await self._number(execution_id, step, key)
        decided, outcome = _nth(recording, key, number)
        if decided is not None:
            item = inp.Decide(
                approval,
                decided.decision,
                decided.by,
                "replay",
                asked.arguments,
                reason=decided.reason or "as it was recorded",
                arguments=decided.arguments,
                answer=decided.answer,
            )
        elif asked.asks == "call" and outcome is not None:
            item = inp.Decide(
                approval, "approved", _WORKER, "replay", asked.arguments, reason="its result is recorded"
            )
        elif origin.on_missing == "fail":
            item = inp.Decide(
                approval,
                "rejected",
                _WORKER,
                "replay",
                asked.arguments,
                reason="[E0431] It was not recorded.",
            )
        else:
            return  # a person decides
        await self._give(execution_id, [item])

    async def _give(self, execution_id: str, items: Sequence[inp.Input]) -> None:
        resident = await self._residency.get(execution_id)
        self._driver.post_all(resident, [(item, None) for item in items])

    async def _number(self, execution_id: str, step: str, key: str) -> int:
        """How many steps asked the same before this one."""
        steps: dict[str, None] = {}
        for record in await self._journal.events(execution_id):
            asked = _asked(record.event)
            if asked is not None and asked[1] == key:
                steps[asked[0]] = None
        return list(steps).index(step) if step in steps else len(steps)

    async def _recording(self, execution_id: str) -> Recording:
        return recording_of(await self._journal.events(execution_id) if execution_id else [])

    def _spawn(
        self, work: Callable[[str, str], Coroutine[None, None, None]], execution_id: str, step: str
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work, execution_id, step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(
        self, work: Callable[[str, str], Coroutine[None, None, None]], execution_id: str, step: str
    ) -> None:
        while True:
            try:
                await work(execution_id, step)
            except PerdureError as error:
                if error.code not in STORAGE_DOWN:
                    _log.error("replay_fault", execution=execution_id, code=error.code, error=error.what)
                    return
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def close(self) -> None:
        """Stop what is under way; a restart makes it good."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def call_key(tool: str, arguments: dict[str, Any]) -> str:
    """What a call is found by."""
    return ids.content_hash([tool, arguments])


def _asked(event: ev.AnyEvent) -> tuple[str, str] | None:
    """The step and the key of a call, or of a question."""
    if isinstance(event, ev.ToolRequested | ev.ApprovalRequested):
        return event.step, call_key(event.tool, event.arguments)
    if isinstance(event, ev.FunctionRequested):
        return event.step, call_key(event.function, event.arguments)
    return None


def recording_of(records: Sequence[ev.Recorded]) -> Recording:
    """What a journal has recorded."""
    outcomes: dict[str, Outcome] = {}
    decided: dict[str, ev.ApprovalDecided] = {}
    steps: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        event, asked = record.event, _asked(record.event)
        if asked is not None:
            steps[asked[1]][asked[0]] = None
        if isinstance(event, ev.ToolCompleted):
            outcomes[event.step] = event
        elif isinstance(event, ev.ToolFailed):
            if event.retry_at_ms is None:
                outcomes[event.step] = event
        elif isinstance(event, ev.ToolLost):
            if event.policy == "fail":
                outcomes[event.step] = event
        elif isinstance(event, ev.ApprovalDecided):
            decided.setdefault(event.step, event)  # a second one is about an attempt that was lost
    return {key: [Made(decided.get(s), outcomes.get(s)) for s in found] for key, found in steps.items()}


def _nth(recording: Recording, key: str, number: int) -> Made:
    found = recording.get(key, [])
    return found[number] if number < len(found) else Made()


def _outcome(found: Outcome | None, step: str, epoch: int, tool: str) -> inp.Input:
    if isinstance(found, ev.ToolCompleted):
        return inp.TaskSucceeded(step, epoch, found.result, found.state, found.duration_ms)
    if isinstance(found, ev.ToolFailed):
        error = found.error
    elif isinstance(found, ev.ToolLost):
        error = ev.ErrorInfo("E0308", "It is not known whether this call took effect", why=found.reason)
    else:
        error = ev.ErrorInfo(
            "E0431",
            f"This call of {tool} was not recorded, and a replay makes no other",
            where=f"step {step}",
            fix="Go on with what is known.",
        )
    return inp.TaskErrored(step, epoch, error, retryable=False, jitter=0.5)
