"""/executions: start, look, wait, control."""

from typing import Annotated, Any, get_args

import msgspec

from perdure.core.errors import ApiError
from perdure.core.messages import Message, Part, TextPart, user
from perdure.engine.ports import TERMINAL_STATUSES, ExecutionFilter, ExecutionView, StartRequest, Status
from perdure.server import views
from perdure.server.routing import Call, Query, RouteSpec
from perdure.server.stream import LONGEST_SEQ, StreamQuery, stream_events
from perdure.wire.types import (
    ControlBody,
    EventsAnswer,
    ExecutionAnswer,
    ExecutionsAnswer,
    MessageBody,
    StartAnswer,
    StartBody,
)

LONGEST_WAIT_MS = 60_000
_LONGEST_TIMEOUT_MS = 10 * 365 * 24 * 3_600_000
_LONGEST_NAME = 200

_STATUSES: frozenset[str] = frozenset(get_args(Status))
_WAITING = tuple(sorted(s for s in _STATUSES if s.startswith("waiting:")))


class FindQuery(Query, frozen=True):
    """Which executions: of these statuses (`waiting` stands for all its kinds), this agent, this session.

    `parent_id`: only the children of that one; `roots`: only those that are nobody's child.
    """

    status: tuple[str, ...] = ()
    agent: str | None = None
    session_id: str | None = None
    parent_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    roots: bool = False
    before: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class EventsQuery(Query, frozen=True):
    """The events with seq over `after`, at most `limit`."""

    after: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_SEQ)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 500


class WaitQuery(Query, frozen=True):
    """How long to wait for the end."""

    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_WAIT_MS)] = 30_000


async def start(call: Call) -> StartAnswer:
    """Start an execution. Whatever can be found wrong is found before anything is written."""
    body: StartBody = call.body
    service = call.service
    service.check_accepting()
    _check_start(body)
    if body.definition is not None:
        compiled = await service.plans.store(body.definition)
    else:
        compiled = await service.plans.deployed(body.agent or "")
    text: tuple[Part, ...] = (TextPart(body.prompt),) if body.prompt else ()
    made = await service.executions.start(
        StartRequest(
            plan=compiled.plan,
            plan_hash=compiled.plan_hash,
            input=Message("user", (*text, *body.media)),
            started_by=call.principal,
            session_id=body.session_id,
            idempotency_key=body.idempotency_key,
            timeout_ms=body.timeout_ms,
            context=body.context,
        )
    )
    return views.started(made.execution_id, created=made.created, compiled=compiled)


def _check_start(body: StartBody) -> None:
    if (body.definition is None) == (body.agent is None):
        raise ApiError("E0605", "A start needs either `definition` or `agent`, and not both")
    if not body.prompt and not body.media:
        raise ApiError("E0605", "A start needs a prompt", fix="Send a `prompt` that is not empty.")
    if body.timeout_ms is not None and not 1 <= body.timeout_ms <= _LONGEST_TIMEOUT_MS:
        raise ApiError("E0605", f"`timeout_ms` must be between 1 and {_LONGEST_TIMEOUT_MS}")
    for name, value in (("session_id", body.session_id), ("idempotency_key", body.idempotency_key)):
        if value is not None and not 1 <= len(value) <= _LONGEST_NAME:
            raise ApiError("E0605", f"`{name}` must have 1 to {_LONGEST_NAME} characters")
    for part in body.media:
        if (part.url is None) == (part.data is None):
            raise ApiError("E0605", "A media part needs either `url` or `data`, and not both")


async def find(call: Call) -> ExecutionsAnswer:
    """Executions, newest first."""
    query: FindQuery = call.query
    status: list[str] = []
    for word in query.status:
        if word == "waiting":
            status += _WAITING
        elif word in _STATUSES:
            status.append(word)
        else:
            known = ", ".join(sorted(_STATUSES | {"waiting"}))
            raise ApiError("E0605", f"No status has the name {word!r}", fix=f"One of: {known}.")
    where = ExecutionFilter(
        status=tuple(dict.fromkeys(status)),
        agent=query.agent,
        session_id=query.session_id,
        parent_id=query.parent_id,
        roots=query.roots,
        before=query.before,
        limit=query.limit,
    )
    found = [views.execution(v) for v in await call.service.executions.find(where)]
    more = found[-1].execution_id if len(found) == query.limit else None
    return ExecutionsAnswer(found, more)


async def show(call: Call) -> ExecutionAnswer:
    """One execution as it is now."""
    return views.execution(await call.service.executions.get(call.path["execution_id"]))


async def events(call: Call) -> EventsAnswer:
    """A page of the journal of one execution."""
    execution_id, query = call.path["execution_id"], call.query
    view = await call.service.executions.get(execution_id)
    found = await call.service.executions.events(execution_id, query.after, query.limit)
    return EventsAnswer([views.event_record(execution_id, e) for e in found], view.last_seq)


