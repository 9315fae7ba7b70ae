"""/executions/{id}/retry, rerun, fork, replay, diff: executions made out of others, and two compared."""

from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.comparing import StepSummary, compare
from perdure.core.errors import ApiError
from perdure.core.forking import Edit
from perdure.engine.history_ports import HistoryRequest
from perdure.engine.ports import ExecutionView
from perdure.server.plan_changes import changed
from perdure.server.plans import Compiled
from perdure.server.routing import Call, Query, RouteSpec
from perdure.wire.histories import (
    DiffAnswer,
    ForkBody,
    MadeAnswer,
    ReplayBody,
    RerunBody,
    RetryBody,
    RowAnswer,
    SideAnswer,
    StepAnswer,
)

_PAGE = 1_000
_LONGEST_NAME = 200


class DiffQuery(Query, frozen=True):
    """The execution to compare with."""

    other: str = ""


async def retry(call: Call) -> MadeAnswer:
    """Go on from the step that failed."""
    body: RetryBody = call.body
    return await _make(call, body, await _pinned(call), kind="retry")


async def rerun(call: Call) -> MadeAnswer:
    """The same request again."""
    body: RerunBody = call.body
    compiled = await _pinned(call)
    changes: tuple[str, ...] = ()
    if body.definition is not None:
        compiled, changes = await call.service.plans.store(body.definition), ("definition",)
    elif body.plan == "current":
        compiled, changes = await call.service.plans.deployed(compiled.plan.agent), ("plan",)
    if body.prompt is not None and not body.prompt:
        raise ApiError("E0605", "A prompt must not be empty", fix="Leave it out to ask the same again.")
    return await _make(
        call,
        body,
        compiled,
        kind="rerun",
        changes=changes,
        edit=Edit(input=body.prompt),
        context=body.context,
    )


async def fork(call: Call) -> MadeAnswer:
    """Go on from a point, with something edited there."""
    body: ForkBody = call.body
    edit, compiled = body.edit, await _pinned(call)
    changes = tuple(n for n in ("instructions", "model", "max_turns") if getattr(edit, n) is not None)
    if changes:
        compiled = await changed(
            call.service.plans, compiled, **{name: getattr(edit, name) for name in changes}
        )
    put = Edit(edit.input, edit.answer, edit.calls, edit.result)
    return await _make(call, body, compiled, kind="fork", changes=changes, at=body.at, edit=put)


async def replay(call: Call) -> MadeAnswer:
    """The same request with another model, other instructions or another agent; calls are answered from the recording."""
    body: ReplayBody = call.body
    changes = tuple(n for n in ("definition", "model", "instructions") if getattr(body, n) is not None)
    if body.definition is not None:
        compiled = await call.service.plans.store(body.definition)
    else:
        compiled = await _pinned(call)
    if body.model is not None or body.instructions is not None:
        compiled = await changed(
            call.service.plans, compiled, model=body.model, instructions=body.instructions
        )
    return await _make(call, body, compiled, kind="replay", changes=changes, on_missing=body.on_missing)


async def _pinned(call: Call) -> Compiled:
    """The plan that the execution is pinned to."""
    call.service.check_accepting()
    view = await call.service.executions.get(call.path["execution_id"])
    return await call.service.plans.pinned(view.agent, view.plan_hash)


async def _make(
    call: Call, body: RetryBody | RerunBody | ForkBody | ReplayBody, compiled: Compiled, **fields: Any
) -> MadeAnswer:
    key = body.idempotency_key
    if key is not None and not 1 <= len(key) <= _LONGEST_NAME:
        raise ApiError("E0605", f"`idempotency_key` must have 1 to {_LONGEST_NAME} characters")
    request = HistoryRequest(
        execution_id=call.path["execution_id"],
        plan=compiled.plan,
        plan_hash=compiled.plan_hash,
        started_by=call.actor(body.by),
        members=compiled.members,
        idempotency_key=key,
        **fields,
    )
    made = await call.service.deps.histories.make(request)
    return MadeAnswer(
        made.execution_id,
        compiled.plan.agent,
        compiled.plan_hash,
        made.created,
        compiled.worker_tools,
        request.execution_id,
        request.kind,
    )


async def diff(call: Call) -> DiffAnswer:
    """Two executions side by side."""
    if not call.query.other:
        raise ApiError("E0605", "It must be said with which execution: `?other=ID`")
    views = [
        await call.service.executions.get(execution_id)
        for execution_id in (call.path["execution_id"], call.query.other)
    ]
    left, right = [await _events(call, view.execution_id) for view in views]
    found = compare(left, right)
    return DiffAnswer(
        _side(views[0], left, found.left_usage),
        _side(views[1], right, found.right_usage),
        found.same_output,
        found.first,
        list(found.not_recorded),
        [RowAnswer(r.step, r.same, _step(r.left), _step(r.right)) for r in found.rows],
    )


async def _events(call: Call, execution_id: str) -> list[ev.Recorded]:
    found: list[ev.Recorded] = []
    while True:
        page = await call.service.executions.events(execution_id, len(found), _PAGE)
        found += page
        if len(page) < _PAGE:
            return found


def _side(view: ExecutionView, records: list[ev.Recorded], usage: Any) -> SideAnswer:
    first = records[0].event
    return SideAnswer(
        view.execution_id,
        view.agent,
        view.plan_hash,
        view.status,
        view.turn,
        usage.input_tokens,
        usage.output_tokens,
        view.output,
        view.error,
        first.origin if isinstance(first, ev.ExecutionStarted) else None,
    )


def _step(summary: StepSummary | None) -> StepAnswer | None:
    if summary is None:
        return None
    fields = msgspec.structs.asdict(summary)
    fields.pop("step")
    return StepAnswer(**fields)


_MAKES = ("E0401", "E0413", "E0432", "E0501", "E0506", "E0610")
_MODELS = ("E0107", "E0201", "E0202", "E0203")


def _route(verb: str, summary: str, handler: Any, body: Any, codes: tuple[str, ...]) -> RouteSpec:
    return RouteSpec(
        method="POST",
        path=f"/api/v1/executions/{{execution_id}}/{verb}",
        name=f"{verb}_execution",
        summary=summary,
        tag="histories",
        handler=handler,
        body=body,
        answer=MadeAnswer,
        codes=tuple(sorted({*_MAKES, *codes})),
    )


ROUTES = (
    _route("retry", "A new execution goes on from the step that failed", retry, RetryBody, ("E0433",)),
    _route("rerun", "The same request again", rerun, RerunBody, ("E0412", *_MODELS)),
    _route("fork", "A new execution goes on from a point of this one", fork, ForkBody, _MODELS),
    _route("replay", "The same request, with calls answered from the recording", replay, ReplayBody, _MODELS),
    RouteSpec(
        method="GET",
        path="/api/v1/executions/{execution_id}/diff",
        name="diff_executions",
        summary="Two executions side by side: where they part, and what came of them",
        tag="histories",
        handler=diff,
        query=DiffQuery,
        answer=DiffAnswer,
        codes=("E0401", "E0503"),
    ),
)
