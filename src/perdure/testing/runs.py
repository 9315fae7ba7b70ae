"""Runs in process: an agent on a real engine, server and worker, on virtual time, with no key and no port.

`Trial` is one run on a stage; `mock_run` is a trial to its end. What is compiled, driven and recorded is what production
compiles, drives and records: only the models, the people and the disk are stood in for.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.definitions import agent_definition
from perdure.client.api import ApiClient
from perdure.client.calls import path_of
from perdure.client.media import Media, media_parts
from perdure.clock import Clock, SystemClock
from perdure.core.errors import ClientError, PerdureError
from perdure.engine.ports import TERMINAL_STATUSES, Models
from perdure.providers.models import ProviderModels
from perdure.testing.approvals import BY, Approve, Approver
from perdure.testing.ledger import Ledger, watched_functions
from perdure.testing.model import MockModel
from perdure.testing.scripts import OneModel, RunModels, ScriptedModels, Scripts, scripts_of
from perdure.testing.stage import Stage, Watch
from perdure.testing.tree import Node, RunResult, read_tree, run_result
from perdure.testing.virtual import VirtualLoop
from perdure.wire.types import ExecutionAnswer, MessageBody, StartBody

T = TypeVar("T")

TIMEOUT_S = 86_400.0
LOOK_S = 300.0  # a look without news, for what waits without saying so
KEY = "run"
LOGGERS = ("perdure.engine", "perdure.server", "perdure.worker", "perdure.client")


class Call(msgspec.Struct, frozen=True):
    """What a run is started with; the fields mean what they mean for `perdure.run`."""

    prompt: str = ""
    session_id: str | None = None
    media: Sequence[Media] = ()
    context: Mapping[str, Any] | None = None
    timeout: float = TIMEOUT_S
    messages: Sequence[str] = ()


class Place(Protocol):
    """Where a run takes place: a server and a worker; `Stage` is one."""

    @property
    def api(self) -> ApiClient:
        """A client of the server."""

    @property
    def clock(self) -> Clock:
        """What time it is there."""

    @property
    def news(self) -> asyncio.Event:
        """Set when something waits for a person, or has ended."""

    async def open(self) -> None:
        """Start server and worker."""

    async def close(self) -> None:
        """End them."""


class Drive:
    """Takes an agent through one run: starts it, plays the people, waits for its end.

    Args:
        agent: the agent.
        place: where it runs.
        approve: the policy for approvals.
        look_s: a look without news, for what waits without saying so.
    """

    def __init__(self, agent: Agent, place: Place, approve: Any, *, look_s: float = LOOK_S) -> None:
        self.agent = agent
        self._place = place
        self._approver = Approver(approve)
        self._look_s = look_s

    async def run(self, call: Call) -> Node:
        """Start, decide what waits, and read what is recorded when it has ended.

        Raises:
            ClientError: E0705 it waits for a person or a tool that nobody plays, or is not done in *timeout* seconds.
            PerdureError: the agent is wrong.
        """
        stage = self._place
        await stage.open()
        try:
            body = StartBody(
                prompt=call.prompt,
                definition=agent_definition(self.agent),
                media=media_parts(call.media) if call.media else [],
                context=None if call.context is None else dict(call.context),
                session_id=call.session_id,
                idempotency_key=KEY,
            )
            started = await stage.api.start(body)
            await self._ended(started.execution_id, call)
            return await read_tree(stage.api, started.execution_id)
        finally:
            await stage.close()

    async def _ended(self, execution_id: str, call: Call) -> None:
        stage = self._place
        give_up_at = stage.clock.monotonic() + call.timeout
        left = list(enumerate(call.messages))
        idle = 0
        while True:
            stage.news.clear()
            answer = await stage.api.execution(execution_id)
            if answer.status in TERMINAL_STATUSES:
                return
            decided = await self._approver.decide_all(stage.api)
            waiting = (await stage.api.executions(status=_NOBODY_COMES)).executions
            listening = [row.execution_id for row in waiting if row.status == "waiting:message"]
            if listening and left:
                await self._say(listening[-1], *left.pop(0))
                continue
            idle = idle + 1 if waiting and not decided else 0
            if stage.clock.monotonic() >= give_up_at or idle > _PATIENCE:
                stuck = answer if not waiting else await stage.api.execution(waiting[-1].execution_id)
                raise _stuck(stuck, call.timeout)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stage.news.wait(), self._look_s)

    async def _say(self, execution_id: str, number: int, text: str) -> None:
        """Say the next message; the same number again is the same message."""
        path = path_of("executions", execution_id, "messages")
        body = MessageBody(text, id=f"test-{number}", by=BY)
        try:
            await self._place.api.call("POST", path, ExecutionAnswer, body)
        except PerdureError as error:
            # The answer was lost with a killed server, and what was said has led to the end in the meantime.
            if error.code != "E0402":
                raise


class Trial(Drive):
    """One run of an agent on a stage of its own.

    Args:
        loop: the loop that it runs in.
        agent: the agent.
        models: answer its model calls.
        tools: fakes by tool; see `mock_run`.
        approve: the policy for approvals.
        watch: told of every commit.

    Attributes:
        stage, ledger: where it runs, and what ran.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        agent: Agent,
        models: RunModels,
        *,
        tools: Mapping[str, Any] | None = None,
        approve: Any = None,
        watch: Watch | None = None,
    ) -> None:
        self.models = models
        self.ledger = Ledger()
        functions = watched_functions(agent, tools, self.ledger)
        self.stage = Stage(loop, models, agent, functions, watch=watch)
        models.speakers = self.stage
        super().__init__(agent, self.stage, approve)


