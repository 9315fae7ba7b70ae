"""Child executions: begun once, heard of when they end, ended with their parent.

StartChild   performed after the parent's record of it is durable (E1). The id stands in that record, so that a
child that was begun before a crash is found again and not begun twice (E4).
the end      of a child is given to its parent as an input. What a crash takes away between the two records is made
good at the next start: whoever waits for a child looks whether it has ended.
StopChild    cancels the child (E9). A crash between the parent's end and the child's leaves a running child of
a parent that waits for it no more; the next start finds and cancels it (`take_up_orphans`).
"""

import asyncio
from collections.abc import Coroutine, Sequence

from perdure.clock import Clock
from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import SayToChild, StartChild, StopChild, TellChild
from perdure.core.errors import ExecutionError, JournalError, PerdureError
from perdure.core.machines.children import MAX_DEPTH
from perdure.core.machines.turn_state import decode_state
from perdure.core.messages import Message
from perdure.core.model import Usage
from perdure.engine.branching import Branches
from perdure.engine.driver import STORAGE_DOWN
from perdure.engine.faults import crash_point
from perdure.engine.ports import (
    TERMINAL_STATUSES,
    Catalog,
    Journal,
    NewExecution,
    StoredExecution,
)
from perdure.engine.replays import Replays
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_TITLE_LENGTH = 120
_RETRY_S = 0.5
_BY = "perdure"  # who pauses, resumes and ends a child, in its journal


