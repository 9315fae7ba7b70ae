"""The module-level functions: `run(agent, prompt)` and its like, over one default runtime.

`configure` sets its options before the first use; `shutdown` closes it, and the next use makes a new one. It is
closed by itself when the program ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.results import AgentResult
from perdure.client.default import configure, default_session, take_default_session
from perdure.client.handle import AgentHandle
from perdure.client.media import Media
from perdure.client.runtime import AgentRuntime, Deployment, OnEvent
from perdure.client.stream import AgentStream

__all__ = [
    "configure",
    "default_runtime",
    "deploy",
    "deploy_async",
    "plan",
    "plan_async",
    "resume",
    "resume_async",
    "run",
    "run_async",
    "serve",
    "serve_async",
    "shutdown",
    "shutdown_async",
    "start",
    "start_async",
    "stream",
    "stream_async",
]


def default_runtime() -> AgentRuntime:
    """The runtime behind these functions."""
    return AgentRuntime.over(default_session())


def run(
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
    """Run an agent and wait for its result; see `AgentRuntime.run`."""
    return default_runtime().run(
        agent,
        prompt,
        session_id=session_id,
        idempotency_key=idempotency_key,
        media=media,
        context=context,
        timeout=timeout,
        on_event=on_event,
    )


async def run_async(
    agent: Agent | str,
    prompt: str = "",
    *,
    session_id: str | None = None,
    idempotency_key: str | None = None,
    media: Sequence[Media] | None = None,
    context: Mapping[str, Any] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - part of the signature
    on_event: OnEvent | None = None,
) -> AgentResult:
    """The same from a running loop, in which the agent's asynchronous tools run."""
    return await default_runtime().run_async(
        agent,
        prompt,
        session_id=session_id,
        idempotency_key=idempotency_key,
        media=media,
        context=context,
        timeout=timeout,
        on_event=on_event,
    )


def start(
    agent: Agent | str,
    prompt: str = "",
    *,
    session_id: str | None = None,
    idempotency_key: str | None = None,
    media: Sequence[Media] | None = None,
    context: Mapping[str, Any] | None = None,
) -> AgentHandle:
    """Start an agent and return at once; see `AgentRuntime.start`."""
    return default_runtime().start(
        agent,
        prompt,
        session_id=session_id,
        idempotency_key=idempotency_key,
        media=media,
        context=context,
    )


async def start_async(
    agent: Agent | str,
    prompt: str = "",
    *,
    session_id: str | None = None,
    idempotency_key: str | None = None,
    media: Sequence[Media] | None = None,
    context: Mapping[str, Any] | None = None,
) -> AgentHandle:
    """The same from a running loop."""
    return await default_runtime().start_async(
        agent,
        prompt,
        session_id=session_id,
        idempotency_key=idempotency_key,
        media=media,
        context=context,
    )


def stream(agent: Agent | str, prompt: str = "", **options: Any) -> AgentStream:
    """Start an agent, options as of `start`; give its events as they happen."""
    return default_runtime().stream(agent, prompt, **options)


async def stream_async(agent: Agent | str, prompt: str = "", **options: Any) -> AgentStream:
    """The same from a running loop; the stream is for `async for`."""
    return await default_runtime().stream_async(agent, prompt, **options)


def resume(execution_id: str, agent: Agent | None = None) -> AgentHandle:
    """Take up an execution of another process; see `AgentRuntime.resume`."""
    return default_runtime().resume(execution_id, agent)


async def resume_async(execution_id: str, agent: Agent | None = None) -> AgentHandle:
    """The same from a running loop."""
    return await default_runtime().resume_async(execution_id, agent)


def plan(agent: Agent) -> dict[str, Any]:
    """Compile without running; see `AgentRuntime.plan`."""
    return default_runtime().plan(agent)


async def plan_async(agent: Agent) -> dict[str, Any]:
    """The same from a running loop."""
    return await default_runtime().plan_async(agent)


def deploy(*agents: Agent) -> list[Deployment]:
    """Make these agents known under their names."""
    return default_runtime().deploy(*agents)


async def deploy_async(*agents: Agent) -> list[Deployment]:
    """The same from a running loop."""
    return await default_runtime().deploy_async(*agents)


def serve(*agents: Agent, blocking: bool = True) -> None:
    """Deploy these agents and run their tools in this process, until Ctrl-C or SIGTERM."""
    default_runtime().serve(*agents, blocking=blocking)


async def serve_async(*agents: Agent, blocking: bool = True) -> None:
    """The same until the task is cancelled."""
    await default_runtime().serve_async(*agents, blocking=blocking)


def shutdown(grace: float = 5.0) -> None:
    """Close the default runtime, if there is one."""
    if (session := take_default_session()) is not None:
        session.close(grace)


async def shutdown_async(grace: float = 5.0) -> None:
    """The same from a running loop."""
    if (session := take_default_session()) is not None:
        await session.close_async(grace)
