"""Budgets: the books of every execution that has one, shared by all below it.

A model call is reserved in all books that it counts in before it is made, and settled when its answer is recorded; a
breach becomes an input of the execution, whose machine does what the budget says. The books are in memory and follow
from the journal: after a restart they are added up again from the events of the whole tree, and a call that was under
way is made and reserved again. A call that was lost or given up counts as the most that it can have used (it was
probably paid for): its event says so.

Of tool calls the first come first: each is counted when it is requested, and one that is too many is refused before it
is offered.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from perdure.clock import Clock
from perdure.core import budgets as books
from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.budgets import Breach, Ledger, Limits, Spent
from perdure.core.definition import BudgetDefinition
from perdure.core.effects import OfferTask
from perdure.core.errors import JournalError, PerdureError
from perdure.core.events import Recorded
from perdure.core.machines.attempts import on_offer
from perdure.core.model import ModelRequest
from perdure.core.plan import Plan
from perdure.core.prices import Price, price_of
from perdure.core.requests import may_use
from perdure.engine.driver import STORAGE_DOWN
from perdure.engine.ports import ExecutionFilter, Journal
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.log import get_logger

_log = get_logger("perdure.engine")
_PAGE = 1_000
_RETRY_S = 0.5


class _Book:
    """One execution's budget."""

    __slots__ = ("_counted", "definition", "ledger", "over", "started_ms")

    def __init__(self, definition: BudgetDefinition, started_ms: int) -> None:
        self.definition = definition
        self.started_ms = started_ms
        self.ledger = Ledger(Limits.of(definition))
        self.over: set[str] = (
            set()
        )  # tool calls that are one too many, until their execution has refused them
        self._counted: set[str] = set()  # tool calls that are counted and that no worker has begun

    def settle(self, call: str, model: str, event: ev.AnyEvent) -> None:
        """Take in what an event says was used."""
        price = price_of(model, self.definition.prices)
        match event:
            case ev.ModelCompleted(usage=usage):
                self.ledger = self.ledger.settle(call, books.spent_of(usage, price))
            case ev.ModelFailed():
                self.ledger = self.ledger.release(call)
            case ev.ModelLost(used=used) | ev.ModelInterrupted(used=used):
                cost = 0 if price is None else price.worst_cost(used.input_tokens, used.output_tokens)
                calls = 1 if used.total_tokens else 0
                spent = Spent(cost, used.input_tokens, used.output_tokens, calls)
                self.ledger = self.ledger.settle(call, spent)
            case ev.ToolRequested():
                self._tool_call(call)
            case ev.ToolStarted():
                self._counted.discard(call)
            case ev.BudgetReached():
                self._not_made(call)

    def _tool_call(self, call: str) -> None:
        most = self.ledger.limits.tool_calls
        if most is not None and self.ledger.spent.tool_calls >= most:
            self.over.add(call)
        else:
            self._counted.add(call)
            self.ledger = self.ledger.settle("", Spent(tool_calls=1))

    def _not_made(self, call: str) -> None:
        self.over.discard(call)
        if call in self._counted:  # another budget has refused it
            self._counted.discard(call)
            self.ledger = self.ledger.settle("", Spent(tool_calls=-1))

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
        self.again: Callable[[Resident, OfferTask], None] = lambda *_: None
        self._books: dict[str, _Book] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: dict[str, asyncio.Task[_Book | None]] = {}
        # What is recorded while a book is added up: by whom, at which seq, of which model.
        self._meanwhile: dict[str, list[tuple[str, int, str, ev.AnyEvent]]] = {}

    # Model calls ---------------------------------------------------------------------------------------

    async def reserve(
        self, resident: Resident, step: str, attempt: int, request: ModelRequest
    ) -> inp.BudgetBreached | None:
        """Reserve a model call in all books that it counts in; else what stands in its way.

        Raises:
            JournalError: the books cannot be added up again.
        """
        loaded = [(owner, await self._book(owner)) for owner in resident.budgets]
        found = [(owner, book) for owner, book in loaded if book is not None]
        call = _call(resident.execution_id, step, attempt)
        for owner, book in found:
            breach = books.out_of_time(book.ledger.limits, book.started_ms, self._clock.now_ms())
            if breach is None:
                price = price_of(str(request.model), book.definition.prices)
                book.ledger, breach = book.ledger.reserve(call, books.estimate_call(request, price))
            if breach is not None:
                for _, other in found:
                    other.ledger = other.ledger.release(call)
                return _breached(owner, book, step, attempt, breach)
        return None

    def price(self, resident: Resident, model: str) -> Price | None:
        """The price of a model: that of the nearest budget that names it, else that of the table; None: not known.

        The books are there once a call is reserved.
        """
        for owner in reversed(resident.budgets):  # they are told from the root down
            book = self._books.get(owner)
            if book is not None and model in book.definition.prices:
                return price_of(model, book.definition.prices)
        return price_of(model)

    def offer(self, resident: Resident, effect: OfferTask) -> bool:
        """Whether a tool call may be offered now.

        Else its execution is told what stands in the way, or it is offered once the books are added up again.
        """
        if effect.tool.startswith("@"):
            return True
        if any(owner not in self._books for owner in resident.budgets):
            task = asyncio.get_running_loop().create_task(self._offer_later(resident.execution_id, effect))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return False
        return self._may_be_offered(resident, effect)

    def _may_be_offered(self, resident: Resident, effect: OfferTask) -> bool:
        call = _call(resident.execution_id, effect.step, 0)
        for owner in resident.budgets:
            book = self._books.get(owner)
            if book is not None and call in book.over:
                step = resident.state.steps.get(effect.step)
                most = book.ledger.limits.tool_calls or 0
                why = f"{most} tool calls are allowed, and they were made"
                breach = Breach("tool_calls", why, most, book.ledger.spent.tool_calls)
                item = _breached(owner, book, effect.step, step.attempt if step else 0, breach)
                self._residency.deliver(resident.execution_id, item)
                return False
        return True

    async def _offer_later(self, execution_id: str, effect: OfferTask) -> None:
        while True:
            try:
                for owner in (await self._residency.get(execution_id)).budgets:
                    await self._book(owner)
                resident = await self._residency.get(execution_id)
            except JournalError as error:
                if error.code not in STORAGE_DOWN:
                    _log.error("budget_fault", execution=execution_id, code=error.code, error=error.what)
                    return
                await asyncio.sleep(_RETRY_S)
            except PerdureError as error:
                _log.error("budget_fault", execution=execution_id, code=error.code, error=error.what)
                return
            else:
                step = resident.state.steps.get(effect.step)
                if step is not None and on_offer(step) and self._may_be_offered(resident, effect):
                    self.again(resident, effect)
                return

    async def close(self) -> None:
        """Stop what is being added up; a restart begins it anew."""
        tasks = [*self._tasks, *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What has happened ---------------------------------------------------------------------------------

    def notice(self, resident: Resident, records: Sequence[Recorded]) -> None:
        """Take in what was recorded."""
        first = records[0]
        if isinstance(first.event, ev.ExecutionStarted) and resident.plan.budget is not None:
            self._books[resident.execution_id] = _Book(resident.plan.budget, first.at_ms)
        if resident.budgets:
            for record in records:
                self._take(resident, record.seq, record.event)
        if isinstance(records[-1].event, ev.TERMINAL):
            self._books.pop(resident.execution_id, None)

    def _take(self, resident: Resident, seq: int, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.BudgetGranted):
            if event.owner in self._meanwhile:
                self._meanwhile[event.owner].append((resident.execution_id, seq, "", event))
            elif (granted := self._books.get(event.owner)) is not None:
                granted.grant(event.limit)
            return
        if not isinstance(event, _COUNTS):
            return
        call = _call_of(resident.execution_id, event)
        model = _model_of(resident, event.step)
        for owner in resident.budgets:
            if owner in self._meanwhile:
                self._meanwhile[owner].append((resident.execution_id, seq, model, event))
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
            # By the task itself: one of those who wait for it may be cancelled, and the others wait on.
            loading.add_done_callback(lambda done: self._added(owner, done))
        return await asyncio.shield(loading)

    def _added(self, owner: str, done: asyncio.Task[_Book | None]) -> None:
        self._loading.pop(owner, None)
        self._meanwhile.pop(owner, None)
        if not done.cancelled():
            done.exception()  # retrieved here: nobody may be waiting any more

    async def _add_up(self, owner: str) -> _Book | None:
        """The book of an execution from the events of all below it, and of what was recorded meanwhile."""
        row = await self._journal.load(owner)
        plan = None if row is None else await self._residency.plan_of(row.plan_hash)
        if row is None or plan is None or plan.budget is None:
            return None
        book = _Book(plan.budget, row.created_at_ms)
        seen: dict[str, int] = {}
        open_ = [(row.execution_id, row.plan_hash)]
        undecided: list[tuple[str, ev.AnyEvent]] = []
        cut: dict[str, dict[str, int]] = {}
        while open_:
            execution_id, plan_hash = open_.pop()
            below_plan = await self._residency.plan_of(plan_hash)
            records = await self._journal.events(execution_id)
            seen[execution_id] = records[-1].seq if records else 0
            undecided += _count(book, owner, execution_id, below_plan, records)
            if under_way := _under_way(records):
                cut[execution_id] = under_way
            open_ += await self._below(execution_id)
        for execution_id in sorted(cut):
            await self._hold(book, execution_id, cut[execution_id])
        for call, event in undecided:  # after those that were made: of what is left, the first come first
            book.settle(call, "", event)
        for execution_id, seq, model, event in self._meanwhile[owner]:
            if seq > seen.get(execution_id, 0):
                _settle(book, execution_id, model, event)
        self._meanwhile.pop(owner)  # from here on the book is there, and is told at once
        self._books[owner] = book
        return book

    async def _hold(self, book: _Book, execution_id: str, under_way: dict[str, int]) -> None:
        """Reserve what a restart has cut, until its own execution has said what became of it."""
        resident = await self._residency.get(execution_id)
        for step, attempt in under_way.items():
            most = may_use(resident.plan, resident.transcript, step, attempt)
            price = price_of(_model_of(resident, step), book.definition.prices)
            cost = 0 if price is None else price.worst_cost(most.input_tokens, most.output_tokens)
            held = Spent(cost, most.input_tokens, most.output_tokens, 1)
            call = _call(execution_id, step, attempt)
            reserved = {**book.ledger.reserved, call: held}
            book.ledger = msgspec.structs.replace(book.ledger, reserved=reserved)

    async def _below(self, execution_id: str) -> list[tuple[str, str]]:
        """The children of an execution, with their plans."""
        found: list[tuple[str, str]] = []
        before: str | None = None
        while True:
            where = ExecutionFilter(parent_id=execution_id, before=before, limit=_PAGE)
            page = await self._journal.find(where)
            found += [(c.execution_id, c.plan_hash) for c in page]
            if len(page) < _PAGE:
                return found
            before = page[-1].execution_id


def _count(
    book: _Book, owner: str, execution_id: str, plan: Plan, records: Sequence[Recorded]
) -> list[tuple[str, ev.AnyEvent]]:
    """Take in what one execution has used; gives the tool calls of which it is not said yet whether they are made."""
    model = str(plan.model)
    judges: dict[str, str] = {}
    decided = {r.event.step for r in records if isinstance(r.event, ev.ToolStarted | ev.BudgetReached)}
    undecided: list[tuple[str, ev.AnyEvent]] = []
    for record in records:
        event = record.event
        if isinstance(event, ev.JudgeRequested):
            judges[event.step] = _judge_model(plan, event.guard)
        if isinstance(event, ev.BudgetReached) and event.model:
            model = event.model
        if isinstance(event, ev.ToolRequested) and event.step not in decided:
            undecided.append((_call_of(execution_id, event), event))
        elif isinstance(event, _COUNTS):
            _settle(book, execution_id, judges.get(event.step, model), event)
        elif isinstance(event, ev.BudgetGranted) and event.owner == owner:
            book.grant(event.limit)
    return undecided


def _under_way(records: Sequence[Recorded]) -> dict[str, int]:
    """The model calls, with their attempts, of which the journal does not say what became of them."""
    found: dict[str, int] = {}
    for record in records:
        match record.event:
            case (
                ev.ModelRequested()
                | ev.JudgeRequested()
                | ev.CondenseRequested()
                | ev.ArgumentsRequested() as asked
            ):
                found[asked.step] = asked.attempt
            case ev.ModelCompleted() | ev.ModelFailed() | ev.ModelLost() | ev.ModelInterrupted() as ended:
                found.pop(ended.step, None)
            case ev.BudgetReached() as refused:
                found.pop(refused.step, None)
    return found


def _settle(book: _Book, execution_id: str, model: str, event: ev.AnyEvent) -> None:
    if isinstance(event, ev.BudgetGranted):
        book.grant(event.limit)
    elif isinstance(event, _COUNTS):
        book.settle(_call_of(execution_id, event), model, event)


_COUNTS = (
    ev.ModelCompleted,
    ev.ModelFailed,
    ev.ModelInterrupted,
    ev.ModelLost,
    ev.ToolRequested,
    ev.ToolStarted,
    ev.BudgetReached,
)


def _call_of(execution_id: str, event: ev.AnyEvent) -> str:
    """The name of the call that an event is about: a tool call has one name over all its attempts."""
    return _call(execution_id, getattr(event, "step", ""), getattr(event, "attempt", 0))


def _call(execution_id: str, step: str, attempt: int) -> str:
    return f"{execution_id} {step} {attempt}"


def _model_of(resident: Resident, step: str) -> str:
    judge = resident.transcript.judges.get(step)
    if judge is not None:
        return _judge_model(resident.plan, judge.guard)
    return resident.transcript.model or str(resident.plan.model)


def _judge_model(plan: Plan, name: str) -> str:
    guard = next((g for g in plan.all_guards if g.name == name), None)
    return guard.model if guard is not None else ""


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
