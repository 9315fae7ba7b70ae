"""The loop of the engine: take inputs, apply, commit, then act. The only place where that order is written.

For each execution: inputs queue in its mailbox; all that wait are applied one after the other and committed as one
transaction; when it is durable the events are published, the effects performed and the callers answered (E1, E2).
While a commit is under way new inputs queue. Executions do not wait for each other: their commits share an fsync in
the journal.

What can go wrong, and what is done:

* `apply` refuses an input: its caller gets the error, nothing else happens.
* `apply` or an effect raises anything else: a fault of the engine. The execution is read again from the journal;
  after `max_faults` in a row it is quarantined (E10), and no other execution notices.
* The storage is down or full (E0501, E0506): callers get the error; inputs that nobody waits for (a model's answer)
  are kept and tried again, so that nothing that was paid for is thrown away.
* The journal refuses this one commit (E0503, E0505, E0508): as a fault of the engine. When a value in it cannot be
  stored (E0508) its inputs are tried one by one, so that only the caller who gave that value is told so.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.effects import Effect
from perdure.core.errors import ExecutionError, JournalError, PerdureError
from perdure.core.events import TERMINAL, AnyEvent, ErrorInfo, Recorded, kind_of, storable
from perdure.core.machines.draft import Applied
from perdure.core.machines.turn import apply, next_due_ms
from perdure.core.machines.turn_state import TurnState, encode_state
from perdure.engine.config import EngineConfig
from perdure.engine.faults import crash_point
from perdure.engine.journal.failures import not_storable
from perdure.engine.ports import Commit, Journal, StoredExecution
from perdure.engine.projections import approval_rows
from perdure.engine.resident import Done, Resident, status_of
from perdure.log import get_logger

_log = get_logger("perdure.engine")

Answer = Applied | PerdureError | StoredExecution
Taken = list[tuple[inp.Input, Done | None, Answer]]

# What is wrong with the storage as a whole, and passes; any other error of the journal is about one execution.
STORAGE_DOWN = frozenset({"E0501", "E0506"})


# A team's child ends soon as a rule, and then the team goes on: it is let go of when it has been idle for a while.
_STAYS = frozenset({"running", "waiting:child"})


class _Round(NamedTuple):
    """What the inputs of one round came to: one commit, if there are events."""

    state: TurnState
    events: list[AnyEvent]
    effects: list[Effect]
    taken: Taken


class Listeners:
    """What happens after a commit; set once by the engine that composes the parts."""

    def __init__(self) -> None:
        self.publish: Callable[[Resident, list[Recorded]], None] = lambda *_: None
        self.perform: Callable[[Resident, Effect], None] = lambda *_: None
        self.due: Callable[[Resident, int], None] = lambda *_: None
        self.released: Callable[[Resident], None] = lambda *_: None
        self.reload: Callable[[Resident, JournalError | None], None] = lambda *_: None


class Driver:
    """Drives residents. All methods run on the event loop."""

    def __init__(self, journal: Journal, clock: Clock, config: EngineConfig) -> None:
        self.listeners = Listeners()
        self.started = 0
        self.ended: dict[str, int] = {}
        self.closed = False
        self._journal = journal
        self._clock = clock
        self._config = config

    def post(self, resident: Resident, item: inp.Input, done: Done | None) -> None:
        """Give *item* to the execution; *done* is called when its outcome is durable, or with its error.

        Without *done* the input is the engine's own: it is kept over a storage failure.
        """
        resident.mailbox.append((item, done))
        if not resident.committing:
            self._pump(resident)

    def post_all(self, resident: Resident, waiting: Sequence[tuple[inp.Input, Done | None]]) -> None:
        """Give several inputs at once, so that none finds the execution let go of by the one before it."""
        resident.mailbox.extend(waiting)
        if not resident.committing:
            self._pump(resident)

    def _pump(self, resident: Resident) -> None:
        while resident.mailbox:
            now = self._clock.now_ms()
            applied = self._apply_waiting(resident, now)
            if applied is None:
                return
            if applied.events:
                self._commit(resident, applied, now)
                return
            self._answer(resident, applied.taken)
        self._rest(resident)

    def _apply_waiting(self, resident: Resident, now: int) -> _Round | None:
        """Apply what waits, one after the other; None: a fault, which is seen to."""
        state = resident.state
        events: list[AnyEvent] = []
        effects: list[Effect] = []
        taken: Taken = []
        while resident.mailbox:
            item, done = resident.mailbox.popleft()
            try:
                applied = apply(resident.scope, state, item, now)
                for event in applied.events:
                    resident.fold(event, now)
            except PerdureError as refused:
                if refused.code == "E0414":
                    self._fault(resident, [*taken, (item, done, refused)], refused, refused)
                    return None
                taken.append((item, done, refused))
            except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
                error = _internal(resident, fault)
                self._fault(resident, [*taken, (item, done, error)], fault, error)
                return None
            else:
                state = applied.state
                events += applied.events
                effects += applied.effects
                taken.append((item, done, applied))
            if resident.single:
                break
        return _Round(state, events, effects, taken)

    def _commit(self, resident: Resident, applied: _Round, now: int) -> None:
        crash_point("before_submit", map(kind_of, applied.events))
        try:
            commit = self._commit_of(resident, applied.state, applied.events, now)
            resident.committing = True
            self._journal.commit(commit, partial(self._committed, resident, applied, commit))
        except JournalError as refused:
            self._not_written(resident, applied.taken, refused)
        except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
            self._fault(resident, applied.taken, fault, _internal(resident, fault))

    def _commit_of(self, resident: Resident, state: TurnState, events: list[AnyEvent], now: int) -> Commit:
        try:
            encoded = encode_state(state)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise not_storable(error, resident.execution_id) from error
        return Commit(
            execution_id=resident.execution_id,
            expected_seq=resident.seq,
            at_ms=now,
            events=tuple(events),
            state=encoded,
            status=status_of(state),
            next_due_ms=next_due_ms(state),
            approvals=approval_rows(resident, events, now),
            new=resident.new,
        )

    def _committed(
        self,
        resident: Resident,
        applied: _Round,
        commit: Commit,
        outcome: StoredExecution | JournalError | None,
    ) -> None:
        resident.committing = False
        if outcome is not None:
            self._not_written(resident, applied.taken, outcome)
            return
        crash_point("after_commit_before_ack", map(kind_of, commit.events))
        first = resident.seq + 1
        resident.state = applied.state
        resident.seq += len(commit.events)
        resident.status = commit.status
        resident.updated_at_ms = commit.at_ms
        resident.faults = 0
        self._count(resident, commit)
        crash_point("after_record_before_publish", map(kind_of, commit.events))
        records = [Recorded(first + i, commit.at_ms, e) for i, e in enumerate(commit.events)]
        self.listeners.publish(resident, records)
        if commit.next_due_ms is not None:
            self.listeners.due(resident, commit.next_due_ms)
        crash_point("before_effects", map(kind_of, commit.events))
        for effect in applied.effects:
            self.perform(resident, effect)
        crash_point("before_answer", map(kind_of, commit.events))
        self._answer(resident, applied.taken)
        if not resident.lost and not resident.committing:
            self._pump(resident)

    def _count(self, resident: Resident, commit: Commit) -> None:
        if resident.new is not None:
            resident.new = None
            self.started += 1
        if isinstance(commit.events[-1], TERMINAL):
            self.ended[commit.status] = self.ended.get(commit.status, 0) + 1

    def perform(self, resident: Resident, effect: Effect) -> None:
        """Begin an effect whose event is durable. None begins once the engine is closing: a restart makes them good."""
        if self.closed:
            return
        try:
            self.listeners.perform(resident, effect)
        except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
            if resident.lost:
                self._note(resident, fault)
            else:
                self._fault(resident, [], fault, _internal(resident, fault))

    def _answer(self, resident: Resident, taken: Taken) -> None:
        for _item, done, answer in taken:
            if done is not None:
                done(resident, answer)

    def _rest(self, resident: Resident) -> None:
        """Let go of an execution that has nothing in flight: waiting costs nothing."""
        resident.touched = self._clock.monotonic()
        resident.single = False
        if resident.status not in _STAYS and resident.idle:
            self.listeners.released(resident)

    # When something fails ------------------------------------------------------------------------------

    def _give_up(self, resident: Resident) -> list[tuple[inp.Input, Done | None]]:
        """Memory is ahead of the journal: nobody may use it any more. What had not been looked at yet."""
        waiting = list(resident.mailbox)
        resident.mailbox.clear()
        resident.committing = False
        resident.lost = True
        return waiting

    def _not_written(self, resident: Resident, taken: Taken, outcome: StoredExecution | JournalError) -> None:
        if isinstance(outcome, StoredExecution):
            self._give_up(resident)
            self.listeners.released(resident)
            self._answer(resident, [(item, done, outcome) for item, done, _ in taken])
        elif outcome.code in STORAGE_DOWN:
            waiting = [(item, done) for item, done, _ in taken] + self._give_up(resident)
            resident.mailbox.extend((item, None) for item, done in waiting if done is None)
            self.listeners.reload(resident, outcome)
            self._answer(resident, [(item, done, outcome) for item, done in waiting])
        elif outcome.code != "E0508" or (len(taken) == 1 and taken[0][1] is None):
            self._fault(resident, taken, outcome, outcome)
        else:
            self._not_storable(resident, taken, outcome)

    def _not_storable(self, resident: Resident, taken: Taken, outcome: JournalError) -> None:
        """One input of this round has a value that cannot be stored; all others must not suffer for it."""
        waiting = self._give_up(resident)
        # An execution whose first commit this is does not exist, and is not read again.
        one = len(taken) == 1 or resident.new is not None
        if not one:
            resident.single = True
            waiting[:0] = [(item, done) for item, done, _ in taken]
        resident.mailbox.extend(waiting)
        self.listeners.reload(resident, None)
        if one:
            self._answer(resident, [(item, done, outcome) for item, done, _ in taken])

    def _fault(self, resident: Resident, taken: Taken, fault: Exception, error: PerdureError) -> None:
        """E10: the execution is read again and given its inputs again, until it is set aside."""
        self._note(resident, fault)
        waiting = self._give_up(resident)
        told: Taken = [(item, done, error) for item, done, _ in taken]
        limit = self._config.max_faults
        if resident.faults < limit:
            resident.mailbox.extend((item, None) for item, done, _ in taken if done is None)
            resident.mailbox.extend(waiting)
        else:
            told += [(item, done, error) for item, done in waiting]
        if limit <= resident.faults < 2 * limit:
            why = f"{error.what}: {error.why}" if error.why else error.what
            info = ErrorInfo("E0411", "The execution was set aside after repeated faults", why=why)
            resident.mailbox.append((inp.Quarantine(storable(info)), None))
        if resident.faults < 2 * limit:
            self.listeners.reload(resident, None)
        else:  # not even its quarantine can be recorded: whoever calls next reads it again
            _log.error("execution_given_up", execution=resident.execution_id, error=error.what)
            self.listeners.released(resident)
        # Nothing of this round was written, so the callers of its earlier inputs are told the same.
        self._answer(resident, told)

    def _note(self, resident: Resident, fault: Exception) -> None:
        resident.faults += 1
        _log.error(
            "engine_fault",
            execution=resident.execution_id,
            faults=resident.faults,
            error=f"{type(fault).__name__}: {fault}",
            exc_info=fault,
        )


def _internal(resident: Resident, fault: Exception) -> PerdureError:
    return ExecutionError(
        "E0414",
        "The engine met a fault in this execution",
        where=f"execution {resident.execution_id}",
        why=f"{type(fault).__name__}: {fault}",
        fix="Please report it; the journal is unharmed and other executions go on.",
    )


async def settle(post: Callable[[Done], None]) -> tuple[Resident, Applied | StoredExecution]:
    """Call *post* with a `Done` and wait for the answer; an error is raised."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[Resident, Applied | StoredExecution]] = loop.create_future()

    def done(resident: Resident | None, answer: Answer) -> None:
        if future.done():
            return  # the caller is gone
        if isinstance(answer, PerdureError):
            future.set_exception(answer)
        elif resident is not None:
            future.set_result((resident, answer))

    post(done)
    return await future