async def wait(call: Call) -> ExecutionAnswer:
    """The execution once it has ended, or as it is when the time is over or the server stops."""
    execution_id, executions = call.path["execution_id"], call.service.executions
    view: ExecutionView | None = await executions.get(execution_id)
    if view is None or view.status not in TERMINAL_STATUSES:
        view = await call.while_wanted(executions.wait(execution_id, call.query.timeout_ms))
    return views.execution(view or await executions.get(execution_id))


async def cancel(call: Call) -> ExecutionAnswer:
    """End an execution before its time."""
    by, reason = _control(call)
    return views.execution(await call.service.executions.cancel(call.path["execution_id"], by, reason))


async def pause(call: Call) -> ExecutionAnswer:
    """Begin no new step."""
    by, reason = _control(call)
    return views.execution(await call.service.executions.pause(call.path["execution_id"], by, reason))


async def resume(call: Call) -> ExecutionAnswer:
    """Go on after a pause or out of quarantine."""
    by, _reason = _control(call)
    return views.execution(await call.service.executions.resume(call.path["execution_id"], by))


def _control(call: Call) -> tuple[str, str]:
    body: ControlBody = call.body
    return call.actor(body.by), body.reason


async def stop(call: Call) -> ExecutionAnswer:
    """End after the turn that it is in, with what there is."""
    by, reason = _control(call)
    return views.execution(await call.service.executions.stop(call.path["execution_id"], by, reason))


async def say(call: Call) -> ExecutionAnswer:
    """Say something to a running execution."""
    body: MessageBody = call.body
    if not body.text:
        raise ApiError("E0605", "A message needs a text")
    message_id = body.id or call.service.clock.random_bytes(10).hex()
    if not 1 <= len(message_id) <= _LONGEST_NAME:
        raise ApiError("E0605", f"`id` must have 1 to {_LONGEST_NAME} characters")
    said = await call.service.executions.say(
        call.path["execution_id"], message_id, user(body.text), call.actor(body.by), body.mode
    )
    return views.execution(said)


def _control_route(verb: str, summary: str, handler: Any) -> RouteSpec:
    return RouteSpec(
        method="POST",
        path=f"/api/v1/executions/{{execution_id}}/{verb}",
        name=f"{verb}_execution",
        summary=summary,
        tag="executions",
        handler=handler,
        body=ControlBody,
        answer=ExecutionAnswer,
        codes=("E0401", "E0402", "E0415", "E0501", "E0506"),
    )


ROUTES = (
    RouteSpec(
        method="POST",
        path="/api/v1/executions",
        name="start_execution",
        summary="Start an agent, by its definition or its deployed name",
        tag="executions",
        handler=start,
        body=StartBody,
        answer=StartAnswer,
        codes=(
            *("E0101", "E0102", "E0103", "E0104", "E0105", "E0106", "E0107", "E0201", "E0202", "E0203"),
            *("E0412", "E0413", "E0501", "E0506", "E0610"),
        ),
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/executions",
        name="list_executions",
        summary="Executions, newest first",
        tag="executions",
        handler=find,
        query=FindQuery,
        answer=ExecutionsAnswer,
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/executions/{execution_id}",
        name="show_execution",
        summary="One execution as it is now",
        tag="executions",
        handler=show,
        answer=ExecutionAnswer,
        codes=("E0401",),
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/executions/{execution_id}/events",
        name="execution_events",
        summary="A page of the execution's journal",
        tag="executions",
        handler=events,
        query=EventsQuery,
        answer=EventsAnswer,
        codes=("E0401", "E0503"),
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/executions/{execution_id}/wait",
        name="wait_execution",
        summary="Wait for the execution's end (long poll)",
        tag="executions",
        handler=wait,
        query=WaitQuery,
        answer=ExecutionAnswer,
        codes=("E0401",),
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/executions/{execution_id}/stream",
        name="stream_execution",
        summary="The execution's events as they happen (server-sent events)",
        tag="executions",
        handler=stream_events,
        query=StreamQuery,
        answer="text/event-stream",
        codes=("E0401", "E0610", "E0615"),
        streams=True,
    ),
    _control_route("cancel", "End the execution before its time", cancel),
    _control_route("pause", "Begin no new step", pause),
    _control_route("stop", "End after the turn that it is in, with what there is", stop),
    RouteSpec(
        method="POST",
        path="/api/v1/executions/{execution_id}/messages",
        name="say_to_execution",
        summary="Say something to a running execution",
        tag="executions",
        handler=say,
        body=MessageBody,
        answer=ExecutionAnswer,
        codes=("E0401", "E0402", "E0501", "E0506"),
    ),
    _control_route("resume", "Go on after a pause or out of quarantine", resume),
)
