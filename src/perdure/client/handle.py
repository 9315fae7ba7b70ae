"""A handle: one execution, from any process that knows its id.

The asynchronous methods are in `AsyncHandle`; `AgentHandle` adds the twin of each that waits.
"""

import logging
from typing import Any, Protocol

from perdure.agents.agent import Agent
from perdure.agents.results import AgentEvent, AgentResult, AgentStatus, Status
from perdure.client import choice
from perdure.client.api import ApiClient
from perdure.client.default import default_session
from perdure.client.histories import AsyncHistories, Histories
from perdure.client.history import result_of
from perdure.client.mapping import EventMapper, status_of
from perdure.client.session import Session
from perdure.client.stream import AgentStream, Places
from perdure.core.errors import ClientError, ExecutionError
from perdure.core.talk_events import MessageMode
from perdure.wire.types import (
    ApprovalAnswer,
    ControlBody,
    DecisionBody,
    EventRecord,
    ExecutionAnswer,
    MessageBody,
    WaitInfo,
)

LONGEST_WAIT_MS = 25_000
NO_WORKER_AFTER_MS = 3_000  # a worker may be starting: only then is the user told that none serves a tool
EVENTS_PAGE = 500
CHANNEL = "sdk"

_log = logging.getLogger("perdure.client")


class HasSession(Protocol):
    """A runtime, as far as a handle needs it."""

    @property
    def session(self) -> Session:
        """The server that it uses."""


class AsyncHandle(AsyncHistories):
    """The asynchronous half of `AgentHandle`."""

    def __init__(
        self, execution_id: str, runtime: HasSession | None = None, *, agent: Agent | None = None
    ) -> None:
        self.execution_id = execution_id
        self.agent = agent
        self._session = default_session() if runtime is None else runtime.session

    async def get_status_async(self) -> AgentStatus:
        """See `get_status`."""
        return status_of(await (await self._api()).execution(self.execution_id))

    async def join_async(self, timeout: float | None = None) -> AgentResult:  # noqa: ASYNC109 - as `join`
        """See `join`."""
        api = await self._api()
        answer = await self._ended(api, timeout)
        return result_of(answer, await self._records(api), self.agent)

    async def events_async(self) -> list[AgentEvent]:
        """See `events`."""
        mapper = EventMapper()
        return [event for record in await self._records(await self._api()) for event in mapper.take(record)]

    async def stream_async(self, after: Places = 0, *, tree: bool = True) -> AgentStream:
        """See `stream`."""
        return AgentStream(
            self.execution_id, self._session, self.join_async, after=after, tree=tree, agent=self.agent
        )

    async def approve_async(
        self,
        approval_id: str | None = None,
        *,
        arguments: dict[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
    ) -> None:
        """See `approve`."""
        approval = await self._approval(approval_id, "approve")
        body = DecisionBody(
            decision="approved",
            effect_hash=approval.effect_hash,
            reason=reason,
            arguments=arguments,
            by=by,
            channel=CHANNEL,
        )
        await (await self._api()).decide(approval.approval_id, body)

    async def reject_async(
        self, reason: str = "", approval_id: str | None = None, *, by: str | None = None
    ) -> None:
        """See `reject`."""
        approval = await self._approval(approval_id, "reject")
        body = DecisionBody(
            decision="rejected", effect_hash=approval.effect_hash, reason=reason, by=by, channel=CHANNEL
        )
        await (await self._api()).decide(approval.approval_id, body)

    async def respond_async(
        self, answer: Any, approval_id: str | None = None, *, by: str | None = None, reason: str = ""
    ) -> None:
        """See `respond`."""
        approval = await self._approval(approval_id, "respond")
        body = DecisionBody(
            decision="approved",
            effect_hash=approval.effect_hash,
            reason=reason,
            by=by,
            channel=CHANNEL,
            answer=answer,
        )
        await (await self._api()).decide(approval.approval_id, body)

    async def pause_async(self, reason: str = "") -> None:
        """See `pause`."""
        await (await self._api()).control(self.execution_id, "pause", ControlBody(reason))

    async def resume_async(self) -> None:
        """See `resume`."""
        await (await self._api()).control(self.execution_id, "resume")

    async def cancel_async(self, reason: str = "") -> None:
        """See `cancel`."""
        await (await self._api()).control(self.execution_id, "cancel", ControlBody(reason))

    async def stop_async(self, reason: str = "") -> None:
        """See `stop`."""
        await (await self._api()).control(self.execution_id, "stop", ControlBody(reason))

    async def send_async(self, text: str, *, id: str | None = None, mode: MessageMode = "enqueue") -> None:  # noqa: A002
        """See `send`."""
        await (await self._api()).say(self.execution_id, MessageBody(text, id, mode=mode))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.execution_id!r})"

    async def _api(self) -> ApiClient:
        return (await self._session.connection()).api

    async def _ended(self, api: ApiClient, timeout_s: float | None) -> ExecutionAnswer:
        clock = self._session.clock
        give_up_at = None if timeout_s is None else clock.monotonic() + timeout_s
        told = False
        wait_ms = NO_WORKER_AFTER_MS  # the first time; then as long as the server lets us
        while True:
            left_ms = wait_ms if give_up_at is None else round((give_up_at - clock.monotonic()) * 1000)
            answer = await api.wait(self.execution_id, max(0, min(left_ms, wait_ms)))
            if Status(answer.status).is_complete:
                return answer
            if give_up_at is not None and clock.monotonic() >= give_up_at:
                raise _still_running(answer, timeout_s)
            if not told and _lacks_worker(answer):
                told = True
                _log.warning("%s", _nobody_serves(answer))
            wait_ms = LONGEST_WAIT_MS

    async def _records(self, api: ApiClient) -> list[EventRecord]:
        records: list[EventRecord] = []
        while True:
            page = await api.events(self.execution_id, len(records), EVENTS_PAGE)
            records += page.events
            if not page.events or records[-1].seq >= page.last_seq:
                return records

    async def _approval(self, approval_id: str | None, verb: choice.Verb) -> ApprovalAnswer:
        """What is decided: the one that was named, or the only one that waits here or below."""
        api = await self._api()
        if approval_id is not None:
            return await choice.named(api, approval_id, self.execution_id)
        return await choice.only(api, self.execution_id, verb)


