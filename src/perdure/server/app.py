"""The server as an ASGI application: guard, table of routes, coded errors for everything else."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perdure.core.errors import ApiError, PerdureError
from perdure.server.answers import encode_error, error_headers
from perdure.server.deps import ServerDeps, Service
from perdure.server.guard import Guard
from perdure.server.openapi import encode_document
from perdure.server.routing import Endpoint, Methods
from perdure.server.table import OPEN_PATHS, ROUTES


def create_app(deps: ServerDeps) -> Starlette:
    """The application. `app.state.service` is its `Service`, whose `begin_stop` ends streams and long polls.

    It starts nothing and owns nothing of *deps*: who opened the engine closes it, after the last request.
    """
    service = Service(deps, encode_document())
    by_path: dict[str, dict[str, Endpoint]] = {}
    for spec in ROUTES:
        by_path.setdefault(spec.path, {})[spec.method] = Endpoint(spec, service)
    app = Starlette(
        routes=[Route(path, Methods(endpoints)) for path, endpoints in by_path.items()],
        middleware=[Middleware(Guard, service=service, open_paths=OPEN_PATHS)],
        exception_handlers={HTTPException: _not_found, Exception: _unexpected},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def _not_found(_request: Request, _error: Exception) -> Response:
    """No route matches: the only HTTP exception that is left to the router."""
    return _answer(ApiError("E0606", "There is nothing at this address", fix="GET /openapi.json lists all."))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    """An error outside every endpoint. The server process logs it."""
    return _answer(ApiError("E0609", "The server met an error it did not expect"))


def _answer(error: PerdureError) -> Response:
    response = Response(encode_error(error), error.http_status)
    response.raw_headers.extend(error_headers(error))
    return response
