"""The verbs on executions. Implements the port `Executions`; every answer is given after the commit (E2)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from perdure.clock import Clock
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError, PerdureError
from perdure.core.events import TERMINAL, HistoryRef, MessageMode, MessageReceived, Recorded
from perdure.core.machines.draft import Applied
from perdure.core.machines.turn_state import TurnState, decode_state
from perdure.core.messages import Message
from perdure.core.plan import Plan
from perdure.engine.approvals import ApprovalVerbs
from perdure.engine.driver import Driver, settle
from perdure.engine.journal.failures import not_storable
from perdure.engine.ports import (
    TERMINAL_STATUSES,
    ApprovalRow,
    ExecutionFilter,
    ExecutionView,
    Journal,
    NewExecution,
    PendingWait,
    Started,
    StartRequest,
    Status,
    StoredExecution,
    StreamItem,
    task_queue_name,
)
from perdure.engine.residency import Residency, not_found
from perdure.engine.resident import Resident
from perdure.engine.sessions import Sessions
from perdure.engine.streams import Streams
from perdure.engine.task_gateway import TaskGateway
from perdure.engine.views import view, with_outcome

_TITLE_LENGTH = 120
_NO_WORKER: Status = "waiting:worker"
_MOST_BELOW = 200  # executions below one whose waits are looked at; a team with more is told of in part


class ExecutionVerbs(ApprovalVerbs):
    """Start, look at, stop, and decide about executions."""

    def __init__(
        self,
        journal: Journal,
        driver: Driver,
        residency: Residency,
        streams: Streams,
        tasks: TaskGateway,
        sessions: Sessions,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        super().__init__(journal, residency)
        self._driver = driver
        self._streams = streams
        self._tasks = tasks
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    # Starting ------------------------------------------------------------------------------------------

    async def start(self, request: StartRequest) -> Started:
        """See `ports.Executions.start`."""
        plan = await self._residency.keep_plan(request.plan_hash, request.plan)
        for member_hash, member in request.members.items():
            await self._residency.keep_plan(member_hash, member)
        _check_session(request.session_id)
        now = self._clock.now_ms()
        execution_id = ids.execution_id(now, self._clock.random_bytes(10))
        request_hash = _request_hash(request)
        new = NewExecution(
            execution_id=execution_id,
            agent=plan.agent,
            plan_hash=request.plan_hash,
            title=title_of(request.input),
            started_by=request.started_by,
            created_at_ms=now,
            session_id=request.session_id,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash,
        )
        if request.session_id is None:
            answer = await self._begin(request, new, plan, None, None)
        else:
            async with self._sessions.lock(request.session_id, plan.agent):
                history, after = await self._sessions.before(request.session_id, plan.agent)
                answer = await self._begin(request, new, plan, history, after)
        if not isinstance(answer, StoredExecution):
            return Started(execution_id, created=True)
        if answer.request_hash != request_hash:
            raise _key_conflict(answer)
        return Started(answer.execution_id, created=False)

    async def _begin(
        self,
        request: StartRequest,
        new: NewExecution,
        plan: Plan,
        history: HistoryRef | None,
        after: str | None,
    ) -> Applied | StoredExecution:
        timeout_ms = plan.timeout_ms if request.timeout_ms is None else request.timeout_ms
        begin = inp.Begin(
            plan_hash=request.plan_hash,
            input=request.input,
            started_by=request.started_by,
            deadline_ms=new.created_at_ms + timeout_ms if timeout_ms else None,
            session_id=request.session_id,
            idempotency_key=request.idempotency_key,
            context=request.context,
            history=history,
            after=after,
            budgets=(new.execution_id,) if plan.budget is not None else (),
        )
        seen = [] if after else await self._residency.history_of(history, plan.agent, plan.include_contents)
        resident = self._residency.admit(new, plan, seen)
        resident.transcript.earlier = len(seen)
        _, answer = await settle(lambda done: self._driver.post(resident, begin, done))
        return answer

    # Looking -------------------------------------------------------------------------------------------

    async def get(self, execution_id: str) -> ExecutionView:
        """See `ports.Executions.get`."""
        seen = await self._one(execution_id)
        if seen is None:
            raise not_found(execution_id)
        return await self._with_waits_below(seen)

    async def _with_waits_below(self, top: ExecutionView) -> ExecutionView:
        """The view with what its children wait for, and theirs; each child's status beside its own wait."""
        found: list[PendingWait] = []
        ahead = deque(top.waits)
        looked = 0
        while ahead:
            wait = ahead.popleft()
            if wait.child_id is not None and looked < _MOST_BELOW:
                looked += 1
                child = await self._one(wait.child_id)  # None: asked for, and not begun yet
                if child is not None:
                    wait = msgspec.structs.replace(wait, child_status=child.status)
                    ahead.extendleft(reversed(child.waits))
            found.append(wait)
        return msgspec.structs.replace(top, waits=tuple(found))

    async def _one(self, execution_id: str) -> ExecutionView | None:
        resident = self._residency.residents.get(execution_id)
        if resident is not None and resident.seq and not resident.state.over:
            return view(
                resident, resident.state, dict(resident.asked), self._status(resident, resident.state)
            )
        row = await self._journal.load(execution_id)
        if row is None:
            return None
        if row.status in TERMINAL_STATUSES:
            last = await self._journal.events(execution_id, row.last_seq - 1, 1)
            return with_outcome(view(row, decode_state(row.state), {}), last[-1].event)
        state = decode_state(row.state)
        asked: dict[str, ApprovalRow] = {}
        if any(s.status == "approval" for s in state.steps.values()):
            asked = {a.step: a for a in await self._journal.approvals(execution_id=execution_id)}
        return view(row, state, asked, self._status(row, state))

    def _status(self, row: Resident | StoredExecution, state: TurnState) -> Status:
        """The row's status; `waiting:worker` when all that is open is offered and nobody polls for it."""
        steps = state.steps.values()
        if row.status == "running" and steps and all(s.status == "ready" for s in steps):
            queues = {task_queue_name(s.agent or row.agent, s.tool or "") for s in steps if s.due_ms is None}
            if queues and not any(self._tasks.served(q) for q in queues):
                return _NO_WORKER
        return row.status

    async def masked_fields(self, execution_id: str) -> tuple[str, ...]:
        """See `ports.Executions.masked_fields`."""
        found: dict[str, None] = {}
        at: str | None = execution_id
        while at is not None:
            row = await self._journal.load(at)
            if row is None:
                raise not_found(at)
            found |= dict.fromkeys((await self._residency.plan_of(row.plan_hash)).masked_fields)
            at = row.parent_id
        return tuple(found)

    async def find(self, where: ExecutionFilter) -> list[ExecutionView]:
        """See `ports.Executions.find`."""
        wanted = frozenset(where.status)
        if not wanted & {"running", _NO_WORKER}:
            return [self._seen(row) for row in await self._journal.find(where)]
        # Whether a worker polls is not stored: such rows are stored as running, and told apart here.
        stored = tuple(dict.fromkeys("running" if s == _NO_WORKER else s for s in where.status))
        found: list[ExecutionView] = []
        while True:
            asked = msgspec.structs.replace(where, status=stored)
            rows = await self._journal.find(asked)
            found += [seen for row in rows if (seen := self._seen(row)).status in wanted]
            if len(found) >= where.limit or len(rows) < where.limit or not rows:
                return found[: max(0, where.limit)]
            where = msgspec.structs.replace(where, before=rows[-1].execution_id)

    def _seen(self, row: StoredExecution) -> ExecutionView:
        try:
            state = decode_state(row.state)
        except (PerdureError, msgspec.MsgspecError):
            state = (
                TurnState()
            )  # a newer version's, or damaged: it is listed all the same, and the others too (E10)
        return view(row, state, {}, self._status(row, state))

    async def events(self, execution_id: str, after: int, limit: int) -> list[Recorded]:
        """See `ports.Executions.events`."""
        found = await self._journal.events(execution_id, after, limit)
        if not found and await self._journal.load(execution_id) is None:
            raise not_found(execution_id)
        return found

    def stream(self, execution_id: str, after: int) -> AsyncIterator[StreamItem]:
        """See `ports.Executions.stream`."""
        return self._streams.stream(execution_id, after)

    async def wait(self, execution_id: str, timeout_ms: int) -> ExecutionView:
        """See `ports.Executions.wait`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(execution_id, [])
        waiting.append(future)
        try:
            seen = await self.get(execution_id)
            if seen.status not in TERMINAL_STATUSES and timeout_ms > 0:
                await asyncio.wait([future], timeout=timeout_ms / 1000)
                seen = await self.get(execution_id)
            return seen
        finally:
            waiting.remove(future)
            if not waiting:
                self._waiting.pop(execution_id, None)

    def notice(self, resident: Resident, records: list[Recorded]) -> None:
        """Wake those who wait for the end of an execution."""
        if isinstance(records[-1].event, TERMINAL):
            for future in self._waiting.get(resident.execution_id, ()):
                if not future.done():
                    future.set_result(None)

    def release_waiting(self) -> None:
        """Let everyone who waits go: the server stops."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)

    # Steering ------------------------------------------------------------------------------------------

    async def _do(self, execution_id: str, item: inp.Input) -> ExecutionView:
        await self._residency.settle(execution_id, item)
        return await self.get(execution_id)

    async def cancel(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.cancel`."""
        return await self._do(execution_id, inp.Cancel(by, reason))

    async def pause(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.pause`."""
        return await self._do(execution_id, inp.Pause(by, reason))

    async def resume(self, execution_id: str, by: str) -> ExecutionView:
        """See `ports.Executions.resume`."""
        return await self._do(execution_id, inp.Resume(by))

    async def say(
        self, execution_id: str, message_id: str, message: Message, by: str, mode: MessageMode
    ) -> ExecutionView:
        """See `ports.Executions.say`."""
        try:
            return await self._do(execution_id, inp.Say(message_id, message, by, mode))
        except ExecutionError as error:
            if error.code != "E0402" or not await self._was_said(execution_id, message_id):
                raise
            return await self.get(execution_id)  # said again by a caller who lost the first answer

    async def _was_said(self, execution_id: str, message_id: str) -> bool:
        records = await self._journal.events(execution_id)
        return any(isinstance(r.event, MessageReceived) and r.event.id == message_id for r in records)

    async def stop(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.stop`."""
        return await self._do(execution_id, inp.StopSoon(by, reason))


def _request_hash(request: StartRequest) -> str:
    try:
        return ids.content_hash([request.plan_hash, request.input, request.context])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise not_storable(error, "(new)") from error


def _check_session(session_id: str | None) -> None:
    try:
        (session_id or "").encode()
    except UnicodeEncodeError as error:
        raise not_storable(error, "(new)") from error


def title_of(message: Message) -> str:
    """The beginning of what was asked."""
    return " ".join(message.text.split())[:_TITLE_LENGTH]


def _key_conflict(existing: StoredExecution) -> ExecutionError:
    return ExecutionError(
        "E0413",
        "The idempotency key was used for another request",
        where=f"execution {existing.execution_id}",
        why="The agent, the prompt or the context differ from those of the first start with this key.",
        fix="Use a new key for a new request.",
        execution_id=existing.execution_id,
    )
