"""All routes of the server, in the order in which they are matched: the busiest first."""

from perdure.server.routes import agents, approvals, executions, histories, service, workers
from perdure.server.routing import RouteSpec

ROUTES: tuple[RouteSpec, ...] = (
    *workers.ROUTES,
    *service.ROUTES,
    *executions.ROUTES,
    *histories.ROUTES,
    *approvals.ROUTES,
    *agents.ROUTES,
)
OPEN_PATHS = frozenset(spec.path for spec in ROUTES if spec.open)
