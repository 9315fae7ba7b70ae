"""One method per route of the server, with the wire's types in and out.

`ApiClient` is what the runtime and the command line use; a worker needs `WorkerCalls` alone. Every method
raises `PerdureError`: the server's own error, E0701 when no server answers for longer than the client's
patience, E0703 when something else answers.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

import msgspec

from perdure.client.calls import TRY_AGAIN, Backoff, Caller, error_of, path_of, unreachable
from perdure.client.following import Follower, GapError, StreamRecord
from perdure.client.history_calls import HistoryCalls
from perdure.client.sse import EventDecoder, ServerEvent
from perdure.client.transport import ConnectionLostError, Reply
from perdure.core.definition import AgentDefinition
from perdure.core.errors import ApiError, PerdureError
from perdure.wire.types import (
    AgentAnswer,
    AgentsAnswer,
    ApprovalAnswer,
    ApprovalsAnswer,
    ControlBody,
    DecisionBody,
    DeltaRecord,
    DeployBody,
    EventRecord,
    EventsAnswer,
    ExecutionAnswer,
    ExecutionsAnswer,
    HealthAnswer,
    HeartbeatAnswer,
    HeartbeatBody,
    MessageBody,
    PlanAnswer,
    PlanBody,
    PollAnswer,
    PollBody,
    StartAnswer,
    StartBody,
    WorkersAnswer,
)

SILENCE_S = 45.0  # a stream that sends not even a comment for so long is taken for dead

_EVENT = msgspec.json.Decoder(EventRecord)
_DELTA = msgspec.json.Decoder(DeltaRecord)


class AgentCalls(Caller):
    """Definitions and deployed agents."""

    async def plan(self, definition: AgentDefinition) -> PlanAnswer:
        """Compile without storing."""
        return await self.call("POST", path_of("agents", "plan"), PlanAnswer, PlanBody(definition))

    async def deploy(self, definition: AgentDefinition, *, patience_s: float | None = None) -> AgentAnswer:
        """Store, and make current under the agent's name."""
        body = DeployBody(definition)
        return await self.call("POST", path_of("agents"), AgentAnswer, body, patience_s=patience_s)

    async def agents(self) -> list[AgentAnswer]:
        """All deployed agents."""
        return (await self.call("GET", path_of("agents"), AgentsAnswer)).agents

    async def agent(self, name: str) -> AgentAnswer:
        """A deployed agent. E0412: none has this name."""
        return await self.call("GET", path_of("agents", name), AgentAnswer)


class ExecutionCalls(Caller):
    """Executions: start, look, wait, control."""

    async def start(self, body: StartBody) -> StartAnswer:
        """Start an execution, once: without an idempotency key the request is given one."""
        if body.idempotency_key is None:
            key = "sdk_" + self.clock.random_bytes(16).hex()
            body = msgspec.structs.replace(body, idempotency_key=key)
        return await self.call("POST", path_of("executions"), StartAnswer, body)

    async def execution(self, execution_id: str) -> ExecutionAnswer:
        """An execution as it is now."""
        return await self.call("GET", path_of("executions", execution_id), ExecutionAnswer)

    async def executions(
        self,
        *,
        status: Sequence[str] = (),
        agent: str | None = None,
        session_id: str | None = None,
        parent_id: str | None = None,
        roots: bool = False,
        before: str | None = None,
        limit: int = 50,
    ) -> ExecutionsAnswer:
        """Executions, newest first; give `next` as *before* for the page after.

        With *parent_id* only the children of that one, with *roots* only those that are nobody's child.
        """
        params = {
            "status": ",".join(status) or None,
            "agent": agent,
            "session_id": session_id,
            "parent_id": parent_id,
            "roots": "true" if roots else None,
            "before": before,
            "limit": limit,
        }
        return await self.call("GET", path_of("executions"), ExecutionsAnswer, params=params)

    async def events(self, execution_id: str, after: int = 0, limit: int = 500) -> EventsAnswer:
        """Up to *limit* events of the journal after position *after*."""
        path = path_of("executions", execution_id, "events")
        return await self.call("GET", path, EventsAnswer, params={"after": after, "limit": limit})

    async def wait(self, execution_id: str, timeout_ms: int) -> ExecutionAnswer:
        """The execution when it has ended, or as it is after *timeout_ms*. Waits through a server's restart."""
        return await self.call(
            "GET",
            path_of("executions", execution_id, "wait"),
            ExecutionAnswer,
            params={"timeout_ms": timeout_ms},
            timeout_s=timeout_ms / 1000 + 15,
            patience_s=self.reconnect_s,
        )

    async def control(
        self,
        execution_id: str,
        verb: Literal["cancel", "pause", "resume", "stop"],
        body: ControlBody | None = None,
    ) -> ExecutionAnswer:
        """Cancel, pause, resume or stop. E0402: it has ended; E0415: it is not paused."""

        async def already_done(error: PerdureError) -> ExecutionAnswer | None:
            return await self.execution(execution_id) if error.code in {"E0402", "E0415"} else None

        path = path_of("executions", execution_id, verb)
        return await self.call("POST", path, ExecutionAnswer, body or ControlBody(), after_loss=already_done)

    async def say(self, execution_id: str, body: MessageBody) -> ExecutionAnswer:
        """Say something to a running execution, once: without an id the message is given one. E0402: it has ended."""
        if body.id is None:
            body = msgspec.structs.replace(body, id="sdk_" + self.clock.random_bytes(16).hex())
        return await self.call("POST", path_of("executions", execution_id, "messages"), ExecutionAnswer, body)

    async def stream(self, execution_id: str, after: int = 0) -> AsyncGenerator[StreamRecord, None]:
        """Every event after position *after*, and the pieces of answers in flight; ends with the execution.

        Outlives lost connections and restarts of the server: it connects again with the last position it has
        seen. No event is missed or given twice; pieces that are sent again are not given again; after a crash
        in mid-answer the pieces of the new attempt (a higher `attempt`, from offset 0) follow.
        """
        path = path_of("executions", execution_id, "stream")
        backoff = Backoff(self.clock, self.reconnect_s)
        follower = Follower(after)
        while True:
            why = "the stream ended early"
            try:
                async with contextlib.aclosing(self._connect(path, follower.last)) as records:
                    async for record in records:
                        backoff.reset()
                        if record is None:
                            return
                        if (fresh := follower.take(record)) is not None:
                            yield fresh
                        if follower.ended:
                            return
            except GapError:
                why = "the stream skipped a position"
            except ConnectionLostError as error:
                why = error.why
            except PerdureError as error:
                if error.code not in TRY_AGAIN:
                    raise
                why = error.what
            if not await backoff.pause():
                raise unreachable(self.transport.address, why)

    async def _connect(self, path: str, last: int) -> AsyncGenerator[StreamRecord | None, None]:
        """The records of one connection; None when the server says that the execution has ended."""
        headers = self.stream_headers(last)
        target = f"{path}?after={last}"
        async with self.transport.stream("GET", target, headers, SILENCE_S) as reply:
            if reply.status >= 400:  # noqa: PLR2004 - the first error status of HTTP
                body = b"".join([chunk async for chunk in reply.chunks])
                raise error_of(Reply(reply.status, reply.headers, body), self.transport.address)
            decoder = EventDecoder()
            async for chunk in reply.chunks:
                for event in decoder.feed(chunk):
                    if event.name == "end":
                        yield None
                        return
                    yield _record(event, path)


