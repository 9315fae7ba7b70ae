"""The runtime: runs agents on a server, and their Python tools in this process.

The asynchronous methods are in `AsyncRuntime`; `AgentRuntime` adds the twin of each that waits. A runtime's
worker lives in the event loop of the call: in the caller's own for an asynchronous method, in a background
thread's for the others, so that it serves while the caller waits.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.definitions import agent_definition
from perdure.agents.results import AgentEvent, AgentResult
from perdure.client.connection import Connection
from perdure.client.handle import AgentHandle
from perdure.client.histories import AsyncComparisons, Comparisons
from perdure.client.media import Media, media_parts
from perdure.client.session import Options, Session
from perdure.client.signals import wait_for_signal
from perdure.client.stream import AgentStream
from perdure.core.errors import ClientError, DefinitionError, ExecutionError
from perdure.core.talk_events import MessageMode
from perdure.wire.types import StartBody
from perdure.worker.functions import dependencies_of, metadata_of, queue_functions

GRACE_S = 30.0

OnEvent = Callable[[AgentEvent], Awaitable[None] | None]

_log = logging.getLogger("perdure.client")


@dataclass(frozen=True)
class Deployment:
    """A deployed agent: `version` counts its plans, `plan_hash` names this one."""

    agent: str
    plan_hash: str
    version: int
    deployed_at_ms: int


class AsyncRuntime(AsyncComparisons):
    """The asynchronous half of `AgentRuntime`."""

    session: Session

    @classmethod
    def over(cls, session: Session) -> Self:
        """A runtime over a session that exists."""
        runtime = cls.__new__(cls)
        runtime.session = session
        return runtime

    async def run_async(
        self,
        agent: Agent | str,
        prompt: str = "",
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
        media: Sequence[Media] | None = None,
        context: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the signature; the error says how to go on
        on_event: OnEvent | None = None,
    ) -> AgentResult:
        """See `run`."""
        began = self.session.clock.monotonic()
        handle = await self.start_async(
            agent,
            prompt,
            session_id=session_id,
            idempotency_key=idempotency_key,
            media=media,
            context=context,
        )
        if on_event is not None:
            try:
                async with asyncio.timeout(timeout) as limit:
                    stream = await handle.stream_async()
                    async for event in stream:
                        if inspect.isawaitable(told := on_event(event)):
                            await told
                    return stream.result
            except TimeoutError:
                if not limit.expired():  # the callback's own
                    raise
        left = None if timeout is None else max(0.0, timeout - (self.session.clock.monotonic() - began))
        return await handle.join_async(left)

    async def start_async(
        self,
        agent: Agent | str,
        prompt: str = "",
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
        media: Sequence[Media] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> AgentHandle:
        """See `start`."""
        if not (prompt and prompt.strip()) and not media:
            raise ClientError(
                "E0704", "The prompt is empty and there are no media", fix="Say what the agent is to do."
            )
        own = None if isinstance(agent, str) else agent
        body = StartBody(
            prompt=prompt,
            definition=None if own is None else agent_definition(own),
            agent=agent if isinstance(agent, str) else None,
            media=await asyncio.to_thread(media_parts, media) if media else [],
            context=None if context is None else dict(context),
            session_id=session_id,
            idempotency_key=idempotency_key,
        )
        connection = await self.session.connection()
        started = await connection.api.start(body)
        if own is not None:
            _serve(connection, own)
        return AgentHandle(started.execution_id, self, agent=own)

    async def stream_async(
        self, agent: Agent | str, prompt: str = "", *, tree: bool = True, **options: Any
    ) -> AgentStream:
        """See `stream`."""
        handle = await self.start_async(agent, prompt, **options)
        return await handle.stream_async(tree=tree)

    async def resume_async(self, execution_id: str, agent: Agent | None = None) -> AgentHandle:
        """See `resume`."""
        connection = await self.session.connection()
        found = await connection.api.execution(execution_id)
        if agent is not None:
            if agent.name != found.agent:
                raise ExecutionError(
                    "E0401",
                    f"The execution is one of the agent {found.agent!r}, not of {agent.name!r}",
                    where=f"execution {execution_id}",
                    fix="Give the agent that it was started with.",
                )
            _serve(connection, agent)
        if found.status in {"paused", "quarantined"}:
            await connection.api.control(execution_id, "resume")
        return AgentHandle(execution_id, self, agent=agent)

    async def signal_async(
        self,
        execution_id: str,
        text: str,
        *,
        id: str | None = None,  # noqa: A002 - as `send`
        mode: MessageMode = "enqueue",
    ) -> None:
        """See `signal`."""
        await AgentHandle(execution_id, self).send_async(text, id=id, mode=mode)

    async def plan_async(self, agent: Agent) -> dict[str, Any]:
        """See `plan`."""
        api = (await self.session.connection()).api
        answer: dict[str, Any] = msgspec.to_builtins(await api.plan(agent_definition(agent)))
        return answer

    async def deploy_async(self, *agents: Agent) -> list[Deployment]:
        """See `deploy`."""
        api = (await self.session.connection()).api
        made = [await api.deploy(agent_definition(agent)) for agent in agents]
        return [Deployment(m.agent, m.plan_hash, m.version, m.deployed_at_ms) for m in made]

    async def serve_async(self, *agents: Agent, blocking: bool = True) -> None:
        """Like `serve`, until the task is cancelled."""
        if not agents:
            raise DefinitionError("E0106", "There is no agent to serve", fix="Give one: serve(agent).")
        definitions = [agent_definition(agent) for agent in agents]
        wait_s = self.session.options.reconnect_timeout
        connection = await self.session.connection(wait_s=wait_s)
        for definition in definitions:
            await connection.api.deploy(definition, patience_s=wait_s)
        for agent in agents:
            _serve(connection, agent)
        _log.info("serving %s", ", ".join(connection.worker.tools) or "no tools")
        if blocking:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.shield(connection.close(GRACE_S))

    async def shutdown_async(self, grace: float = 5.0) -> None:
        """See `shutdown`."""
        await self.session.close_async(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown_async()


class AgentRuntime(AsyncRuntime, Comparisons):
    """Runs agents on a server. Making one does no I/O; the first use finds the server.

    That is the one at *server_url*, else at `PERDURE_SERVER_URL`, else this user's own, which is started in
    the background when it does not run. With `embedded=True` it runs in this process, over the same protocol.
    Use it as a context manager, or call `shutdown`.

    Args:
        server_url: the server's address.
        api_key: its key; else `PERDURE_API_KEY`, else the one in the home.
        embedded: run the server in this process.
        data_dir: where an embedded server keeps its journal; `<home>/embedded` by default.
        home: this user's directory; else `PERDURE_HOME`, else `~/.perdure`.
        auto_start: start this user's server when it does not run.
        worker_concurrency: tool calls that run in this process at the same time.
        worker_name: how this process's worker shows itself.
        dependencies: objects of this process that tools find in their context.
        reconnect_timeout: seconds for which a wait or a stream looks for a server that has gone, and `serve` for one
            that has not come yet.
        app_options: further options of an embedded server.
    """

    def __init__(
        self,
        server_url: str | None = None,
        api_key: str | None = None,
        *,
        embedded: bool = False,
        data_dir: str | Path | None = None,
        home: str | Path | None = None,
        auto_start: bool = True,
        worker_concurrency: int = 32,
        worker_name: str | None = None,
        dependencies: Mapping[str, Any] | None = None,
        reconnect_timeout: float = 300.0,
        app_options: Mapping[str, Any] | None = None,
    ) -> None:
        options = Options(
            server_url=server_url,
            api_key=api_key,
            embedded=embedded,
            data_dir=data_dir,
            home=home,
            auto_start=auto_start,
            worker_concurrency=worker_concurrency,
            worker_name=worker_name,
            dependencies=dependencies or {},
            reconnect_timeout=reconnect_timeout,
            app_options=app_options or {},
        )
        self.session = Session(options)

    def run(
        self,
        agent: Agent | str,
        prompt: str = "",
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
        media: Sequence[Media] | None = None,
        context: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
    ) -> AgentResult:
        """Run an agent and wait for its result.

        Args:
            agent: an agent, or the name of a deployed one.
            prompt: what it is to do.
            session_id: the conversation that the execution belongs to.
            idempotency_key: the same key with the same request is the same execution.
            media: images and other files beside the prompt: addresses, `pathlib.Path`s or parts.
            context: JSON values that the agent is shown beside the prompt.
            timeout: seconds that this call waits; the execution goes on in any case.
            on_event: called with each event as it happens.

        Raises:
            ClientError: E0701 no server; E0704 nothing to do; E0705 not ended in *timeout* seconds.
            DefinitionError: E01xx the agent is wrong.
            ModelError: E0201 to E0203 its model cannot be called.
            ExecutionError: E0412 no deployed agent has this name; E0413 the key was used for something else.
        """
        return self.session.call(
            self.run_async(
                agent,
                prompt,
                session_id=session_id,
                idempotency_key=idempotency_key,
                media=media,
                context=context,
                timeout=timeout,
                on_event=on_event,
            )
        )

    def start(
        self,
        agent: Agent | str,
        prompt: str = "",
        *,
        session_id: str | None = None,
        idempotency_key: str | None = None,
        media: Sequence[Media] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> AgentHandle:
        """Start an agent; return at once. Its tools run in this process as long as this process lives."""
        return self.session.call(
            self.start_async(
                agent,
                prompt,
                session_id=session_id,
                idempotency_key=idempotency_key,
                media=media,
                context=context,
            )
        )

    def stream(
        self, agent: Agent | str, prompt: str = "", *, tree: bool = True, **options: Any
    ) -> AgentStream:
        """Start an agent, options as of `start`; give its events as they happen, with *tree* those below it too."""
        return self.session.call(self.stream_async(agent, prompt, tree=tree, **options))

    def resume(self, execution_id: str, agent: Agent | None = None) -> AgentHandle:
        """Take up an execution of another process: serve its tools here, and go on if it was paused.

        Args:
            execution_id: which execution.
            agent: the agent that it was started with; without it, its tools are left to other workers.

        Raises:
            ExecutionError: E0401 there is no such execution, or it is one of another agent.
        """
        return self.session.call(self.resume_async(execution_id, agent))

    def signal(
        self,
        execution_id: str,
        text: str,
        *,
        id: str | None = None,  # noqa: A002 - as `send`
        mode: MessageMode = "enqueue",
    ) -> None:
        """Say something to a running execution; see `AgentHandle.send`."""
        self.session.call(self.signal_async(execution_id, text, id=id, mode=mode))

    def plan(self, agent: Agent) -> dict[str, Any]:
        """Compile without running: the plan, its hash, its tools, and whether its model can be called."""
        return self.session.call(self.plan_async(agent))

    def deploy(self, *agents: Agent) -> list[Deployment]:
        """Make these agents known under their names; runs of what was known before keep their plan."""
        return self.session.call(self.deploy_async(*agents))

    def serve(self, *agents: Agent, blocking: bool = True) -> None:
        """Deploy these agents and run their tools in this process, until Ctrl-C or SIGTERM.

        Calls in hand are finished first, for up to 30 seconds. With *blocking* off, return once they are deployed and
        serve in the background. A server that is not there yet is waited for, for `reconnect_timeout` seconds.
        """
        self.session.call(self.serve_async(*agents, blocking=False))
        if blocking:
            wait_for_signal()
            self.session.call(self._stop_serving())

    def shutdown(self, grace: float = 5.0) -> None:
        """Finish the tool calls in hand within *grace* seconds; close everything. An embedded server stops."""
        self.session.close(grace)

    async def _stop_serving(self) -> None:
        await (await self.session.connection()).close(GRACE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def _serve(connection: Connection, agent: Agent) -> None:
    connection.serve(queue_functions(agent), metadata_of(agent), dependencies_of(agent))
