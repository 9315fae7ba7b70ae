"""A server and a worker on virtual time, in one event loop, over a journal in memory that outlives them.

They are the real ones: the composition of `perdure.app`, and the worker, which talk over the in-process transport. Both
can be killed, together or the server alone, and are started again by themselves on what the journal has.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from perdure.agents.agent import Agent
from perdure.agents.functions import Served
from perdure.app import App, assemble
from perdure.client.api import ApiClient
from perdure.client.inprocess import InProcessTransport, Message
from perdure.core import events as ev
from perdure.core.errors import JournalError
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import TERMINAL_STATUSES, Commit, Models, StoredExecution
from perdure.server.keys import Secrets, make_key
from perdure.testing.virtual import GoneError, Process, StandstillThreads, VirtualClock, VirtualLoop
from perdure.worker.functions import dependencies_of, metadata_of
from perdure.worker.leases import HEARTBEATS_PER_LEASE, Heartbeats
from perdure.worker.worker import Worker

RESTART_S = 0.05
LEASE_MS = 60_000  # long: a worker that sleeps for hours of virtual time keeps its lease with few heartbeats
PATIENCE_S = 600.0
_MODEL_STEP = re.compile(r"t\d+\.m")

_NEWS = TERMINAL_STATUSES | {"waiting:message"}

Outcome = StoredExecution | JournalError | None


class Watch(Protocol):
    """Told of every commit, in the process that makes it."""

    def committing(self, commit: Commit) -> bool:
        """Before it is written; False: it never is."""

    def committed(self, commit: Commit) -> None:
        """It is written, and nobody knows it yet."""


class Unwatched:
    """A `Watch` that lets everything pass."""

    def committing(self, commit: Commit) -> bool:  # noqa: ARG002 - the port's
        """Let it pass."""
        return True

    def committed(self, commit: Commit) -> None:
        """It is written."""


class _ProcessJournal:
    """`Journal` and `Catalog` as one process has them: nothing reaches the disk, or comes back, once it is dead."""

    def __init__(self, disk: MemoryJournal, process: Process, watch: Watch, news: asyncio.Event) -> None:
        self._disk = disk
        self._process = process
        self._watch = watch
        self._news = news

    def commit(self, commit: Commit, done: Callable[[Outcome], None]) -> None:
        if not self._process.alive or not self._watch.committing(commit):
            return
        self._disk.commit(commit, lambda outcome: done(outcome) if self._process.alive else None)
        self._watch.committed(commit)
        if commit.approvals or commit.status in _NEWS:
            self._news.set()

    def __getattr__(self, name: str) -> Any:
        """The verbs that read, and those of the catalog."""
        return getattr(self._disk, name)


class _LoopHeartbeats(Heartbeats):
    """Heartbeats in the worker's loop: a thread of their own would beat in real time."""

    _task: asyncio.Task[None] | None = None

    def watch(self, lease_ms: int) -> None:
        """A task with this lease is in hand now; the first one begins to beat."""
        interval_s = lease_ms / 1000 / HEARTBEATS_PER_LEASE
        if interval_s >= self._interval_s:
            return
        self._interval_s = interval_s
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(loop))
        else:
            self._wake()

    async def stop(self) -> None:
        """Beat no more."""
        self._stopping = True
        self._wake()
        if self._task is not None:
            await asyncio.wait([self._task])


class JournalSpeakers:
    """`Speakers`, read from the journal `disk`."""

    disk: Any  # a journal, of whatever kind

    async def speaker(self, execution_id: str, step: str) -> str:
        """The agent of an execution; `judge:NAME` for a guardrail's question, `condense:NAME` for a sum of what was said."""
        row = await self.disk.load(execution_id)
        agent = row.agent if row is not None else ""
        if _MODEL_STEP.fullmatch(step):
            return agent
        for record in await self.disk.events(execution_id):
            if isinstance(record.event, ev.JudgeRequested) and record.event.step == step:
                return f"judge:{record.event.guard}"
            if isinstance(record.event, ev.CondenseRequested) and record.event.step == step:
                return f"condense:{agent}"
        return agent

    async def path(self, execution_id: str) -> str:
        """The place of an execution in its tree; see `tree.Node.path`."""
        steps: list[str] = []
        while True:
            first = (await self.disk.events(execution_id, 0, 1))[0].event
            if not isinstance(first, ev.ExecutionStarted) or first.parent is None:
                return "/".join(reversed(steps))
            steps.append(first.parent.step)
            execution_id = first.parent.execution_id


