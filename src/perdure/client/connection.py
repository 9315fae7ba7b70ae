"""A connection: what the client has in one event loop, an API client and a worker.

Sockets and tasks belong to the loop that made them. A user may call from several (a synchronous call, then
`asyncio.run`, then again), so each loop gets a connection of its own. It ends with `close`, or when
`asyncio.run` cancels all tasks at its end: a task of the connection's own notices and cleans up.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.functions import Served
from perdure.client.api import ApiClient
from perdure.clock import Clock
from perdure.worker.functions import dependencies_of, metadata_of, queue_functions
from perdure.worker.worker import Worker


class Connection:
    """The API client and the worker of the running loop. The worker begins with the first tool it is given."""

    def __init__(
        self,
        api: ApiClient,
        clock: Clock,
        *,
        concurrency: int,
        worker_name: str | None,
        dependencies: Mapping[str, Any],
    ) -> None:
        self.api = api
        self.worker = Worker(
            api, {}, clock, concurrency=concurrency, name=worker_name, dependencies=dependencies
        )
        self._closing = asyncio.Event()
        self._grace_s = 0.0
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="perdure-connection")

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self._keeper.done() and not self._closing.is_set()

    def serve(
        self,
        functions: Mapping[str, Served],
        metadata: Mapping[str, dict[str, Any]] | None = None,
        dependencies: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Run the tasks of these functions (by queue name) in this process from now on; see `Worker.serve`."""
        if functions:
            self.worker.serve(functions, metadata, dependencies)
            self.worker.start()

    def serve_agent(self, agent: Agent) -> None:
        """Run the functions of an agent and of all below it in this process from now on."""
        self.serve(queue_functions(agent), metadata_of(agent), dependencies_of(agent))

    def request_close(self, grace_s: float) -> None:
        """Begin to close; only from the connection's own loop."""
        self._grace_s = grace_s
        self._closing.set()

    async def close(self, grace_s: float) -> None:
        """Finish the tasks in hand within *grace_s* seconds, then close everything."""
        self.request_close(grace_s)
        await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        try:
            await self._closing.wait()
        finally:
            try:
                await self.worker.stop(self._grace_s)
            finally:
                await self.api.aclose()
