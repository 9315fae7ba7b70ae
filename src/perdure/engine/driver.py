"""The loop of the engine: take inputs, apply, commit, then act. The only place where that order is written.

For each execution: inputs queue in its mailbox; all that wait are applied one after the other and committed as one
transaction; when it is durable the events are published, the effects performed and the callers answered (E1, E2).
While a commit is under way new inputs queue. Executions do not wait for each other: their commits share an fsync in
the journal.

What can go wrong, and what is done:

* `apply` refuses an input: its caller gets the error, nothing else happens.
* `apply` or an effect raises anything else: a fault of the engine. The execution is read again from the journal;
  after `max_faults` in a row it is quarantined (E10), and no other execution notices.
* The commit fails for lack of space: callers get the error (E0501); inputs that nobody waits for (a model's answer)
  are kept and tried again, so that nothing that was paid for is thrown away.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.effects import Effect
from perdure.core.errors import ExecutionError, JournalError, PerdureError
from perdure.core.events import TERMINAL, AnyEvent, ErrorInfo, ModelCompleted, ModelLost, Recorded, kind_of
from perdure.core.machines.draft import Applied
from perdure.core.machines.turn import apply, next_due_ms
from perdure.core.machines.turn_state import TurnState, encode_state
from perdure.engine.config import EngineConfig
from perdure.engine.faults import crash_point
from perdure.engine.ports import Commit, Journal, StoredExecution
from perdure.engine.projections import approval_rows
from perdure.engine.resident import Done, Resident, status_of

_log = structlog.get_logger("perdure.engine")
_ANSWERED = (ModelCompleted, ModelLost)  # what an attempt has streamed is void, or in the journal

Answer = Applied | PerdureError | StoredExecution


class Listeners:
    """What happens after a commit; set once by the engine that composes the parts."""

    def __init__(self) -> None:
        self.publish: Callable[[Resident, list[Recorded]], None] = lambda *_: None
        self.perform: Callable[[Resident, Effect], None] = lambda *_: None
        self.due: Callable[[int], None] = lambda *_: None
        self.released: Callable[[Resident], None] = lambda *_: None
        self.reload: Callable[[Resident, JournalError | None], None] = lambda *_: None


class Driver:
    """Drives residents. All methods run on the event loop."""

    def __init__(self, journal: Journal, clock: Clock, config: EngineConfig) -> None:
        self.listeners = Listeners()
        self.started = 0
        self.ended: dict[str, int] = {}
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

    def _pump(self, resident: Resident) -> None:
        now = self._clock.now_ms()
        state = resident.state
        events: list[AnyEvent] = []
        effects: list[Effect] = []
        taken: list[tuple[inp.Input, Done | None, Answer]] = []
        while resident.mailbox:
            item, done = resident.mailbox.popleft()
            try:
                applied = apply(resident.scope, state, item, now)
                for event in applied.events:
                    resident.fold(event, now)
            except ExecutionError as refused:
                if refused.code == "E0414":
                    self._fault(resident, [*taken, (item, done, refused)], refused)
                    return
                taken.append((item, done, refused))
                continue
            except PerdureError as refused:
                taken.append((item, done, refused))
                continue
            except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
                self._fault(resident, [*taken, (item, done, _internal(resident, fault))], fault)
                return
            state = applied.state
            events += applied.events
            effects += applied.effects
            taken.append((item, done, applied))
        if not events:
            self._answer(resident, taken)
            self._rest(resident)
            return
        resident.committing = True
        commit = self._commit_of(resident, state, events, now)
        crash_point("before_submit", map(kind_of, events))
        self._journal.commit(commit, partial(self._committed, resident, state, commit, effects, taken))

    def _commit_of(self, resident: Resident, state: TurnState, events: list[AnyEvent], now: int) -> Commit:
        return Commit(
            execution_id=resident.execution_id,
            expected_seq=resident.seq,
            at_ms=now,
            events=tuple(events),
            state=encode_state(state),
            status=status_of(state),
            next_due_ms=next_due_ms(state),
            approvals=approval_rows(resident, events, now),
            new=resident.new,
        )

    def _committed(
        self,
        resident: Resident,
        state: TurnState,
        commit: Commit,
        effects: list[Effect],
        taken: list[tuple[inp.Input, Done | None, Answer]],
        outcome: StoredExecution | JournalError | None,
    ) -> None:
        resident.committing = False
        if outcome is not None:
            self._not_written(resident, taken, outcome)
            return
        crash_point("after_commit_before_ack", map(kind_of, commit.events))
        first = resident.seq + 1
        resident.state = state
        resident.seq += len(commit.events)
        resident.status = commit.status
        resident.updated_at_ms = commit.at_ms
        resident.faults = 0
        self._count(resident, commit)
        crash_point("after_record_before_publish", map(kind_of, commit.events))
        records = [Recorded(first + i, commit.at_ms, e) for i, e in enumerate(commit.events)]
        self.listeners.publish(resident, records)
        if commit.next_due_ms is not None:
            self.listeners.due(commit.next_due_ms)
        crash_point("before_effects", map(kind_of, commit.events))
        for effect in effects:
            self._perform(resident, effect)
        crash_point("before_answer", map(kind_of, commit.events))
        self._answer(resident, taken)
        if resident.mailbox and not resident.committing:
            self._pump(resident)
        else:
            self._rest(resident)

    def _count(self, resident: Resident, commit: Commit) -> None:
        if resident.new is not None:
            resident.new = None
            self.started += 1
        for event in commit.events:
            if isinstance(event, _ANSWERED):
                resident.partials.pop(event.step, None)
        if isinstance(commit.events[-1], TERMINAL):
            resident.partials.clear()
            self.ended[commit.status] = self.ended.get(commit.status, 0) + 1

    def _perform(self, resident: Resident, effect: Effect) -> None:
        try:
            self.listeners.perform(resident, effect)
        except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
            self._note(resident, fault)
            resident.lost = True
            self.listeners.reload(resident, None)

    def _answer(self, resident: Resident, taken: list[tuple[inp.Input, Done | None, Answer]]) -> None:
        for _item, done, answer in taken:
            if done is not None:
                done(resident, answer)

    def _rest(self, resident: Resident) -> None:
        """Let go of an execution that has nothing in flight: waiting costs nothing."""
        resident.touched = self._clock.monotonic()
        if resident.status != "running" and resident.idle:
            self.listeners.released(resident)

    # When something fails ------------------------------------------------------------------------------

    def _not_written(
        self,
        resident: Resident,
        taken: list[tuple[inp.Input, Done | None, Answer]],
        outcome: StoredExecution | JournalError,
    ) -> None:
        waiting = [(item, done) for item, done, _ in taken]
        waiting += resident.mailbox
        resident.mailbox.clear()
        resident.lost = True
        if isinstance(outcome, JournalError):
            resident.mailbox.extend((item, None) for item, done in waiting if done is None)
            self.listeners.reload(resident, outcome)
        else:
            self.listeners.released(resident)
        self._answer(resident, [(item, done, outcome) for item, done in waiting])

    def _fault(
        self, resident: Resident, taken: list[tuple[inp.Input, Done | None, Answer]], fault: Exception
    ) -> None:
        """E10: the execution is read again and given its inputs again, until it is set aside."""
        self._note(resident, fault)
        error = taken[-1][2]
        waiting = [(item, done) for item, done, _ in taken] + list(resident.mailbox)
        resident.mailbox.clear()
        resident.lost = True
        if resident.faults < self._config.max_faults:
            resident.mailbox.extend((item, None) for item, done in waiting if done is None)
        else:
            info = ErrorInfo("E0411", "The execution was set aside after repeated faults", why=str(error))
            resident.mailbox.append((inp.Quarantine(info), None))
        self.listeners.reload(resident, None)
        # Nothing of this round was written, so the callers of its earlier inputs are told the same.
        self._answer(resident, [(item, done, error) for item, done in waiting])

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
    future: asyncio.Future[tuple[Resident, Answer]] = asyncio.get_running_loop().create_future()

    def done(resident: Resident, answer: Answer) -> None:
        if not future.done():
            future.set_result((resident, answer))

    post(done)
    resident, answer = await future
    if isinstance(answer, PerdureError):
        raise answer
    return resident, answer
