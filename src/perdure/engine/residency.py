"""Which executions are in memory: read when something happens to them, let go when they wait.

Reading one checks it: the chain of checksums (in the journal), and that the events, folded, give the stored state
byte for byte (I9). What does not check out is refused by name and harms no other execution (E10).
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.effects import CallModel
from perdure.core.errors import ExecutionError, JournalError, PerdureError
from perdure.core.events import ExecutionStarted, HistoryRef
from perdure.core.history import handoff_view, session_view, team_view
from perdure.core.machines.draft import Applied
from perdure.core.machines.turn import effects_of
from perdure.core.machines.turn_state import TurnState, decode_state, encode_state, evolve
from perdure.core.messages import Message
from perdure.core.model import ModelRef
from perdure.core.plan import Plan
from perdure.core.requests import remembered
from perdure.core.tokens import Tokens, heuristic_tokens
from perdure.engine.config import EngineConfig
from perdure.engine.driver import STORAGE_DOWN, Driver, settle
from perdure.engine.journal.failures import conflict, not_open
from perdure.engine.ports import TERMINAL_STATUSES, Catalog, Journal, NewExecution, StoredExecution
from perdure.engine.projections import asked_again
from perdure.engine.resident import Done, Resident
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_PLANS_KEPT = 1_000
_TOLD_KEPT = 64


def not_found(execution_id: str) -> ExecutionError:
    """E0401."""
    return ExecutionError(
        "E0401",
        "No execution has this id",
        where=f"execution {execution_id}",
        fix="List them with `perdure ls`.",
    )


def _by_rule(_model: ModelRef) -> Tokens:
    return heuristic_tokens


class Residency:
    """The executions in memory, by id."""

    def __init__(
        self,
        journal: Journal,
        catalog: Catalog,
        driver: Driver,
        clock: Clock,
        config: EngineConfig,
        tokens: Callable[[ModelRef], Tokens] = _by_rule,
    ) -> None:
        self._tokens = tokens
        self.residents: dict[str, Resident] = {}
        self.fault: JournalError | None = None
        self._journal = journal
        self._catalog = catalog
        self._driver = driver
        self._clock = clock
        self._config = config
        self._plans: dict[str, Plan] = {}
        self._loading: dict[str, asyncio.Future[Resident]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: dict[str, list[tuple[inp.Input, Done | None]]] = {}
        self._faults: dict[str, int] = {}
        self._single: set[str] = set()
        self._told: dict[str, Sequence[Message]] = {}  # conversations of sessions, by their last execution
        self._closed = False
        driver.listeners.released = self.release
        driver.listeners.reload = self.reload

    # Plans ---------------------------------------------------------------------------------------------

    async def keep_plan(self, plan_hash: str, plan: Plan) -> Plan:
        """Store a plan before an execution is pinned to it; gives the one object that all its executions share."""
        known = self._plans.get(plan_hash)
        if known is None:
            await self._catalog.put_plan(plan_hash, plan, self._clock.now_ms())
            known = self._remember(plan_hash, plan)
        return known

    async def plan_of(self, plan_hash: str) -> Plan:
        """The stored plan; E0503 when it is gone."""
        plan = self._plans.get(plan_hash)
        if plan is None:
            plan = await self._catalog.get_plan(plan_hash)
            if plan is None:
                raise JournalError(
                    "E0503",
                    "The plan of an execution is not in the journal",
                    where=f"plan {plan_hash}",
                    fix="Restore the data directory from a backup.",
                )
            plan = self._remember(plan_hash, plan)
        return plan

    def _remember(self, plan_hash: str, plan: Plan) -> Plan:
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.pop(next(iter(self._plans)))
        return self._plans.setdefault(plan_hash, plan)

    # Taking in -----------------------------------------------------------------------------------------

    def admit(self, new: NewExecution, plan: Plan, history: Sequence[Message] = ()) -> Resident:
        """A new execution, not yet in the journal; *history* is the conversation that it goes on from."""
        self._check()
        resident = self.residents[new.execution_id] = Resident(
            new, plan, TurnState(), history, self._tokens(plan.model)
        )
        return resident

    async def history_of(
        self, ref: HistoryRef | None, viewer: str, include: str = "default"
    ) -> list[Message]:
        """The conversation that an execution goes on from, as its agent sees it.

        Raises:
            JournalError: E0501, E0503, E0506.
        """
        if ref is None or include == "none":
            return []
        if ref.kind == "session":
            return list(await self._conversation(ref.execution_id))
        source = self.residents.get(ref.execution_id)
        # One that has ended is not replayed when somebody asks for it: its conversation is not in memory then.
        if source is None or source.lost or source.state.over:
            row = await self._journal.load(ref.execution_id)
            if row is None:
                raise not_found(ref.execution_id)
            source = await self._folded(row)
        seen = source.transcript
        if ref.kind == "team":
            members = source.plan.team.members if source.plan.team is not None else ()
            before = handoff_view(seen.messages[: seen.before])
            return [*before, *team_view(seen.entries[: ref.upto], members, viewer)]
        return handoff_view(seen.messages[: ref.upto])

    async def _conversation(self, execution_id: str) -> Sequence[Message]:
        """What the executions of a session up to this one have said: read from the last one back, told from the first on."""
        rows: list[StoredExecution] = []
        said: Sequence[Message] = []
        at: str | None = execution_id
        while at is not None:
            known = self._told.get(at)
            if known is not None:
                said = known
                break
            row = await self._journal.load(at)
            if row is None:
                raise not_found(at)
            rows.append(row)
            first = (await self._journal.events(at, 0, 1))[0].event
            before = first.history if isinstance(first, ExecutionStarted) else None
            at = before.execution_id if before is not None and before.kind == "session" else None
        for row in reversed(rows):
            plan = await self.plan_of(row.plan_hash)
            resident = Resident(row, plan, decode_state(row.state))
            await self._replay(resident, row, [] if plan.include_contents == "none" else said)
            if row.status not in TERMINAL_STATUSES:
                return []
            said = session_view(resident.transcript.messages[len(remembered(plan)) :])
            self._told.pop(row.execution_id, None)
            self._told[row.execution_id] = said
            if len(self._told) > _TOLD_KEPT:
                self._told.pop(next(iter(self._told)))
        return said

    async def _folded(self, row: StoredExecution) -> Resident:
        """An execution read for its conversation alone: nobody drives it."""
        resident = Resident(row, await self.plan_of(row.plan_hash), decode_state(row.state))
        await self._replay(resident, row)
        return resident

    async def get(self, execution_id: str) -> Resident:
        """The execution, in memory, and the only one of its id. Loads of the same execution share one read.

        What is given may be let go of at the caller's next `await`: it must be used before.

        Raises:
            ExecutionError: E0401.
            JournalError: E0501, E0506 while the journal cannot be written; E0503 it is damaged.
        """
        while True:
            resident = self.residents.get(execution_id)
            if resident is not None:
                return resident
            # Another who waited for the same load may have used it and let it go already.
            await self._read(execution_id)

    async def _read(self, execution_id: str) -> None:
        self._check()
        future = self._loading.get(execution_id)
        if future is None:
            future = self._loading[execution_id] = asyncio.get_running_loop().create_future()
            self._spawn(self._load_into(execution_id, future))
        await asyncio.shield(future)

    async def settle(self, execution_id: str, item: inp.Input) -> tuple[Resident, Applied | StoredExecution]:
        """Give the execution an input and wait for its outcome, which is durable then; an error is raised."""
        resident = await self.get(execution_id)
        return await settle(lambda done: self._driver.post(resident, item, done))

    def _check(self) -> None:
        if self._closed:
            raise not_open("the engine")
        if self.fault is not None:
            raise self.fault

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load_into(self, execution_id: str, future: asyncio.Future[Resident]) -> None:
        failure: PerdureError | None = None
        try:
            resident = self.residents.setdefault(execution_id, await self._load(execution_id))
        except PerdureError as error:
            failure = error
        except asyncio.CancelledError:
            failure = not_open("the engine")
            raise
        except Exception as error:  # noqa: BLE001 - E10: one of the named boundaries; whoever waits must be told
            failure = _cannot_read(execution_id, error)
        finally:
            del self._loading[execution_id]
            if failure is None:
                future.set_result(resident)
            else:
                future.set_exception(failure)
                future.exception()  # retrieved here: nobody may be waiting any more
        if failure is None:
            # Before anybody else has it: no commit is under way yet that the calls begun here would not know of.
            self._give_kept(resident)

    async def _load(self, execution_id: str) -> Resident:
        row = await self._journal.load(execution_id)
        if row is None:
            raise not_found(execution_id)
        plan = await self.plan_of(row.plan_hash)
        resident = Resident(row, plan, decode_state(row.state), tokens=self._tokens(plan.model))
        resident.touched = self._clock.monotonic()
        if row.status not in TERMINAL_STATUSES:
            await self._replay(resident, row)
            resident.asked = asked_again(resident)
        return resident

    async def _replay(
        self, resident: Resident, row: StoredExecution, before: Sequence[Message] | None = None
    ) -> None:
        """Fold the events; *before* is the conversation that it goes on from, where that is known."""
        state = TurnState()
        records = await self._journal.events(row.execution_id)
        started = records[0].event if records else None
        if isinstance(started, ExecutionStarted) and started.history is not None:
            plan = resident.plan
            if before is None:
                before = await self.history_of(started.history, plan.agent, plan.include_contents)
            resident.transcript.go_on_from(before)
            if started.history.kind == "session":
                resident.transcript.earlier = len(before)
            resident.joined = bool(before)
        for record in records:
            if record.seq > row.last_seq:
                break
            evolve(state, record.event)
            resident.fold(record.event, record.at_ms)
        if encode_state(state) != row.state:
            raise JournalError(
                "E0503",
                "I9: the events of the execution do not give its stored state",
                where=f"execution {row.execution_id}, seq {row.last_seq}",
                fix="Keep a copy of the data directory and report it; other executions are not touched.",
            )

    # Letting go ----------------------------------------------------------------------------------------

    def release(self, resident: Resident) -> None:
        """Forget an execution that has nothing in flight; everything about it is in the journal."""
        if self.residents.get(resident.execution_id) is resident:
            del self.residents[resident.execution_id]

    def sweep(self) -> None:
        """Let go of executions that have only waited, for a worker, for a while."""
        limit = self._clock.monotonic() - self._config.idle_ms / 1000
        for resident in list(self.residents.values()):
            if resident.idle and resident.touched < limit and not _in_flight(resident):
                self.release(resident)

    # The engine's own inputs ---------------------------------------------------------------------------

    def deliver(self, execution_id: str, item: inp.Input) -> None:
        """Give the execution an input that nobody waits for, and that must not get lost while storage is down."""
        resident = self.residents.get(execution_id)
        if resident is not None:
            self._driver.post(resident, item, None)
            return
        # Kept in sight while the execution is read: whoever begins its effects anew must know what is answered.
        self._kept.setdefault(execution_id, []).append((item, None))
        if self.fault is None:
            self._spawn(self._give_again(execution_id))

    # After a failure -----------------------------------------------------------------------------------

    def reload(self, resident: Resident, error: JournalError | None) -> None:
        """Read an execution again whose memory is ahead of the journal, and give it the inputs that are kept."""
        self.release(resident)
        if resident.new is not None:
            return  # its first commit was not made: it does not exist, and its caller was told so
        execution_id = resident.execution_id
        self._kept.setdefault(execution_id, []).extend(resident.mailbox)
        self._faults[execution_id] = resident.faults
        if resident.single:
            self._single.add(execution_id)
        resident.mailbox.clear()
        if error is not None:
            self._storage_failed(error)
        if self.fault is None:
            self._spawn(self._give_again(execution_id))

    def _storage_failed(self, error: PerdureError) -> None:
        if self.fault is None and isinstance(error, JournalError):
            self.fault = error
            _log.error("storage_failed", code=error.code, error=error.what, fix=error.fix)
            self._spawn(self._recover_storage())

    async def _recover_storage(self) -> None:
        await asyncio.sleep(self._config.storage_retry_ms / 1000)
        self.fault = None  # the next commit tells whether the storage is back
        for execution_id in list(self._kept):
            await self._give_again(execution_id)

    async def _give_again(self, execution_id: str) -> None:
        """Read an execution for the inputs that are kept for it; whoever reads it gives it these first."""
        if execution_id not in self._kept:
            return  # somebody has
        try:
            await self._read(execution_id)
        except PerdureError as error:
            self._not_again(execution_id, error)

    def _give_kept(self, resident: Resident) -> None:
        """Give an execution that was just read the inputs that are kept for it, and begin again what it asks for."""
        execution_id = resident.execution_id
        kept = self._kept.pop(execution_id, None)
        if kept is None:
            return
        resident.faults = max(resident.faults, self._faults.pop(execution_id, 0))
        resident.single = execution_id in self._single
        self._single.discard(execution_id)
        items = [item for item, _ in kept]
        if not any(isinstance(item, inp.Quarantine) for item in items):
            self._perform_again(resident, items)
        if not resident.lost:
            self._driver.post_all(resident, kept)
        elif execution_id in self._kept:  # it is to be read once more
            self._kept[execution_id][:0] = kept
        else:
            for _, done in kept:
                if done is not None:
                    done(None, conflict(execution_id, resident.seq, None))

    def _not_again(self, execution_id: str, error: PerdureError) -> None:
        """It cannot be read now: those who wait are told so, and the engine's own inputs are kept if it may pass."""
        kept = self._kept.pop(execution_id, [])
        if error.code in STORAGE_DOWN:
            self._kept[execution_id] = [(item, None) for item, done in kept if done is None]
            self._storage_failed(error)
        else:
            _unreadable(execution_id, error)
            self._faults.pop(execution_id, None)
            self._single.discard(execution_id)
        for _, done in kept:
            if done is not None:
                done(None, error)

    def _perform_again(self, resident: Resident, items: list[inp.Input]) -> None:
        """Begin what the durable state asks for, save the model calls that the kept inputs answer or begin anew."""
        recovers = any(isinstance(item, inp.Recover) for item in items)
        answered = {
            (i.step, i.attempt) for i in items if isinstance(i, inp.ModelSucceeded | inp.ModelErrored)
        }
        for effect in effects_of(resident.state):
            if isinstance(effect, CallModel) and (recovers or (effect.step, effect.attempt) in answered):
                continue
            self._driver.perform(resident, effect)

    async def close(self) -> None:
        """Stop background reading; nothing is read from now on."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _in_flight(resident: Resident) -> bool:
    return any(s.status in ("asking", "leased") for s in resident.state.steps.values())


def _cannot_read(execution_id: str, error: Exception) -> JournalError:
    newer = isinstance(error, msgspec.MsgspecError)
    return JournalError(
        "E0504" if newer else "E0503",
        "The execution cannot be read",
        where=f"execution {execution_id}",
        why=f"{type(error).__name__}: {error}",
        fix="Use the version of perdure that wrote it, or a newer one; other executions are not touched.",
    )


def _unreadable(execution_id: str, error: PerdureError) -> None:
    _log.error(
        "execution_unreadable", execution=execution_id, code=error.code, error=error.what, why=error.why
    )
