"""What the server is given, and what it shares between requests.

The server is a translator: wire types in, verbs of the engine's ports out. It keeps nothing that matters: task
tokens are derived, plans are cached, and everything else is asked of the ports. So any number of servers can
stand before one engine, and a restart forgets nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from perdure.clock import Clock
from perdure.core.definition import AgentDefinition
from perdure.core.errors import ApiError, PerdureError
from perdure.core.plan import Plan
from perdure.engine.history_ports import Histories
from perdure.engine.ports import Catalog, Executions, Models, Tasks
from perdure.server.keys import Keys
from perdure.server.masks import MaskedExecutions
from perdure.server.metrics import Metrics
from perdure.server.plans import Compile, Plans
from perdure.server.tokens import TaskTokens


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of the door.

    Attributes:
        allowed_hosts: further values of the Host header (without port) besides this machine's own names.
        max_body_bytes: the largest request body.
        max_streams: event streams that may be open at once.
        heartbeat_s: silence after which a stream gets a comment, so that proxies keep it open.
        write_timeout_s: how long a stream waits for a reader that does not read, before it is cut off.
        body_timeout_s: how long a request may take to arrive.
    """

    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 10 * 1024 * 1024
    max_streams: int = 1_000
    heartbeat_s: float = 15.0
    write_timeout_s: float = 30.0
    body_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ServerDeps:
    """The ports and functions that the server calls; the composition root fills them in.

    Attributes:
        decode_definition: reads a definition from plain data (raises E0101, E0102 with the exact field).
        plan_hash: the hash under which a plan is stored.
        secret: 32 bytes of the data directory; keys for single purposes are derived from it.
        statistics: counters and gauges of engine and journal, by name.
        counts: how many executions have each status (`Journal.counts`), asked when somebody scrapes.
        fault: the error that has stopped all writing, if any.
    """

    executions: Executions
    histories: Histories
    tasks: Tasks
    catalog: Catalog
    models: Models
    compile: Compile
    decode_definition: Callable[[Any], AgentDefinition]
    plan_hash: Callable[[Plan], str]
    clock: Clock
    keys: Keys
    secret: bytes
    statistics: Callable[[], dict[str, float]]
    counts: Callable[[], Awaitable[dict[str, int]]]
    fault: Callable[[], PerdureError | None]
    settings: Settings = field(default_factory=Settings)


class Service:
    """One running server: its dependencies and what its requests share.

    Args:
        openapi: the document that describes it, as JSON.
    """

    def __init__(self, deps: ServerDeps, openapi: bytes) -> None:
        self.deps = deps
        self.openapi = openapi
        self.executions: Executions = MaskedExecutions(deps.executions)
        self.tasks = deps.tasks
        self.clock = deps.clock
        self.settings = deps.settings
        self.tokens = TaskTokens(deps.secret)
        self.plans = Plans(
            deps.catalog, deps.models, deps.decode_definition, deps.compile, deps.plan_hash, deps.clock
        )
        self.metrics = Metrics(deps.statistics)
        self.stopping = asyncio.Event()
        self.open_streams = 0
        self.in_flight = 0

    def begin_stop(self) -> None:
        """Refuse new executions from now on; end streams and long polls."""
        self.stopping.set()

    async def idle(self, timeout_s: float) -> None:
        """Return when no request is under way, or after *timeout_s*."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - an event would cost every request
            await asyncio.sleep(0.01)

    def check_accepting(self) -> None:
        """Refuse a request that would begin new work.

        Raises:
            ApiError: E0610 the server is stopping.
        """
        if self.stopping.is_set():
            raise ApiError("E0610", "The server is stopping", fix="Send the request again in a moment.")
