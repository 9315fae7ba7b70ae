"""How an execution begins with the events of another one: read, cut, adopted, rehearsed, and then given to the driver.

All inputs of the beginning are applied and committed as one transaction, so that no crash leaves half of it. They are
rehearsed first: what does not fit is refused before anything is written. A child that was open at the point is begun by
its parent in the same way; where it goes on from stands in the parent's request for it, so that a crash in between begins
it the same (E1).
"""

from collections.abc import Sequence

from perdure.core import events as ev
from perdure.core import forking
from perdure.core import inputs as inp
from perdure.core.errors import PerdureError
from perdure.core.forking import Cut
from perdure.core.machines.draft import Applied, Scope
from perdure.core.machines.turn import apply
from perdure.core.machines.turn_state import TurnState
from perdure.core.plan import Plan
from perdure.core.transcript import Transcript
from perdure.engine.driver import Driver, settle
from perdure.engine.ports import Journal, NewExecution, StoredExecution
from perdure.engine.residency import Residency, not_found

_REASON = "the execution was taken up here by another one"


class Branches:
    """Begins executions that go on from others."""

    def __init__(self, journal: Journal, driver: Driver, residency: Residency) -> None:
        self._journal = journal
        self._driver = driver
        self._residency = residency

    async def records(self, execution_id: str) -> list[ev.Recorded]:
        """The journal of an execution.

        Raises:
            ExecutionError: E0401.
        """
        found = await self._journal.events(execution_id)
        if not found:
            raise not_found(execution_id)
        return found

    async def begin(
        self, new: NewExecution, plan: Plan, begin: inp.Begin, cut: Cut | None
    ) -> Applied | StoredExecution:
        """Begin *new*; without a *cut* from nothing."""
        seen = await self._residency.history_of(begin.history, plan.agent, plan.include_contents)
        inputs: list[inp.Input] = [begin]
        if cut is not None and cut.records:
            inputs = await self._continuing(new, plan, begin, cut)
            _rehearse(Scope(new.execution_id, plan, Transcript(seen)), inputs, new.created_at_ms)
        resident = self._residency.admit(new, plan, seen)
        if begin.history is not None and begin.history.kind == "session":
            resident.transcript.earlier = len(seen)
            resident.joined = bool(seen)
        _, answer = await settle(
            lambda done: self._driver.post_all(resident, [(item, done) for item in inputs])
        )
        return answer

    async def _continuing(self, new: NewExecution, plan: Plan, begin: inp.Begin, cut: Cut) -> list[inp.Input]:
        kind = begin.origin.kind if begin.origin is not None else "fork"
        children: dict[str, ev.Origin | None] = {}
        for step, child in forking.open_children(cut).items():
            anew = step in cut.anew
            children[step] = None if anew else await self._child_origin(child, kind, cut.at_ms)
        events = forking.adopted(cut, begin, new.execution_id, plan, new.created_at_ms, children)
        then = [cut.then] if cut.then is not None else []
        return [inp.TakeOver(events), *then, inp.GoOn(new.started_by, _REASON)]

    async def _child_origin(self, child: str, kind: str, at_ms: int) -> ev.Origin | None:
        """Where an open child goes on from: its failure when it is retried, else where it stood at that time."""
        records = await self._journal.events(child)
        if not records:
            return None
        if kind == "retry":
            failed = isinstance(records[-1].event, ev.ExecutionFailed | ev.ExecutionCancelled)
            return ev.Origin(child, records[-1].seq, "retry" if failed else "fork")
        seqs = [r.seq for r in records if r.at_ms <= at_ms]
        return ev.Origin(child, seqs[-1], "fork") if seqs else None

    async def begin_child(
        self, new: NewExecution, plan: Plan, begin: inp.Begin, origin: ev.Origin
    ) -> Applied | StoredExecution:
        """Begin a child that goes on from another execution, or replays it."""
        cut = None
        if origin.kind in ("retry", "fork"):
            records = await self.records(origin.execution_id)
            retried = origin.kind == "retry"
            cut = forking.retried(records) if retried else forking.at_seq(records, origin.seq)
        return await self.begin(new, plan, begin, cut)


def _rehearse(scope: Scope, inputs: Sequence[inp.Input], now_ms: int) -> None:
    """Apply the inputs without recording anything.

    Raises:
        ExecutionError: E0432 they do not fit.
    """
    state = TurnState()
    try:
        for item in inputs:
            applied = apply(scope, state, item, now_ms)
            for event in applied.events:
                scope.transcript.fold(event, now_ms)
            state = applied.state
    except PerdureError as error:
        raise forking.no_point(f"execution {scope.execution_id}", f"[{error.code}] {error.what}") from error
