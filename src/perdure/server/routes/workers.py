"""/worker and /workers: the task gateway over HTTP. `poll` is the busiest address of the server."""

import re
from typing import Any

from perdure.core.errors import ApiError, ToolError
from perdure.engine.ports import LeaseRef, Task, TaskResult
from perdure.server import views
from perdure.server.answers import ENCODER
from perdure.server.bodies import has_nul, nul_error
from perdure.server.routing import Call, RouteSpec
from perdure.wire.types import (
    HeartbeatAnswer,
    HeartbeatBody,
    PollAnswer,
    PollBody,
    ResultRecord,
    WorkersAnswer,
)

LONGEST_POLL_MS = 60_000
_MOST = 1_000  # tasks, results, leases and tools of one request
_WORKER = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_MOST_INT = 2**53
_FORGED: dict[str, Any] = ToolError(
    "E0311",
    "The task token is not the one of this attempt",
    fix="Send the token that came with the task, and the name of the worker that it was given to.",
).to_wire()


async def poll(call: Call) -> PollAnswer:
    """Record results, then give tasks. The results count even when the wait for tasks is cut short."""
    body: PollBody = call.body
    _check(body.worker, len(body.tools), len(body.results), body.want)
    service = call.service
    if call.nul and any("\0" in tool for tool in body.tools):
        raise nul_error()
    receipts = await _record(call, body) if body.results else []
    given: list[Task] = []
    if body.want > 0 and body.tools and not service.stopping.is_set():
        take = service.tasks.poll
        # Most polls of a busy server find a task at once, and need no watch on the connection.
        given = await take(body.worker, body.tools, body.want, 0)
        if not given and body.wait_ms > 0:
            wait_ms = min(body.wait_ms, LONGEST_POLL_MS)
            given = await call.while_wanted(take(body.worker, body.tools, body.want, wait_ms)) or []
    service.metrics.polls.inc()
    if given:
        service.metrics.tasks_given.inc(len(given))
    mint = service.tokens.mint
    return PollAnswer(
        [views.task(t, mint(t.execution_id, t.step, t.epoch, body.worker)) for t in given], receipts
    )


async def _record(call: Call, body: PollBody) -> list[dict[str, Any] | None]:
    """A receipt for each result; those whose token is wrong never reach the engine."""
    service, worker = call.service, body.worker
    receipts: list[dict[str, Any] | None] = [_FORGED] * len(body.results)
    places: list[int] = []
    accepted: list[TaskResult] = []
    for place, r in enumerate(body.results):
        if 0 < r.epoch < _MOST_INT and service.tokens.check(r.token, r.execution_id, r.step, r.epoch, worker):
            places.append(place)
            accepted.append(_result(r, worker, nul=call.nul))
    if accepted:
        for place, receipt in zip(places, await service.tasks.complete(accepted), strict=True):
            receipts[place] = _for_worker(receipt)
    recorded = receipts.count(None)
    service.metrics.results_recorded.inc(recorded)
    service.metrics.results_refused.inc(len(receipts) - recorded)
    return receipts


def _for_worker(receipt: dict[str, Any] | None) -> dict[str, Any] | None:
    """A receipt without what only the operator may know: storage errors name files."""
    if receipt is None or not str(receipt.get("code", "")).startswith("E05"):
        return receipt
    return {k: v for k, v in receipt.items() if k not in {"where", "why"}}


def _result(r: ResultRecord, worker: str, *, nul: bool) -> TaskResult:
    if nul and has_nul(ENCODER.encode(r)):
        # The work is done and cannot be handed in in this form: the model is told so, instead of trying for ever.
        error = ToolError(
            "E0303",
            "The tool's result has a NUL character, which cannot be stored",
            fix="Remove \\0 from the result.",
        )
        return TaskResult(r.execution_id, r.step, r.epoch, worker, error=error.to_wire(), retryable=False)
    return TaskResult(
        execution_id=r.execution_id,
        step=r.step,
        epoch=r.epoch,
        worker=worker,
        result=r.result,
        state=r.state,
        error=r.error,
        retryable=r.retryable,
        duration_ms=min(max(r.duration_ms, 0), _MOST_INT),
    )


async def heartbeat(call: Call) -> HeartbeatAnswer:
    """Extend leases."""
    body: HeartbeatBody = call.body
    _check(body.worker, len(body.leases))
    leases = [LeaseRef(lease.execution_id, lease.step, lease.epoch) for lease in body.leases]
    return HeartbeatAnswer(call.service.tasks.heartbeat(body.worker, leases))


async def workers(call: Call) -> WorkersAnswer:
    """Workers heard of lately."""
    return WorkersAnswer([views.worker(w) for w in call.service.tasks.workers()])


def _check(worker: str, *counts: int) -> None:
    if not _WORKER.fullmatch(worker):
        raise ApiError("E0605", "`worker` must be a name of 1 to 200 printable characters")
    if max(counts) > _MOST or min(counts) < 0:
        raise ApiError("E0605", f"A request may ask for, and hand in, at most {_MOST} of each thing")


ROUTES = (
    RouteSpec(
        method="POST",
        path="/api/v1/worker/poll",
        name="worker_poll",
        summary="Hand in results and take tasks, in one round trip (long poll)",
        tag="workers",
        handler=poll,
        body=PollBody,
        answer=PollAnswer,
        codes=("E0501", "E0506"),
        nul_allowed=True,
    ),
    RouteSpec(
        method="POST",
        path="/api/v1/worker/heartbeat",
        name="worker_heartbeat",
        summary="Keep leases",
        tag="workers",
        handler=heartbeat,
        body=HeartbeatBody,
        answer=HeartbeatAnswer,
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/workers",
        name="list_workers",
        summary="Workers heard of lately",
        tag="workers",
        handler=workers,
        answer=WorkersAnswer,
    ),
)
