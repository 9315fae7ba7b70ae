"""/approvals: what waits for a person, and the decision."""

from typing import Annotated

import msgspec

from perdure.core.errors import ApiError
from perdure.engine.ports import Decision
from perdure.server import views
from perdure.server.routing import Call, Query, RouteSpec
from perdure.wire.types import ApprovalAnswer, ApprovalsAnswer, DecisionBody

_LONGEST_CHANNEL = 100


class ApprovalsQuery(Query, frozen=True):
    """Approvals of one execution, or of all; only undecided ones unless `pending` is false.

    With `tree` also those of all executions below it.
    """

    execution_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    pending: bool = True
    tree: bool = False


async def list_approvals(call: Call) -> ApprovalsAnswer:
    """Approvals, the longest waiting first."""
    query: ApprovalsQuery = call.query
    rows = await call.service.executions.approvals(query.execution_id, pending=query.pending, tree=query.tree)
    return ApprovalsAnswer([views.approval(row) for row in rows])


async def show(call: Call) -> ApprovalAnswer:
    """One approval."""
    return views.approval(await call.service.executions.approval(call.path["approval_id"]))


async def decide(call: Call) -> ApprovalAnswer:
    """Decide, once."""
    body: DecisionBody = call.body
    if body.arguments is not None and body.decision != "approved":
        raise ApiError("E0605", "`arguments` go with an approval only: a rejected call does not run")
    if body.answer is not None and body.decision != "approved":
        raise ApiError("E0605", "An `answer` goes with an approval only")
    if not 1 <= len(body.channel) <= _LONGEST_CHANNEL:
        raise ApiError("E0605", f"`channel` must have 1 to {_LONGEST_CHANNEL} characters")
    decision = Decision(
        decision=body.decision,
        by=call.actor(body.by),
        channel=body.channel,
        effect_hash=body.effect_hash,
        reason=body.reason,
        arguments=body.arguments,
        answer=body.answer,
    )
    return views.approval(await call.service.executions.decide(call.path["approval_id"], decision))


ROUTES = (
    RouteSpec(
        method="GET",
        path="/api/v1/approvals",
        name="list_approvals",
        summary="Approvals, the longest waiting first",
        tag="approvals",
        handler=list_approvals,
        query=ApprovalsQuery,
        answer=ApprovalsAnswer,
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/approvals/{approval_id}",
        name="show_approval",
        summary="One approval",
        tag="approvals",
        handler=show,
        answer=ApprovalAnswer,
        codes=("E0407",),
    ),
    RouteSpec(
        method="POST",
        path="/api/v1/approvals/{approval_id}/decision",
        name="decide_approval",
        summary="Approve or reject one call, once",
        tag="approvals",
        handler=decide,
        body=DecisionBody,
        answer=ApprovalAnswer,
        codes=("E0305", "E0402", "E0407", "E0408", "E0409", "E0415", "E0501", "E0506"),
    ),
)
