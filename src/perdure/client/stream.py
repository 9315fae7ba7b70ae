"""What `stream()` gives: the events of an execution while it runs, for `for` and for `async for`."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing

from perdure.agents.agent import Agent
from perdure.agents.results import AgentEvent, AgentResult
from perdure.client.following import StreamRecord
from perdure.client.mapping import EventMapper
from perdure.client.partial import Partials
from perdure.client.session import Session
from perdure.client.tree import follow
from perdure.core.errors import ClientError
from perdure.wire.types import DeltaRecord, EventRecord

Places = int | Mapping[str, int]


class AgentStream:
    """The events of an execution and of those below it, live; the loop ends when the execution has ended.

    The stream connects again by itself over lost connections and over restarts of the server, without a gap
    and without giving an event twice. When the server died in mid-answer, a `retry` event follows and the
    `token`s of the new attempt begin anew. Leaving the loop early leaves the execution running; a new loop
    goes on after the last event that was given. A child's events come before the end of its parent.

    Where an agent has an output type, its `token`s also carry the answer as far as it can be read, `partial`. That
    needs the agent: the events and the status of an execution do not say what its output type is.

    Attributes:
        execution_id: of which execution.
        events: those given so far, tokens included, these without their `partial`.
        places: how far each execution's events were given, by its id; `stream(after=places)` goes on from there.
    """

    def __init__(
        self,
        execution_id: str,
        session: Session,
        join: Callable[[], Awaitable[AgentResult]],
        *,
        after: Places = 0,
        tree: bool = True,
        agent: Agent | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.events: list[AgentEvent] = []
        self._session = session
        self._join = join
        self._tree = tree
        self.places = {execution_id: after} if isinstance(after, int) else dict(after)
        self._mapper = EventMapper()
        self._partials = None if agent is None else Partials(agent)
        self._result: AgentResult | None = None

    async def __aiter__(self) -> AsyncIterator[AgentEvent]:
        if self._result is not None:
            return
        connection = await self._session.connection()
        records = follow(
            connection.api, self.execution_id, self.places, tree=self._tree, learn=self._mapper.take
        )
        async with aclosing(records):
            async for record in records:
                found = self._mapper.take(record)
                if isinstance(record, EventRecord):
                    self.places[record.execution_id] = record.seq
                self.events += found  # a long answer's partials, all kept, would be many times its size
                for event in found:
                    yield self._with_partial(record, event)
        result = await self._join()
        if self._tree:  # what was not given here is told of by `join` for this execution alone
            told = [event for event in self.events if event.seq]
            result = dataclasses.replace(result, events=told)
        self._result = result

    def __iter__(self) -> Iterator[AgentEvent]:
        events = aiter(self)
        try:
            while (event := self._session.call(_next(events))) is not None:
                yield event
        finally:
            self._session.call(events.aclose())  # type: ignore[attr-defined]

    def _with_partial(self, record: StreamRecord, event: AgentEvent) -> AgentEvent:
        if self._partials is None or not isinstance(record, DeltaRecord):
            return event
        partial = self._partials.take(record, event)
        return event if partial is None else dataclasses.replace(event, partial=partial)

    @property
    def result(self) -> AgentResult:
        """The result, once the loop has ended.

        Raises:
            ClientError: E0705 it has not; see `get_result`.
        """
        if self._result is None:
            raise ClientError(
                "E0705",
                "The stream has not been read to its end",
                where=self.execution_id,
                fix="Read it to its end first, or call get_result(), which does.",
            )
        return self._result

    def get_result(self) -> AgentResult:
        """Read what is left, then return the result."""
        return self._session.call(self.get_result_async())

    async def get_result_async(self) -> AgentResult:
        """The same from a running loop."""
        async for _ in self:
            pass
        return self.result


async def _next(events: AsyncIterator[AgentEvent]) -> AgentEvent | None:
    return await anext(events, None)
