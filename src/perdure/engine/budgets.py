"""Budgets: the books of every execution that has one, shared by all below it.

A model call is reserved in all books that it counts in before it is made, and settled when its answer is recorded; a
breach becomes an input of the execution, whose machine does what the budget says. The books are in memory and follow
from the journal: after a restart they are added up again from the events of the whole tree, and a call that was under
way is made and reserved again. A call that was lost counts as what it was estimated at (it was probably paid for).
"""

import asyncio
from collections.abc import Sequence

import msgspec

from perdure.clock import Clock
from perdure.core import budgets as books
from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.budgets import Breach, Ledger, Limits, Spent
from perdure.core.definition import BudgetDefinition
from perdure.core.effects import OfferTask
from perdure.core.events import Recorded
from perdure.core.model import ModelRequest
from perdure.core.prices import price_of
from perdure.engine.ports import ExecutionFilter, Journal
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident

_PAGE = 1_000


class _Book:
    """One execution's budget."""

    __slots__ = ("definition", "ledger", "started_ms")

    def __init__(self, definition: BudgetDefinition, started_ms: int) -> None:
        self.definition = definition
        self.started_ms = started_ms
        self.ledger = Ledger(Limits.of(definition))

    def settle(self, call: str, model: str, event: ev.AnyEvent) -> None:
        """Take in what an event says was used."""
        price = price_of(model, self.definition.prices)
        match event:
            case ev.ModelCompleted(usage=usage):
                self.ledger = self.ledger.settle(call, books.spent_of(usage, price))
            case ev.ModelFailed() | ev.ModelInterrupted():
                self.ledger = self.ledger.release(call)
            case ev.ModelLost():
                self.ledger = self.ledger.settle(call, self.ledger.reserved.get(call, Spent()))
            case ev.ToolRequested():
                self.ledger = self.ledger.settle("", Spent(tool_calls=1))

    def grant(self, limit: str) -> None:
        """As much again of one limit."""
        field = {"cost": "cost_micro_usd", "seconds": "ms"}.get(limit, limit)
        first, now = getattr(Limits.of(self.definition), field), getattr(self.ledger.limits, field)
        if first is not None and now is not None:
            limits = msgspec.structs.replace(self.ledger.limits, **{field: now + first})
            self.ledger = msgspec.structs.replace(self.ledger, limits=limits)