# Nothing but a worker or a message lets such an execution go on.
_NOBODY_COMES = ("waiting:worker", "waiting:message")
_PATIENCE = 3  # looks at an execution that waits for a worker: there is only one, and it is there


def _stuck(answer: ExecutionAnswer, timeout_s: float) -> ClientError:
    waits = "; ".join(f"{w.kind} {w.agent or answer.agent}.{w.tool or w.step}" for w in answer.waits)
    return ClientError(
        "E0705",
        f"The run did not end: it is {answer.status}",
        where=f"agent {answer.agent}, execution {answer.execution_id}",
        why=f"It waits for {waits}." if waits else f"{timeout_s:g} s are over.",
        fix=_FIXES.get(answer.status, "Give it more time with timeout=..."),
    )


_FIXES = {
    "waiting:worker": "Its function is not in this process: give a fake for it with tools={name: ...}.",
    "waiting:message": "Say something to it with messages=[...].",
}


def play(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run *work* in a virtual loop of its own; in a thread, when this one has a loop that runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _play(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(_play(work))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="perdure-testing")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _play(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        with quiet():
            loop.finish()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the logs of engine, server, worker and client: what they would say is meant to happen."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [log.disabled for log in loggers]
    for log in loggers:
        log.disabled = True
    try:
        yield
    finally:
        for log, was in zip(loggers, before, strict=True):
            log.disabled = was


def models_of(script: Scripts | None, model: str | MockModel | Models | None, agent: str) -> ScriptedModels:
    """The models of a run: scripts first, then *model* for all others, then what each agent names.

    Raises:
        DefinitionError: E0106 a script is none; E0107 the model's name.
    """
    fallback: Models = ProviderModels(os.environ, SystemClock())
    if isinstance(model, str | MockModel):
        fallback = OneModel(fallback, model)
    elif model is not None:
        fallback = model
    return ScriptedModels(scripts_of(script, agent), fallback)


def mock_run(
    agent: Agent,
    prompt: str = "Go.",
    *,
    script: Scripts | None = None,
    model: str | MockModel | Models | None = None,
    approve: Approve = None,
    tools: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    context: Mapping[str, Any] | None = None,
    media: Sequence[Media] | None = None,
    messages: Sequence[str] = (),
    timeout: float = TIMEOUT_S,
) -> RunResult:
    """Run an agent in this process, without a server and without a key, and return all that happened.

    Engine, strategies, guardrails, approvals, retries and workers are the real ones; waits take no real time. An
    agent without a script is answered by its own model, which may be a `MockModel`.

    Args:
        agent: the agent.
        prompt: what it is to do.
        script: what its model says: a list of texts, entries (`text`, `call`, `calls`), `ModelError`s and functions of
            the request, one for each model step; or one text or function for all; or a dict of these by the name of
            the agent, and `judge:NAME` for a guardrail that a model judges.
        model: for all agents without a script: `mock/echo`, a `MockModel`, or any adapter of the port `Models`.
        approve: who decides what waits for a person: True, False, a dict by tool, a `Decision`, a function of the
            approval; None: nobody, and the run fails with E0705 when it waits.
        tools: what stands in for tools, by name (or `agent.tool`): a function of the arguments, a value, an exception.
            The others run for real.
        session_id: the conversation that it belongs to.
        context: JSON values that the agent is shown beside the prompt.
        media: files beside the prompt.
        messages: what people say to it: the next one each time that an execution waits for a message.
        timeout: seconds of virtual time.

    Raises:
        DefinitionError: E01xx the agent, a script or a fake is wrong.
        ClientError: E0705 it did not end, because it waits for what nobody plays.
        ExecutionError: E0410 its answer does not fit its output type.
    """
    call = Call(prompt, session_id, media or (), context, timeout, messages)
    models = models_of(script, model, agent.name)

    async def work(loop: VirtualLoop) -> RunResult:
        trial = Trial(loop, agent, models, tools=tools, approve=approve)
        tree = await trial.run(call)
        requests = [asked.request for asked in models.asked]
        return run_result(tree, agent, requests=requests, attempts=trial.ledger.attempts)

    return play(work)
