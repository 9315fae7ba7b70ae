"""The built-in mock model: deterministic, without a library or a network, for demonstrations, tests and benchmarks.

    mock/echo      answers with the last text of the user
    mock/tools     calls each tool once, one after the other, then sums up the results
    mock/script    follows `model_settings["script"]` (see `mock_script`)
    mock/support   a support agent for the demonstration (see `mock_support`)

What it answers depends on the request alone. It is called thousands of times a second in benchmarks: it gives up
the event loop only when a delay is asked for, and copies nothing.
"""

import asyncio
from collections.abc import Callable
from difflib import get_close_matches

from perdure.core.errors import ModelError
from perdure.core.machines.prefill import CALL_ID
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from perdure.core.model import Delta, ModelReply, ModelRequest, Usage
from perdure.providers.identity import IdentityCache
from perdure.providers.mock_samples import sample
from perdure.providers.mock_script import (
    ScriptCall,
    ScriptEntry,
    as_text,
    entry_of,
    failure_of,
    latest_result,
    message_of,
)
from perdure.providers.mock_support import support_entry

OnDelta = Callable[[Delta], None]

_CHARS_PER_TOKEN = 4
_SPOKEN = (TextPart, ReasoningPart)


def check_mock(name: str) -> None:
    """Say whether there is a mock model of this name.

    Raises:
        ModelError: E0211 there is none.
    """
    if name in _ENTRIES:
        return
    near = get_close_matches(name, _ENTRIES, n=1)
    raise ModelError(
        "E0211",
        f"There is no mock model {name!r}",
        fix=(f"Did you mean mock/{near[0]}? " if near else "")
        + "There are: "
        + ", ".join(map("mock/{}".format, _ENTRIES)),
    )


async def complete_mock(request: ModelRequest, on_delta: OnDelta) -> ModelReply:
    """Answer as the model `mock/<request.model.name>`.

    Raises:
        ModelError: E0211 no such model, or a wrong script; E0208 the delays are longer than `timeout_ms`; and
            whatever the script says.
    """
    check_mock(request.model.name)
    # Calls that were made before the first turn are no answers of the model.
    turn = sum(
        m.role == "assistant" and not any(c.call_id.startswith(CALL_ID) for c in m.tool_calls)
        for m in request.messages[request.earlier :]
    )
    entry = _ENTRIES[request.model.name](request, turn)
    if not entry.delay_ms and not entry.chunk_delay_ms:
        return _reply(request, entry, turn, on_delta)
    limit = request.settings.timeout_ms
    try:
        async with asyncio.timeout(limit / 1000 if limit else None):
            return await _slow_reply(request, entry, turn, on_delta)
    except TimeoutError as exc:
        raise ModelError("E0208", f"The mock model did not answer in {limit} ms", retryable=True) from exc


def _reply(request: ModelRequest, entry: ScriptEntry, turn: int, on_delta: OnDelta) -> ModelReply:
    failure = failure_of(entry, request.attempt)
    if failure is not None:
        raise failure
    message = message_of(entry, turn, request.messages)
    for delta in _deltas(message, entry.chunks):
        on_delta(delta)
    return _finish(request, entry, message)


async def _slow_reply(request: ModelRequest, entry: ScriptEntry, turn: int, on_delta: OnDelta) -> ModelReply:
    await asyncio.sleep(entry.delay_ms / 1000)
    failure = failure_of(entry, request.attempt)
    if failure is not None:
        raise failure
    message = message_of(entry, turn, request.messages)
    for delta in _deltas(message, entry.chunks):
        on_delta(delta)
        await asyncio.sleep(entry.chunk_delay_ms / 1000)
    return _finish(request, entry, message)


def _deltas(message: Message, chunks: int) -> list[Delta]:
    """The pieces of the reasoning and of the text, about equally long."""
    deltas = []
    for part in message.parts:
        if isinstance(part, _SPOKEN) and part.text:
            kind = "text" if isinstance(part, TextPart) else "reasoning"
            size = -(-len(part.text) // chunks)
            deltas += [Delta(kind, part.text[at : at + size]) for at in range(0, len(part.text), size)]  # type: ignore[arg-type]
    return deltas


def _finish(request: ModelRequest, entry: ScriptEntry, message: Message) -> ModelReply:
    asked = sum(map(_SIZES.get, request.messages)) + len(request.instructions)
    usage = entry.usage or Usage(asked // _CHARS_PER_TOKEN + 1, _size(message) // _CHARS_PER_TOKEN + 1)
    finish = entry.finish_reason or ("tool_calls" if message.tool_calls else "stop")
    return ModelReply(message, usage, finish, request.model.name, f"mock_{request.step}_{request.attempt}")


def _size(message: Message) -> int:
    """About how many characters the message has."""
    total = 0
    for part in message.parts:
        if isinstance(part, _SPOKEN):
            total += len(part.text)
        elif isinstance(part, ToolCallPart):
            total += len(part.tool) + len(str(part.arguments))
        elif isinstance(part, ToolResultPart):
            total += len(as_text(part.result))
        else:
            total += len(part.data or part.url or "")
    return total


_SIZES: IdentityCache[Message, int] = IdentityCache(_size)


def _echo(request: ModelRequest, _turn: int) -> ScriptEntry:
    text = next((m.text for m in reversed(request.messages) if m.role == "user"), "")
    return ScriptEntry(text=text)


def _tools(request: ModelRequest, turn: int) -> ScriptEntry:
    if turn < len(request.tools):
        tool = request.tools[turn]
        return ScriptEntry(tool_calls=(ScriptCall(tool.name, sample(tool.input_schema)),))
    lines = [f"{t.name}: {_summary(latest_result(request.messages, t.name))}" for t in request.tools]
    return ScriptEntry(text="\n".join(lines) or "There are no tools.")


def _summary(result: ToolResultPart | None) -> str:
    if result is None:
        return "no result"
    return f"error: {as_text(result.result)}" if result.is_error else as_text(result.result)


_ENTRIES: dict[str, Callable[[ModelRequest, int], ScriptEntry]] = {
    "echo": _echo,
    "tools": _tools,
    "script": lambda request, turn: entry_of(request.settings.extra, turn),
    "support": lambda request, _turn: support_entry(request.messages, request.tools),
}
