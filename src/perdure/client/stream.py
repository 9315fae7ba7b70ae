"""What `stream()` gives: the events of an execution while it runs, for `for` and for `async for`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing

from perdure.agents.results import AgentEvent, AgentResult
from perdure.client.mapping import EventMapper
from perdure.client.session import Session
from perdure.core.errors import ClientError


class AgentStream:
    """The events of one execution, live; the loop ends when the execution has ended.

    The stream connects again by itself over lost connections and over restarts of the server, without a gap
    and without giving an event twice. When the server died in mid-answer, a `retry` event follows and the
    `token`s of the new attempt begin anew. Leaving the loop early leaves the execution running; a new loop
    goes on after the last event that was given.

    Attributes:
        execution_id: of which execution.
        events: those given so far, tokens included.
    """

    def __init__(
        self,
        execution_id: str,
        session: Session,
        join: Callable[[], Awaitable[AgentResult]],
        *,
        after: int = 0,
    ) -> None:
        self.execution_id = execution_id
        self.events: list[AgentEvent] = []
        self._session = session
        self._join = join
        self._after = after
        self._mapper = EventMapper()
        self._result: AgentResult | None = None

    async def __aiter__(self) -> AsyncIterator[AgentEvent]:
        if self._result is not None:
            return
        connection = await self._session.connection()
        async with aclosing(connection.api.stream(self.execution_id, self._after)) as records:
            async for record in records:
                found = self._mapper.take(record)
                self._after = getattr(record, "seq", self._after)
                self.events += found
                for event in found:
                    yield event
        self._result = await self._join()

    def __iter__(self) -> Iterator[AgentEvent]:
        events = aiter(self)
        try:
            while (event := self._session.call(_next(events))) is not None:
                yield event
        finally:
            self._session.call(events.aclose())  # type: ignore[attr-defined]

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