class ApprovalCalls(Caller):
    """Approvals."""

    async def approvals(
        self, execution_id: str | None = None, *, pending: bool = True, tree: bool = False
    ) -> list[ApprovalAnswer]:
        """Approvals of one execution or of all; only undecided ones unless *pending* is false.

        With *tree* also those of all executions below it.
        """
        params = {
            "execution_id": execution_id,
            "pending": "true" if pending else "false",
            "tree": "true" if tree else None,
        }
        return (await self.call("GET", path_of("approvals"), ApprovalsAnswer, params=params)).approvals

    async def approval(self, approval_id: str) -> ApprovalAnswer:
        """One approval. E0407: none has this id."""
        return await self.call("GET", path_of("approvals", approval_id), ApprovalAnswer)

    async def decide(self, approval_id: str, body: DecisionBody) -> ApprovalAnswer:
        """Decide. E0408: it is decided already; E0409: what would run is not what was looked at."""

        async def ours(error: PerdureError) -> ApprovalAnswer | None:
            # The answer to our decision was lost and it is decided: by us, if it says what we said.
            if error.code != "E0408":
                return None
            found = await self.approval(approval_id)
            same = (found.decision, found.reason, found.decided_arguments, found.channel, found.answer)
            if same != (body.decision, body.reason, body.arguments, body.channel, body.answer):
                return None
            return found if body.by in {None, found.decided_by} else None

        path = path_of("approvals", approval_id, "decision")
        return await self.call("POST", path, ApprovalAnswer, body, after_loss=ours)


class WorkerCalls(Caller):
    """What a worker calls."""

    async def poll(self, body: PollBody, *, patience_s: float | None = None) -> PollAnswer:
        """Hand in results and ask for tasks, in one round trip."""
        return await self.call(
            "POST",
            path_of("worker", "poll"),
            PollAnswer,
            body,
            timeout_s=body.wait_ms / 1000 + 15,
            patience_s=patience_s,
        )

    async def heartbeat(self, body: HeartbeatBody, *, patience_s: float | None = None) -> HeartbeatAnswer:
        """Extend leases; says of each whether it is still held."""
        path = path_of("worker", "heartbeat")
        return await self.call("POST", path, HeartbeatAnswer, body, timeout_s=5.0, patience_s=patience_s)

    async def workers(self) -> WorkersAnswer:
        """The workers that the server has heard of."""
        return await self.call("GET", path_of("workers"), WorkersAnswer)


class ApiClient(AgentCalls, ExecutionCalls, HistoryCalls, ApprovalCalls, WorkerCalls):
    """Every route of the server."""

    async def health(self, *, timeout_s: float = 5.0, patience_s: float = 0.0) -> HealthAnswer:
        """Whether the server answers, and its versions; needs no key."""
        return await self.call("GET", "/health", HealthAnswer, timeout_s=timeout_s, patience_s=patience_s)


def _record(event: ServerEvent, path: str) -> StreamRecord:
    try:
        return _DELTA.decode(event.data) if event.name == "delta" else _EVENT.decode(event.data)
    except msgspec.MsgspecError as error:
        raise ApiError(
            "E0609", "The event stream has a record that cannot be read", where=path, why=str(error)
        ) from error