class Budgets:
    """All books, by the execution that has the budget."""

    def __init__(self, journal: Journal, residency: Residency, clock: Clock) -> None:
        self._journal = journal
        self._residency = residency
        self._clock = clock
        self._books: dict[str, _Book] = {}
        self._loading: dict[str, asyncio.Task[_Book | None]] = {}
        self._meanwhile: dict[str, list[tuple[str, str, ev.AnyEvent]]] = {}

    # Model calls ---------------------------------------------------------------------------------------

    async def reserve(
        self, resident: Resident, step: str, attempt: int, request: ModelRequest
    ) -> inp.BudgetBreached | None:
        """Reserve a model call in all books that it counts in; else what stands in its way.

        Raises:
            JournalError: the books cannot be added up again.
        """
        found = [book for owner in resident.budgets if (book := await self._book(owner)) is not None]
        if not found:
            return None
        call = _call(resident.execution_id, step, attempt)
        for owner, book in zip(resident.budgets, found, strict=False):
            breach = books.out_of_time(book.ledger.limits, book.started_ms, self._clock.now_ms())
            if breach is None:
                price = price_of(str(request.model), book.definition.prices)
                book.ledger, breach = book.ledger.reserve(call, books.estimate_call(request, price))
            if breach is not None:
                for other in found:
                    other.ledger = other.ledger.release(call)
                return _breached(owner, book, step, attempt, breach)
        return None

    def offer(self, resident: Resident, effect: OfferTask) -> bool:
        """Whether a tool call may be offered; else its execution is told what stands in the way."""
        if effect.tool.startswith("@"):
            return True
        for owner in resident.budgets:
            book = self._books.get(owner)
            most = None if book is None else book.ledger.limits.tool_calls
            if book is not None and most is not None and book.ledger.spent.tool_calls > most:
                step = resident.state.steps.get(effect.step)
                why = f"{most} tool calls are allowed"
                breach = Breach("tool_calls", why, most, book.ledger.spent.tool_calls)
                item = _breached(owner, book, effect.step, step.attempt if step else 0, breach)
                self._residency.deliver(resident.execution_id, item)
                return False
        return True

    # What has happened ---------------------------------------------------------------------------------

    def notice(self, resident: Resident, records: Sequence[Recorded]) -> None:
        """Take in what was recorded."""
        first = records[0]
        if isinstance(first.event, ev.ExecutionStarted) and resident.plan.budget is not None:
            self._books[resident.execution_id] = _Book(resident.plan.budget, first.at_ms)
        if resident.budgets:
            for record in records:
                self._take(resident, record.event)
        if isinstance(records[-1].event, ev.TERMINAL):
            self._books.pop(resident.execution_id, None)

    def _take(self, resident: Resident, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.BudgetGranted):
            if (granted := self._books.get(event.owner)) is not None:
                granted.grant(event.limit)
            return
        if not isinstance(event, _COUNTS):
            return
        call = _call(resident.execution_id, event.step, getattr(event, "attempt", 0))
        model = _model_of(resident, event.step)
        for owner in resident.budgets:
            if owner in self._meanwhile:
                self._meanwhile[owner].append((call, model, event))
            elif (book := self._books.get(owner)) is not None:
                book.settle(call, model, event)

    # After a restart -----------------------------------------------------------------------------------

    async def _book(self, owner: str) -> _Book | None:
        if (book := self._books.get(owner)) is not None:
            return book
        loading = self._loading.get(owner)
        if loading is None:
            self._meanwhile[owner] = []
            loading = self._loading[owner] = asyncio.get_running_loop().create_task(self._add_up(owner))
        try:
            return await asyncio.shield(loading)
        finally:
            self._loading.pop(owner, None)

    async def _add_up(self, owner: str) -> _Book | None:
        """The book of an execution from the events of all below it, and of what was recorded meanwhile."""
        try:
            row = await self._journal.load(owner)
            plan = None if row is None else await self._residency.plan_of(row.plan_hash)
            if row is None or plan is None or plan.budget is None:
                return None
            book = _Book(plan.budget, row.created_at_ms)
            seen: set[str] = set()
            open_ = [(row.execution_id, row.plan_hash)]
            while open_:
                execution_id, plan_hash = open_.pop()
                await self._count(book, owner, execution_id, plan_hash, seen)
                below = ExecutionFilter(parent_id=execution_id, limit=_PAGE)
                open_ += [(c.execution_id, c.plan_hash) for c in await self._journal.find(below)]
            for call, model, event in self._meanwhile[owner]:
                if f"{call} {ev.kind_of(event)}" not in seen:
                    book.settle(call, model, event)
            self._books[owner] = book
            return book
        finally:
            self._meanwhile.pop(owner, None)

    async def _count(
        self, book: _Book, owner: str, execution_id: str, plan_hash: str, seen: set[str]
    ) -> None:
        model = str((await self._residency.plan_of(plan_hash)).model)
        for record in await self._journal.events(execution_id):
            event = record.event
            if isinstance(event, ev.BudgetReached) and event.model:
                model = event.model
            elif isinstance(event, ev.BudgetGranted) and event.owner == owner:
                book.grant(event.limit)
            elif isinstance(event, _COUNTS):
                call = _call(execution_id, event.step, getattr(event, "attempt", 0))
                seen.add(f"{call} {ev.kind_of(event)}")
                book.settle(call, model, event)


_COUNTS = (ev.ModelCompleted, ev.ModelFailed, ev.ModelInterrupted, ev.ModelLost, ev.ToolRequested)


def _call(execution_id: str, step: str, attempt: int) -> str:
    return f"{execution_id} {step} {attempt}"


def _model_of(resident: Resident, step: str) -> str:
    judge = resident.transcript.judges.get(step)
    if judge is not None:
        guard = next((g for g in resident.plan.all_guards if g.name == judge.guard), None)
        return guard.model if guard is not None else ""
    return resident.transcript.model or str(resident.plan.model)


def _breached(owner: str, book: _Book, step: str, attempt: int, breach: Breach) -> inp.BudgetBreached:
    definition = book.definition
    return inp.BudgetBreached(
        step,
        attempt,
        owner,
        breach.limit,
        breach.why,
        definition.on_breach,
        definition.downgrade_model or "",
    )
