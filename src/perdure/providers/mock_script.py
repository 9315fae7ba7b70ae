"""Scripts of the mock model: what it says at each turn, as data.

`model_settings={"script": [...]}` with the model `mock/script`. Entry *n* answers the request that holds *n*
messages of the assistant already, so a script means the same after a crash, on a retry and in a test: nothing is
counted outside of the conversation. One entry:

    {"text": "..."}                                     an answer
    {"json": {...}}                                     an answer that is the JSON text of a value
    {"tool_calls": [{"tool": "t", "arguments": {}}]}    calls, all in one turn; "call_id" is optional

and beside these "reasoning", "finish_reason", "usage" (fields of `Usage`), "delay_ms" before the answer, "chunks"
(in how many pieces the text streams) with "chunk_delay_ms" after each, and "fail": {"code": "E0206", "times": 2,
"retry_after_ms": 100}, which fails the first *times* attempts at that turn.

`{result:TOOL}` in a text stands for the latest result of that tool, `{result:TOOL.field.0.sub}` for a part of it.
An argument that is nothing but such a reference becomes the value itself, with its type.
"""

import re
from typing import Any, Literal

import msgspec

from perdure.core.errors import ModelError
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from perdure.core.model import FinishReason, Usage
from perdure.providers.identity import IdentityCache

_REFERENCE = re.compile(r"\{result:([^{}]+)\}")
_FIX = "See `mock/script` in docs/models.md for what an entry may hold."

FailCode = Literal["E0204", "E0205", "E0206", "E0207", "E0208", "E0209", "E0210"]
RETRYABLE = frozenset({"E0206", "E0207", "E0208", "E0209"})


class ScriptCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool; without `call_id` it gets one made of its turn and its place."""

    tool: str
    arguments: dict[str, Any] = {}
    call_id: str | None = None


class ScriptFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attempts 1 to `times` of the turn fail with this code."""

    code: FailCode
    times: int = 1
    retry_after_ms: int | None = None


class ScriptEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the mock model does at one turn."""

    text: str | None = None
    tool_calls: tuple[ScriptCall, ...] = ()
    json: Any = msgspec.UNSET
    reasoning: str | None = None
    finish_reason: FinishReason | None = None
    delay_ms: int = 0
    chunks: int = 1
    chunk_delay_ms: int = 0
    usage: Usage | None = None
    fail: ScriptFailure | None = None


def _parse(script: list[Any]) -> tuple[ScriptEntry, ...]:
    entries = []
    for index, raw in enumerate(script):
        try:
            entry = msgspec.convert(raw, ScriptEntry)
        except msgspec.ValidationError as exc:
            raise _bad(index, str(exc)) from exc
        if min(entry.delay_ms, entry.chunk_delay_ms) < 0 or entry.chunks < 1:
            raise _bad(index, "delays must not be negative, and chunks must be at least 1")
        if entry.text is None and not entry.tool_calls and entry.json is msgspec.UNSET and entry.fail is None:
            raise _bad(index, "it has none of text, json, tool_calls and fail")
        if entry.text is not None and entry.json is not msgspec.UNSET:
            raise _bad(index, "it has both text and json")
        entries.append(entry)
    return tuple(entries)


# A script is part of a plan: the same list object comes back at every turn of every execution of that plan.
_PARSED: IdentityCache[list[Any], tuple[ScriptEntry, ...]] = IdentityCache(_parse, limit=512)


def entry_of(extra: dict[str, Any], turn: int) -> ScriptEntry:
    """The entry of the script in *extra* for *turn*, counted from 0.

    Raises:
        ModelError: E0211 there is no script, it is wrong, or it ran out.
    """
    script = extra.get("script")
    if not isinstance(script, list) or not script:
        raise ModelError(
            "E0211",
            "The model mock/script has no script",
            fix='Give it one: model_settings={"script": [{"text": "Hello"}]}.',
        )
    entries = _PARSED.get(script)
    if turn < len(entries):
        return entries[turn]
    if extra.get("repeat_last"):
        return entries[-1]
    raise ModelError(
        "E0211",
        f"The mock model's script has {len(entries)} entries and was asked for one more",
        why=f"The conversation has {turn} messages of the assistant already.",
        fix='Add an entry, or set "repeat_last": true in the model settings.',
    )


def failure_of(entry: ScriptEntry, attempt: int) -> ModelError | None:
    """The error that this attempt (counted from 1) ends in, if any."""
    fail = entry.fail
    if fail is None or attempt > fail.times:
        return None
    return ModelError(
        fail.code,
        f"The mock model fails attempt {attempt} of this turn, as its script says",
        retryable=fail.code in RETRYABLE,
        retry_after_ms=fail.retry_after_ms,
    )


def message_of(entry: ScriptEntry, turn: int, messages: list[Message]) -> Message:
    """The message that the entry stands for, its references resolved against *messages*.

    Raises:
        ModelError: E0211 a reference points to nothing.
    """
    parts: list[Any] = []
    if entry.reasoning is not None:
        parts.append(ReasoningPart(entry.reasoning))
    if entry.text is not None:
        parts.append(TextPart(_fill(entry.text, turn, messages)))
    elif entry.json is not msgspec.UNSET:
        parts.append(TextPart(msgspec.json.encode(_fill_value(entry.json, turn, messages)).decode()))
    parts += [
        ToolCallPart(
            call.call_id or f"call_{turn}_{place}", call.tool, _fill_value(call.arguments, turn, messages)
        )
        for place, call in enumerate(entry.tool_calls)
    ]
    return Message("assistant", tuple(parts))


def _fill(text: str, turn: int, messages: list[Message]) -> str:
    if "{result:" not in text:
        return text
    return _REFERENCE.sub(lambda m: as_text(_lookup(m[1], turn, messages)), text)


def _fill_value(value: Any, turn: int, messages: list[Message]) -> Any:
    """The JSON value with its references resolved; one without any is returned as it is, not copied."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value) if value.startswith("{result:") else None
        return _lookup(whole[1], turn, messages) if whole else _fill(value, turn, messages)
    if isinstance(value, dict) and value:
        return {k: _fill_value(v, turn, messages) for k, v in value.items()}
    if isinstance(value, list) and value:
        return [_fill_value(v, turn, messages) for v in value]
    return value


def as_text(value: Any) -> str:
    """A JSON value as people read it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _lookup(path: str, turn: int, messages: list[Message]) -> Any:
    tool, *keys = path.split(".")
    found = latest_result(messages, tool)
    if found is None:
        raise _bad(turn, f"{{result:{path}}} refers to a tool that gave no result")
    value = found.result
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise _bad(turn, f"{{result:{path}}} refers to {key!r}, which the result does not have")
    return value


def latest_result(messages: list[Message], tool: str) -> ToolResultPart | None:
    """The last result of the tool in the conversation."""
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, ToolResultPart) and part.tool == tool:
                return part
    return None


def _bad(index: int, why: str) -> ModelError:
    return ModelError(
        "E0211",
        f"Entry {index} of the mock model's script is wrong",
        why=f"{why[0].upper()}{why[1:]}.",
        fix=_FIX,
    )
