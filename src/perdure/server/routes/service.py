"""The server about itself: health, metrics, its own description."""

from typing import Any

import msgspec

from perdure.core.errors import JournalError
from perdure.log import get_logger
from perdure.server import metrics
from perdure.server.answers import VERSION, RawAnswer
from perdure.server.routing import Call, RouteSpec
from perdure.wire import WIRE_VERSION
from perdure.wire.types import HealthAnswer

_LOG = get_logger("perdure.server")


async def health(call: Call) -> HealthAnswer:
    """Whether the server works, for anybody."""
    if call.service.stopping.is_set():
        status = "stopping"
    elif call.service.deps.fault() is not None:
        status = "storage_unavailable"
    else:
        status = "ok"
    return HealthAnswer(status, VERSION, WIRE_VERSION)


async def show_metrics(call: Call) -> RawAnswer:
    """Prometheus' text format. Without the executions by status while the journal cannot be read."""
    try:
        counts = await call.service.deps.counts()
    except JournalError as error:
        _LOG.warning("executions not counted", code=error.code, what=error.what)
        counts = None
    return RawAnswer(call.service.metrics.text(counts), metrics.CONTENT_TYPE)


async def openapi(call: Call) -> Any:
    """The OpenAPI document of this server."""
    return RawAnswer(call.service.openapi, b"application/json")


class OpenApiDocument(msgspec.Struct, frozen=True):
    """An OpenAPI 3.1 document (its form is the specification's)."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


ROUTES = (
    RouteSpec(
        method="GET",
        path="/health",
        name="health",
        summary="Whether the server works; open to all",
        tag="server",
        handler=health,
        answer=HealthAnswer,
        open=True,
    ),
    RouteSpec(
        method="GET",
        path="/metrics",
        name="metrics",
        summary="Metrics for Prometheus",
        tag="server",
        handler=show_metrics,
        answer="text/plain",
    ),
    RouteSpec(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document",
        tag="server",
        handler=openapi,
        answer=OpenApiDocument,
    ),
)
