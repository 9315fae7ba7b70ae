"""The engine: its parts composed, opened and closed.

`executions` and `tasks` are what the server calls. Opening takes up every execution that was running: calls of
models are asked again, steps without a recorded result are offered again, leases get one length of grace. What
waits for a person or a timer is not even read.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from perdure.clock import Clock
from perdure.core import effects as eff
from perdure.core import inputs as inp
from perdure.core.effects import Effect
from perdure.core.errors import PerdureError
from perdure.core.events import TERMINAL, Recorded
from perdure.core.machines.turn_state import TurnState, decode_state
from perdure.core.model import ModelRef
from perdure.core.tokens import Tokens
from perdure.engine.branching import Branches
from perdure.engine.budgets import Budgets
from perdure.engine.children import Children
from perdure.engine.config import EngineConfig
from perdure.engine.driver import Driver
from perdure.engine.executions import ExecutionVerbs
from perdure.engine.histories import HistoryVerbs
from perdure.engine.history_ports import Histories
from perdure.engine.model_calls import ModelCalls
from perdure.engine.ports import Catalog, Executions, Journal, Models, StoredExecution, Tasks
from perdure.engine.replays import Replays
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.engine.sessions import Sessions
from perdure.engine.streams import Streams
from perdure.engine.task_gateway import TaskGateway
from perdure.engine.timers import Timers
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_SWEEP_S = 0.2
_RESTARTED = "the server was restarted"
_FAULT_PAUSE_S = 1.0


class Engine:
    """The embedded engine on one journal.

    Raises (from `open`):
        JournalError: as `Journal.open`.
    """

    def __init__(
        self,
        journal: Journal,
        catalog: Catalog,
        models: Models,
        clock: Clock,
        config: EngineConfig | None = None,
        tokens: Callable[[ModelRef], Tokens] | None = None,
    ) -> None:
        config = config or EngineConfig()
        self._journal = journal
        self._models = models
        self._driver = Driver(journal, clock, config)
        counted = {} if tokens is None else {"tokens": tokens}
        self._residency = Residency(journal, catalog, self._driver, clock, config, **counted)
        self._streams = Streams(journal)
        self._gateway = TaskGateway(self._driver, self._residency, clock, config)
        self._budgets = Budgets(journal, self._residency, clock)
        self._budgets.again = self._gateway.offer
        self._calls = ModelCalls(models, self._residency, self._streams, self._budgets, clock)
        self._branches = Branches(journal, self._driver, self._residency)
        self._replays = Replays(journal, self._driver, self._residency, self._gateway)
        self._children = Children(journal, catalog, self._residency, self._branches, self._replays, clock)
        self._sessions = Sessions(journal, self._driver, self._residency)
        self._timers = Timers(journal, self._residency, clock)
        self._verbs = ExecutionVerbs(
            journal, self._driver, self._residency, self._streams, self._gateway, self._sessions, clock
        )
        self._background: list[asyncio.Task[None]] = []
        self.executions: Executions = self._verbs
        self.tasks: Tasks = self._gateway
        self.histories: Histories = HistoryVerbs(journal, self._residency, self._branches, clock)
        self._performers: dict[type[Effect], Callable[[Resident, Any], None]] = {
            eff.CallModel: self._calls.call,
            eff.AbortModel: self._calls.abort,
            eff.OfferTask: self._offer,
            eff.WithdrawTask: self._gateway.withdraw,
            eff.StartChild: self._children.start,
            eff.StopChild: self._children.stop,
            eff.TellChild: self._children.tell,
            eff.SayToChild: self._children.say,
            eff.AwaitSession: self._sessions.wait,
        }
        listeners = self._driver.listeners
        listeners.publish = self._publish
        listeners.perform = self._perform
        listeners.due = self._timers.note

    @property
    def fault(self) -> PerdureError | None:
        """Why the journal cannot be written at the moment, if so."""
        return self._residency.fault

    def _publish(self, resident: Resident, records: list[Recorded]) -> None:
        self._budgets.notice(resident, records)
        self._streams.publish(resident, records)
        self._verbs.notice(resident, records)
        if resident.state.replay:
            self._replays.notice(resident, records)
        if isinstance(records[-1].event, TERMINAL):
            self._children.ended(resident, records[-1].event)
            self._sessions.ended(resident.execution_id)

    def _perform(self, resident: Resident, effect: Effect) -> None:
        self._performers[type(effect)](resident, effect)

    def _offer(self, resident: Resident, effect: eff.OfferTask) -> None:
        if resident.budgets and not self._budgets.offer(resident, effect):
            return
        if resident.state.replay:
            self._replays.offer(resident.execution_id, effect.step)
        else:
            self._gateway.offer(resident, effect)

    # Opening and closing -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the journal and take up what was running."""
        await self._journal.open()
        await self._recover()
        loop = asyncio.get_running_loop()
        self._background = [loop.create_task(_for_ever(work)) for work in (self._timers.run, self._sweep)]

    async def _recover(self) -> None:
        rows = await self._journal.unfinished()
        for row in rows:
            try:
                self._take_up(row, decode_state(row.state))
            except (PerdureError, msgspec.MsgspecError) as error:
                _log.error("execution_unreadable", execution=row.execution_id, error=str(error))
        await self._children.take_up_orphans()
        if rows:
            _log.info("recovered", executions=len(rows))

    def _take_up(self, row: StoredExecution, state: TurnState) -> None:
        """Begin again what one execution had in flight; it is read only when the machine must speak."""
        # Also when a child may not have heard what its parent was told: the parent's state tells it again.
        children = any(step.status == "child" for step in state.steps.values())
        told = children and (state.phase == "paused" or state.stopping or bool(state.unseen))
        asking = (state.phase == "active" and not state.steps) or told
        for step_id, step in state.steps.items():
            if step.status == "asking":
                asking = True
            elif state.replay and step.status in ("ready", "approval") and state.phase == "active":
                self._replays.take_up(row.execution_id, step_id, step.status)
            elif step.status == "leased":
                self._gateway.leases.grant((row.execution_id, step_id), step.worker or "", step.attempt)
            elif step.status == "ready" and step.due_ms is None and state.phase == "active":
                if state.budgeted:
                    asking = True  # whether it may be made is for the books to say, and they are read with it
                    continue
                self._gateway.offer_step(row.execution_id, step.agent or row.agent, step_id, step.tool or "")
            elif step.status == "child" and state.phase == "active":
                self._children.take_up(row.execution_id, step_id, step.child_id or "")
            elif step.status == "session":
                self._sessions.wait_for(row.execution_id, step.child_id or "")
        if asking:
            self._residency.deliver(row.execution_id, inp.Recover(_RESTARTED))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._gateway.expire()
            self._residency.sweep()

    async def close(self) -> None:
        """Stop: abort model calls, finish commits under way, close the journal. Nothing recorded is lost."""
        self._driver.closed = True
        self._gateway.close()
        self._verbs.release_waiting()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._children.close()
        await self._replays.close()
        await self._sessions.close()
        await self._calls.close()
        await self._budgets.close()
        await self._residency.close()
        await self._journal.close()
        await self._models.aclose()

    def statistics(self) -> dict[str, float]:
        """Counters and gauges for metrics; counters end in `_total`."""
        found: dict[str, float] = {f"journal_{k}": v for k, v in self._journal.statistics().items()}
        found |= {f"executions_{k}_total": v for k, v in self._driver.ended.items()}
        found |= {f"tasks_{k}_total": v for k, v in self._gateway.counts.items()}
        found["executions_started_total"] = self._driver.started
        found["executions_resident"] = len(self._residency.residents)
        found["model_calls_total"] = self._calls.made
        found["model_errors_total"] = self._calls.failed
        found["model_calls_running"] = len(self._calls)
        found["tasks_waiting"] = self._gateway.waiting()
        found["leases"] = len(self._gateway.leases)
        found["streams"] = len(self._streams)
        found["workers"] = len(self._gateway.workers())
        return found


async def _for_ever(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a background loop until cancelled; a fault in it is logged, and it is begun anew."""
    while True:
        try:
            await work()
        except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
            _log.error("background_fault", error=f"{type(fault).__name__}: {fault}", exc_info=fault)
        await asyncio.sleep(_FAULT_PAUSE_S)