class AgentHandle(AsyncHandle, Histories):
    """One execution, from any process.

    Args:
        execution_id: of which execution.
        runtime: which server; the default runtime's when it is None.
        agent: the agent, for the type of its answer and for the `partial` of a stream's tokens.
    """

    def get_status(self) -> AgentStatus:
        """The execution as it is now, and what it waits for."""
        return self._session.call(self.get_status_async())

    def join(self, timeout: float | None = None) -> AgentResult:
        """Wait for the end, over lost connections and restarts of the server.

        Args:
            timeout: seconds that this call waits; the execution goes on in any case.

        Raises:
            ClientError: E0705 it has not ended in *timeout* seconds.
            ExecutionError: E0410 the answer does not fit the agent's output type.
        """
        return self._session.call(self.join_async(timeout))

    def events(self) -> list[AgentEvent]:
        """What has happened so far."""
        return self._session.call(self.events_async())

    def stream(self, after: Places = 0, *, tree: bool = True) -> AgentStream:
        """What has happened, and then what happens, in the execution and in all below it.

        Args:
            after: a position in this execution's journal, or the `places` of an earlier stream: what comes after it.
                Without places, what is under way below it at that position is given from its beginning.
            tree: off: the events of this execution alone.
        """
        return AgentStream(
            self.execution_id, self._session, self.join_async, after=after, tree=tree, agent=self.agent
        )

    def approve(
        self,
        approval_id: str | None = None,
        *,
        arguments: dict[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
    ) -> None:
        """Let a call run that waits for a person, here or in an execution below; or let pass what a guardrail did not.

        Args:
            approval_id: which, when several wait.
            arguments: run it with these arguments instead.
            by: who decides, for the record; the holder of the key by default.
            reason: for the record.

        Raises:
            ExecutionError: E0415 nothing waits; E0416 several do; E0408 it is decided; E0409 what would run is
                not what was looked at; E0402 the execution has ended.
            ToolError: E0305 *arguments* do not fit the tool.
        """
        self._session.call(self.approve_async(approval_id, arguments=arguments, by=by, reason=reason))

    def reject(self, reason: str = "", approval_id: str | None = None, *, by: str | None = None) -> None:
        """Refuse a call, or to answer; the agent is told *reason* and goes on. Raises as `approve`."""
        self._session.call(self.reject_async(reason, approval_id, by=by))

    def respond(
        self, answer: Any, approval_id: str | None = None, *, by: str | None = None, reason: str = ""
    ) -> None:
        """Answer what a person is asked, here or in an execution below.

        Args:
            answer: to a question what its schema asks for (`{"answer": "..."}` if nothing else was said), to a pick
                `{"agent": name}`, to a guardrail `{"content": ...}`, which takes the place of what it did not pass.
            approval_id: which, when several wait.
            by: who answers, for the record; the holder of the key by default.
            reason: for the record.

        Raises:
            ExecutionError: E0421 the answer does not fit the question; the others of `approve`.
        """
        self._session.call(self.respond_async(answer, approval_id, by=by, reason=reason))

    def pause(self, reason: str = "") -> None:
        """Begin no new step; what is in flight may end."""
        self._session.call(self.pause_async(reason))

    def resume(self) -> None:
        """Go on after a pause, or out of quarantine."""
        self._session.call(self.resume_async())

    def stop(self, reason: str = "") -> None:
        """Let the turn that it is in end, then end with what there is; agents below it are told the same."""
        self._session.call(self.stop_async(reason))

    def send(self, text: str, *, id: str | None = None, mode: MessageMode = "enqueue") -> None:  # noqa: A002
        """Say something to it while it runs: its model sees it in the next turn, behind the results of this one.

        Args:
            text: what is said.
            id: the same id again changes nothing; by default every call is a new message, sent once.
            mode: `interrupt` gives up the model call that is running, so that the next turn begins at once.

        Raises:
            ExecutionError: E0402 it has ended.
            ApiError: E0605 the text is empty.
        """
        self._session.call(self.send_async(text, id=id, mode=mode))

    def cancel(self, reason: str = "") -> None:
        """End the execution."""
        self._session.call(self.cancel_async(reason))


def _still_running(answer: ExecutionAnswer, timeout_s: float | None) -> ClientError:
    waits = "; ".join(_told(w) for w in answer.waits)
    return ClientError(
        "E0705",
        f"The execution did not end within {timeout_s:g} s; it goes on in the server",
        where=f"execution {answer.execution_id}",
        why=f"It is {answer.status}" + (f", with {waits}" if waits else ""),
        fix=f"Wait on with AgentHandle({answer.execution_id!r}).join(), from any process.",
        execution_id=answer.execution_id,
    )


def _told(wait: WaitInfo) -> str:
    if wait.kind == "child":
        return f"agent {wait.agent} ({wait.child_id}, {wait.child_status or 'not begun'})"
    return f"{wait.kind} {wait.tool or wait.step}"


def _lacks_worker(answer: ExecutionAnswer) -> bool:
    """Whether nobody serves a tool of it, or of an execution below it."""
    return Status.WAITING_WORKER in (answer.status, *(w.child_status for w in answer.waits))


def _nobody_serves(answer: ExecutionAnswer) -> ExecutionError:
    tools = sorted(
        {f"{w.agent or answer.agent}.{w.tool}" for w in answer.waits if w.kind == "worker" and w.tool}
    )
    return ExecutionError(
        "E0312",
        f"No worker serves {', '.join(tools) or 'a tool of this execution'}",
        where=f"execution {answer.execution_id}",
        fix="Run serve(agent) where its functions are; the execution waits for it.",
    )
