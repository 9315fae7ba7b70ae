"""Retry, rerun, fork and replay: new executions made out of the journals of others. Implements the port `Histories`.

    retry   the old events up to the step that failed, which is tried again
    fork    the old events up to a point, with something edited there
    rerun   the same request again, from nothing
    replay  the same request again, with all calls answered from the old journal (see `replays`)

A retry of the last execution of a session stands in its place in the session. All others are asides: they see the
conversation that the old one saw, and no later execution of the session sees them.
"""

from typing import Any

import msgspec

from perdure.clock import Clock
from perdure.core import events as ev
from perdure.core import forking, ids
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError
from perdure.core.forking import Cut
from perdure.core.messages import Message
from perdure.core.transcript import with_text
from perdure.engine.branching import Branches
from perdure.engine.executions import title_of
from perdure.engine.history_ports import HistoryRequest
from perdure.engine.journal.failures import not_storable
from perdure.engine.ports import ExecutionFilter, Journal, NewExecution, Started, StoredExecution
from perdure.engine.residency import Residency


class HistoryVerbs:
    """Makes executions out of others."""

    def __init__(self, journal: Journal, residency: Residency, branches: Branches, clock: Clock) -> None:
        self._journal = journal
        self._residency = residency
        self._branches = branches
        self._clock = clock

    async def input_of(self, execution_id: str) -> Message:
        """See `history_ports.Histories.input_of`."""
        return _first(await self._branches.records(execution_id)).input

    async def make(self, request: HistoryRequest) -> Started:
        """See `history_ports.Histories.make`."""
        records = await self._branches.records(request.execution_id)
        first = _first(records)
        _check(request, first)
        cut = _cut(request, records)
        plan = await self._residency.keep_plan(request.plan_hash, request.plan)
        for member_hash, member in request.members.items():
            await self._residency.keep_plan(member_hash, member)
        now = self._clock.now_ms()
        execution_id = ids.execution_id(now, self._clock.random_bytes(10))
        given = first.input
        if request.edit.input is not None:
            given = with_text(given, request.edit.input)
        session = await self._session(request, first)
        new = NewExecution(
            execution_id=execution_id,
            agent=plan.agent,
            plan_hash=request.plan_hash,
            title=title_of(given),
            started_by=request.started_by,
            created_at_ms=now,
            session_id=session,
            idempotency_key=request.idempotency_key,
            request_hash=_request_hash(request),
        )
        begin = inp.Begin(
            plan_hash=request.plan_hash,
            input=given,
            started_by=request.started_by,
            deadline_ms=now + plan.timeout_ms if plan.timeout_ms else None,
            session_id=session,
            idempotency_key=request.idempotency_key,
            context=first.context if request.context is None else request.context,
            history=first.history,
            budgets=(execution_id,) if plan.budget is not None else (),
            origin=_origin(request, cut, records),
        )
        answer = await self._branches.begin(new, plan, begin, cut)
        if not isinstance(answer, StoredExecution):
            return Started(execution_id, created=True)
        if answer.request_hash != new.request_hash:
            raise ExecutionError(
                "E0413",
                "The idempotency key was used for another request",
                where=f"execution {answer.execution_id}",
                fix="Use a new key for a new request.",
                execution_id=answer.execution_id,
            )
        return Started(answer.execution_id, created=False)

    async def _session(self, request: HistoryRequest, first: ev.ExecutionStarted) -> str | None:
        """The session that the new execution belongs to."""
        if request.kind != "retry" or first.session_id is None or first.parent is not None:
            return None
        where = ExecutionFilter(session_id=first.session_id, agent=first.agent, roots=True, limit=1)
        last = await self._journal.find(where)
        return first.session_id if last and last[0].execution_id == request.execution_id else None


def _first(records: list[ev.Recorded]) -> ev.ExecutionStarted:
    first = records[0].event
    if not isinstance(first, ev.ExecutionStarted):
        raise TypeError("I2: a journal begins with its start")
    return first


def _check(request: HistoryRequest, first: ev.ExecutionStarted) -> None:
    replayed = first.origin is not None and first.origin.kind == "replay"
    if replayed and request.kind in ("retry", "fork"):
        raise ExecutionError(
            "E0432",
            "A replay cannot be retried or forked: its calls were never made",
            where=f"execution {request.execution_id}",
            fix="Replay the execution that it replays, or rerun it.",
        )


def _cut(request: HistoryRequest, records: list[ev.Recorded]) -> Cut | None:
    """Where the new execution begins; None: at nothing."""
    if request.kind == "retry":
        cut = forking.retried(records)
    elif request.kind == "fork":
        point = _point(request, records)
        if point is None:
            return None
        cut = point
    else:
        return None
    return forking.with_instructions(cut) if "instructions" in request.changes else cut


def _point(request: HistoryRequest, records: list[ev.Recorded]) -> Cut | None:
    edit, at = request.edit, request.at
    names = edit.names
    if "input" in names and (len(names) > 1 or at not in (None, 1)):
        raise forking.no_point(str(at), "The input stands at the beginning, and is edited there alone.")
    if "result" in names and len(names) > 1:
        raise forking.no_point(str(at), "A step has either an answer or a result.")
    if "input" in names or (at is None and not names):
        return None
    if names:
        if at is None:
            raise forking.no_point("(none)", "It must be said which step's answer or result is edited.")
        return forking.edited(records, at, edit)
    return forking.before_step(records, at) if isinstance(at, str) else forking.at_seq(records, at or 1)


def _origin(request: HistoryRequest, cut: Cut | None, records: list[ev.Recorded]) -> ev.Origin:
    seq = len(records) if request.kind == "replay" else cut.seq if cut is not None else 0
    names: tuple[Any, ...] = (*request.edit.names, *request.changes)
    if request.context is not None:
        names = (*names, "context")
    return ev.Origin(request.execution_id, seq, request.kind, edited=names, on_missing=request.on_missing)


def _request_hash(request: HistoryRequest) -> str:
    edit = request.edit
    said = [request.kind, request.execution_id, request.plan_hash, request.at, request.context]
    try:
        return ids.content_hash([*said, msgspec.to_builtins(edit), request.on_missing])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise not_storable(error, "(new)") from error