class Stage(JournalSpeakers):
    """See the module. Use it inside its loop: `await stage.open()` first, `await stage.close()` last.

    Args:
        loop: the loop that runs it.
        models: answer the agents' model calls; they outlive every kill.
        agent: whose functions the worker runs: `functions` by queue name.
        watch: told of every commit.

    Attributes:
        clock: virtual.
        disk: the journal.
        api: a client; it waits through restarts.
        kills: how often something was killed.
        news: set when something waits for a person, or has ended.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        models: Models,
        agent: Agent,
        functions: Mapping[str, Served],
        *,
        watch: Watch | None = None,
    ) -> None:
        self.clock = VirtualClock(loop)
        self.disk = MemoryJournal()
        self.kills = 0
        self.news = asyncio.Event()
        self._loop = loop
        self._models = models
        self._agent = agent
        self._functions = dict(functions)
        self._watch: Watch = watch or Unwatched()
        self._secrets = Secrets(make_key(bytes(range(32))), bytes(range(32)))
        self._server: tuple[Process, App] | None = None
        self._worker: tuple[Process, Worker] | None = None
        self._killed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.api = self._client()

    def _client(self) -> ApiClient:
        transport = InProcessTransport(self._serve, self._loop)
        return ApiClient(
            transport,
            self.clock,
            api_key=self._secrets.api_key,
            patience_s=PATIENCE_S,
            reconnect_s=PATIENCE_S,
        )

    async def _serve(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """The address at which the server of the moment answers."""
        if self._server is None:
            raise GoneError("connection refused")
        process, app = self._server

        async def serve() -> None:
            await app.asgi(scope, receive, send)

        await process.run(serve)

    async def open(self) -> None:
        """Start server and worker, and whoever starts them again."""
        await self._launch_server()
        await self._launch_worker()
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        """End everything."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._worker is not None:
            process, worker = self._worker
            with contextlib.suppress(GoneError):
                await process.run(lambda: worker.stop(0))
        if self._server is not None:
            process, app = self._server
            with contextlib.suppress(GoneError):
                await process.run(app.close)

    def kill(self, *, worker: bool) -> None:
        """SIGKILL the server, and the worker too when they are one process."""
        if self._server is None:
            return
        self.kills += 1
        self._server[0].kill()
        self._server = None
        if worker and self._worker is not None:
            self._worker[0].kill()
            self._worker = None
        self._killed.set()

    async def _keep(self) -> None:
        while True:
            await self._killed.wait()
            self._killed.clear()
            await asyncio.sleep(RESTART_S)
            if self._server is None:
                await self._launch_server()
            if self._worker is None:
                await self._launch_worker()

    async def _launch_server(self) -> None:
        process = Process()
        await self.disk.close()  # the operating system takes the lock from a dead process
        journal: Any = _ProcessJournal(self.disk, process, self._watch, self.news)
        app = assemble(journal, self._models, self.clock, self._secrets, lease_ms=LEASE_MS)
        self._server = (process, app)
        try:
            await process.run(app.engine.open)
        except GoneError:  # killed while it was opening: the keeper begins anew
            return

    async def _launch_worker(self) -> None:
        process = Process()
        worker = Worker(
            self._client(),
            {},
            self.clock,
            name=f"worker-{self.kills}",
            threads=StandstillThreads(),
            heartbeats=_LoopHeartbeats,
        )
        self._worker = (process, worker)

        async def begin() -> None:
            worker.serve(self._functions, metadata_of(self._agent), dependencies_of(self._agent))
            worker.start()

        await process.run(begin)