class Children:
    """Begins, hears and stops child executions."""

    def __init__(
        self,
        journal: Journal,
        catalog: Catalog,
        residency: Residency,
        branches: Branches,
        replays: Replays,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._branches = branches
        self._replays = replays
        self._residency = residency
        self._clock = clock
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # Effects -------------------------------------------------------------------------------------------

    def start(self, resident: Resident, effect: StartChild) -> None:
        """Begin the child, or see what became of it."""
        if effect.child_id in self._starting or effect.child_id in self._residency.residents:
            return
        asked = resident.transcript.children.get(effect.step)
        if asked is None:
            return
        task = self._spawn(self._start(resident, asked))
        self._starting[effect.child_id] = task
        task.add_done_callback(lambda _: self._starting.pop(effect.child_id, None))

    def stop(self, _resident: Resident, effect: StopChild) -> None:
        """Cancel the child."""
        self._spawn(self._cancel(effect.child_id, "its parent has ended"))

    def tell(self, _resident: Resident, effect: TellChild) -> None:
        """Pass on a pause, a resume or the wish to stop."""
        item: inp.Input = inp.StopSoon(_BY, "its parent is to stop")
        if effect.what == "pause":
            item = inp.Pause(_BY, "its parent is paused")
        elif effect.what == "resume":
            item = inp.Resume(_BY)
        self._pass_on(effect.child_id, [item])

    def say(self, resident: Resident, effect: SayToChild) -> None:
        """Pass on what was said since the child is open; it takes each message once."""
        said = resident.transcript.passed_on.get(effect.step, ())
        self._pass_on(effect.child_id, [inp.Say(m.id, m.message, m.by, m.mode) for m in said])

    def _pass_on(self, child_id: str, items: Sequence[inp.Input]) -> None:
        """Give inputs to a child, after those that were given before."""
        if items:
            before = self._lanes.get(child_id)
            task = self._lanes[child_id] = self._spawn(self._give(child_id, items, before))
            task.add_done_callback(
                lambda done: self._lanes.pop(child_id) if self._lanes.get(child_id) is done else None
            )

    async def _give(
        self, child_id: str, items: Sequence[inp.Input], before: asyncio.Task[None] | None
    ) -> None:
        for earlier in (before, self._starting.get(child_id)):
            if earlier is not None:
                await asyncio.wait([earlier])
        for item in items:
            while True:
                try:
                    await self._residency.settle(child_id, item)
                except JournalError as error:
                    if error.code not in STORAGE_DOWN:
                        raise
                    await asyncio.sleep(_RETRY_S)
                except PerdureError:
                    break  # it has ended, or was never begun: there is nobody to be told
                else:
                    break

    def ended(self, resident: Resident, last: ev.AnyEvent) -> None:
        """A child has ended: tell its parent."""
        parent = resident.parent
        if parent is not None:
            crash_point("after_child_before_parent", (ev.kind_of(last),))
            item = _ended(parent.step, resident.execution_id, resident.state.usage, last)
            self._residency.deliver(parent.execution_id, item)

    async def _start(self, parent: Resident, asked: ev.ChildRequested) -> None:
        while True:
            try:
                await self._begin(parent, asked)
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    self._refuse(parent, asked, error)
                    return
                await asyncio.sleep(_RETRY_S)
            except PerdureError as error:
                self._refuse(parent, asked, error)
                return
            else:
                return

    async def _begin(self, parent: Resident, asked: ev.ChildRequested) -> None:
        row = await self._journal.load(asked.child_id)
        if row is not None:
            await self._take_up(row, parent.execution_id, asked.step)
            return
        depth = parent.depth + 1
        if depth > MAX_DEPTH:
            raise ExecutionError(
                "E0420",
                f"Agents call each other more than {MAX_DEPTH} deep",
                where=f"execution {parent.execution_id}, step {asked.step}",
                fix="Look for an agent that calls itself through others.",
            )
        plan_hash = asked.plan_hash or await self._deployed(asked.agent)
        plan = await self._residency.plan_of(plan_hash)
        origin = asked.origin
        if parent.state.replay and parent.origin is not None:
            origin = await self._replays.child_origin(parent.origin, asked)
        if self._is_over(parent, asked):
            return  # the parent was ended while this was read: nobody wants the child any more (E9)
        now = self._clock.now_ms()
        new = NewExecution(
            execution_id=asked.child_id,
            agent=plan.agent,
            plan_hash=plan_hash,
            title=_title(asked.input),
            started_by=f"execution:{parent.execution_id}",
            created_at_ms=now,
            parent_id=parent.execution_id,
        )
        begin = inp.Begin(
            plan_hash=plan_hash,
            input=asked.input,
            started_by=new.started_by,
            deadline_ms=now + plan.timeout_ms if plan.timeout_ms else None,
            parent=ev.ParentRef(parent.execution_id, asked.step, depth),
            history=asked.history,
            budgets=(*parent.budgets, *((asked.child_id,) if plan.budget is not None else ())),
            origin=origin,
        )
        if origin is None:
            await self._branches.begin(new, plan, begin, None)
        else:
            await self._branches.begin_child(new, plan, begin, origin)
        if self._is_over(parent, asked):
            await self._cancel(asked.child_id, "its parent has ended")

    def _is_over(self, parent: Resident, asked: ev.ChildRequested) -> bool:
        """Whether the parent has gone on without this child, as far as memory knows."""
        current = self._residency.residents.get(parent.execution_id)
        if current is None:
            return parent.state.over
        step = current.state.steps.get(asked.step)
        return current.state.over or step is None or step.child_id != asked.child_id

    async def _deployed(self, agent: str) -> str:
        found = await self._catalog.deployed(agent)
        if not found:
            raise ExecutionError(
                "E0412",
                f"No deployed agent has the name {agent!r}",
                fix="Deploy it first (`perdure.deploy(agent)`), then start this again.",
            )
        return found[0].plan_hash

    def _refuse(self, parent: Resident, asked: ev.ChildRequested, error: PerdureError) -> None:
        """It cannot begin: the parent hears of it as of a child that has failed."""
        info = ev.ErrorInfo(error.code, error.what, error.where, error.why, error.fix)
        item = inp.ChildEnded(asked.step, asked.child_id, "failed", usage=Usage(), error=info)
        self._residency.deliver(parent.execution_id, item)

    async def _cancel(self, child_id: str, reason: str) -> None:
        starting = self._starting.get(child_id)
        if starting is not None and starting is not asyncio.current_task():
            await asyncio.wait([starting])
        while True:
            try:
                await self._residency.settle(child_id, inp.Cancel(_BY, reason))
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    _log.error("child_not_cancelled", execution=child_id, code=error.code, error=error.what)
                    return
                await asyncio.sleep(_RETRY_S)
            except PerdureError:
                return  # it was never begun (E0401), or has ended by itself (E0402)
            else:
                return

    # After a restart -----------------------------------------------------------------------------------

    def take_up(self, parent_id: str, step: str, child_id: str) -> None:
        """See what became of a child that was open when the server stopped."""
        self._spawn(self._look(parent_id, step, child_id))

    async def _look(self, parent_id: str, step: str, child_id: str) -> None:
        while True:
            try:
                row = await self._journal.load(child_id)
                if row is not None:
                    await self._take_up(row, parent_id, step)
                    return
                # It was never begun. Its parent may be in memory already, for another reason: it is asked for here.
                parent = await self._residency.get(parent_id)
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                if parent.state.phase == "active":
                    self.start(parent, StartChild(step, child_id))
                return

    async def _take_up(self, row: StoredExecution, parent_id: str, step: str) -> None:
        if row.status not in TERMINAL_STATUSES:
            # It goes on by itself, and its end will be heard of; what it was not told is told again.
            if row.status == "paused" and await self._paused_with_parent(row.execution_id):
                self._pass_on(row.execution_id, [inp.Resume(_BY)])
            return
        last = (await self._journal.events(row.execution_id, row.last_seq - 1, 1))[-1].event
        item = _ended(step, row.execution_id, decode_state(row.state).usage, last)
        self._residency.deliver(parent_id, item)

    async def _paused_with_parent(self, child_id: str) -> bool:
        """Whether it was its parent's pause that paused it, and no person's."""
        events = [record.event for record in await self._journal.events(child_id)]
        paused = next((e for e in reversed(events) if isinstance(e, ev.ExecutionPaused)), None)
        return paused is not None and paused.by == _BY

    async def take_up_orphans(self) -> None:
        """Cancel what still runs although its parent has ended, or waits for it no more (E9)."""
        for child_id in await self._journal.orphans():
            self._spawn(self._cancel(child_id, "its parent waits for it no more"))

    # ---------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before it begins never runs it
        return task

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except PerdureError as error:
            _log.error("child_fault", code=error.code, error=error.what)

    async def close(self) -> None:
        """Stop what is under way; a restart makes it good."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _ended(step: str, child_id: str, usage: Usage, last: ev.AnyEvent) -> inp.ChildEnded:
    if isinstance(last, ev.ExecutionCompleted):
        return inp.ChildEnded(
            step,
            child_id,
            "completed",
            usage,
            output=last.output,
            finish_reason=last.finish_reason,
            handover=last.handover,
        )
    if isinstance(last, ev.ExecutionFailed):
        return inp.ChildEnded(step, child_id, "failed", usage, error=last.error)
    by, reason = (last.by, last.reason) if isinstance(last, ev.ExecutionCancelled) else ("", "")
    error = ev.ErrorInfo("E0406", "The execution was cancelled", where=f"by {by}", why=reason)
    return inp.ChildEnded(step, child_id, "cancelled", usage, error=error)


def _title(message: Message) -> str:
    return " ".join(message.text.split())[:_TITLE_LENGTH]
