"""Masked fields: what the server's readers are not shown. The one place where executions, events and approvals leave.

`MaskedExecutions` stands between the routes and the engine. In everything that is read through it the value of each
field with a masked name is `"[masked]"`: in arguments, results, contexts, states and outputs, at any depth, and in a
text that is JSON as a whole; a text with JSON among its words is masked as a whole. Pieces of an answer in flight are not sent, because a name can be cut in two; the whole
answer follows as an event. The journal, the model and the workers have the values.

Words in plain text are not masked: the name of a field is all that is known. A masked name in any agent holds for all
agents below it.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from perdure.core.events import MessageMode, Recorded
from perdure.core.messages import Message, TextPart, ToolCallPart
from perdure.engine.ports import (
    ApprovalRow,
    Decision,
    ExecutionFilter,
    Executions,
    ExecutionView,
    Started,
    StartRequest,
    StreamDelta,
    StreamItem,
)

MASK = "[masked]"
_KNOWN = 10_000
S = TypeVar("S", bound=msgspec.Struct)


def masked(value: Any, names: frozenset[str]) -> Any:
    """A JSON value without the values of these fields."""
    match value:
        case dict():
            return {key: MASK if key in names else masked(item, names) for key, item in value.items()}
        case list() | tuple():
            return type(value)(masked(item, names) for item in value)
        case str():
            return _text(value, names)
        case ToolCallPart() if value.malformed is not None:
            return msgspec.structs.replace(value, malformed=MASK)  # nothing says where in it a field is
        case msgspec.Struct():
            return _struct(value, names)
    return value


def _struct(value: S, names: frozenset[str]) -> S:
    """The fields of a record stand; what is in them is masked."""
    changed = {}
    for name in value.__struct_fields__:
        before = getattr(value, name)
        is_free = isinstance(before, dict | list | tuple | msgspec.Struct) or name in _FREE_TEXTS
        if is_free or (isinstance(value, TextPart) and name == "text"):
            after = masked(before, names)
            if after != before:
                changed[name] = after
    return msgspec.structs.replace(value, **changed) if changed else value


# Fields of records whose value may be a text that is JSON as a whole; all other texts are names, ids and reasons.
_FREE_TEXTS = frozenset({"output", "result", "value", "content", "partial", "answer", "title", "note"})


def _text(text: str, names: frozenset[str]) -> str:
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass  # looked at as a text
        else:
            changed = masked(value, names)
            return text if changed == value else msgspec.json.encode(changed).decode()
    # JSON among words: nothing says where the value ends, so that the whole text is masked.
    has_field = any(re.search(rf'"{re.escape(name)}"\s*:', text) for name in names)
    return MASK if has_field else text


def restored(given: Any, original: Any) -> Any:
    """What a person gave back, with the masks that were left in it replaced by what they stand for."""
    if given == MASK and original is not None:
        return original
    if isinstance(given, dict) and isinstance(original, dict):
        return {key: restored(item, original.get(key)) for key, item in given.items()}
    if isinstance(given, list) and isinstance(original, list) and len(given) == len(original):
        return [restored(item, before) for item, before in zip(given, original, strict=True)]
    return given


class MaskedExecutions:
    """`Executions` as the server's readers may see them."""

    def __init__(self, inner: Executions) -> None:
        self._inner = inner
        self._names: dict[str, frozenset[str]] = {}

    async def _of(self, execution_id: str) -> frozenset[str]:
        known = self._names.get(execution_id)
        if known is None:
            known = frozenset(await self._inner.masked_fields(execution_id))
            if len(self._names) >= _KNOWN:
                self._names.pop(next(iter(self._names)))
            self._names[execution_id] = known
        return known

    async def _masked(self, execution_id: str, value: S) -> S:
        names = await self._of(execution_id)
        return _struct(value, names) if names else value

    async def masked_fields(self, execution_id: str) -> tuple[str, ...]:
        """See `ports.Executions.masked_fields`."""
        return await self._inner.masked_fields(execution_id)

    async def start(self, request: StartRequest) -> Started:
        """See `ports.Executions.start`."""
        return await self._inner.start(request)

    async def get(self, execution_id: str) -> ExecutionView:
        """See `ports.Executions.get`."""
        return await self._masked(execution_id, await self._inner.get(execution_id))

    async def find(self, where: ExecutionFilter) -> list[ExecutionView]:
        """See `ports.Executions.find`."""
        return [await self._masked(v.execution_id, v) for v in await self._inner.find(where)]

    async def events(self, execution_id: str, after: int, limit: int) -> list[Recorded]:
        """See `ports.Executions.events`."""
        found = await self._inner.events(execution_id, after, limit)
        return [await self._masked(execution_id, record) for record in found]

    async def stream(self, execution_id: str, after: int) -> AsyncIterator[StreamItem]:
        """See `ports.Executions.stream`; without pieces of answers where something is masked."""
        names = await self._of(execution_id)
        items = self._inner.stream(execution_id, after)
        try:
            async for item in items:
                if not names:
                    yield item
                elif not isinstance(item, StreamDelta):
                    yield _struct(item, names)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def wait(self, execution_id: str, timeout_ms: int) -> ExecutionView:
        """See `ports.Executions.wait`."""
        return await self._masked(execution_id, await self._inner.wait(execution_id, timeout_ms))

    async def cancel(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.cancel`."""
        return await self._masked(execution_id, await self._inner.cancel(execution_id, by, reason))

    async def pause(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.pause`."""
        return await self._masked(execution_id, await self._inner.pause(execution_id, by, reason))

    async def resume(self, execution_id: str, by: str) -> ExecutionView:
        """See `ports.Executions.resume`."""
        return await self._masked(execution_id, await self._inner.resume(execution_id, by))

    async def stop(self, execution_id: str, by: str, reason: str) -> ExecutionView:
        """See `ports.Executions.stop`."""
        return await self._masked(execution_id, await self._inner.stop(execution_id, by, reason))

    async def say(
        self, execution_id: str, message_id: str, message: Message, by: str, mode: MessageMode
    ) -> ExecutionView:
        """See `ports.Executions.say`."""
        said = await self._inner.say(execution_id, message_id, message, by, mode)
        return await self._masked(execution_id, said)

    async def decide(self, approval_id: str, decision: Decision) -> ApprovalRow:
        """See `ports.Executions.decide`; a mask in edited arguments means what it stands for."""
        if decision.arguments is not None:
            row = await self._inner.approval(approval_id)
            if await self._of(row.execution_id):
                arguments = restored(decision.arguments, row.arguments)
                decision = msgspec.structs.replace(decision, arguments=arguments)
        decided = await self._inner.decide(approval_id, decision)
        return await self._masked(decided.execution_id, decided)

    async def approvals(
        self, execution_id: str | None, *, pending: bool, tree: bool = False
    ) -> list[ApprovalRow]:
        """See `ports.Executions.approvals`."""
        found = await self._inner.approvals(execution_id, pending=pending, tree=tree)
        return [await self._masked(row.execution_id, row) for row in found]

    async def approval(self, approval_id: str) -> ApprovalRow:
        """See `ports.Executions.approval`."""
        row = await self._inner.approval(approval_id)
        return await self._masked(row.execution_id, row)
