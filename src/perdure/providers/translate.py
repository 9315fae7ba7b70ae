"""Our messages as the model library's, and back. Imports that library: loaded only when a vendor is called.

What only a provider understands (ids, signatures, thought signatures of tool calls) is kept in a part's `details`
and given back to the same provider. `details` has four keys: `provider` (whose it is; another provider is sent
the plain part), `id`, `data` (the provider's own fields) and, for reasoning, `signature` travels in its own field.

A translated message is kept beside the message itself (see `identity`): a conversation of a thousand messages is
translated once, not a thousand times.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    FilePart,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.tools import ToolDefinition

from perdure.core import messages as ours
from perdure.core.model import ToolSpec
from perdure.providers.identity import IdentityCache

# The library stamps its messages with the time of their making; ours have their time in the journal, and nothing
# of it goes to a provider.
_EPOCH = datetime.fromtimestamp(0, UTC)

_URLS: dict[str, type[ImageUrl | AudioUrl | VideoUrl]] = {
    "image": ImageUrl,
    "audio": AudioUrl,
    "video": VideoUrl,
}


class Translator:
    """Translates conversations and tools, remembering what it did."""

    def __init__(self) -> None:
        self._messages: IdentityCache[ours.Message, ModelMessage] = IdentityCache(to_library)
        self._tools: IdentityCache[ToolSpec, ToolDefinition] = IdentityCache(_tool, limit=2048)

    def messages(self, messages: Sequence[ours.Message]) -> list[ModelMessage]:
        """The conversation in the library's types."""
        return [self._messages.get(m) for m in messages]

    def tools(self, tools: Sequence[ToolSpec]) -> list[ToolDefinition]:
        """The tools in the library's types."""
        return [self._tools.get(t) for t in tools]


def _tool(spec: ToolSpec) -> ToolDefinition:
    return ToolDefinition(
        name=spec.name, description=spec.description or None, parameters_json_schema=spec.input_schema
    )


def to_library(message: ours.Message) -> ModelMessage:
    """One message in the library's types."""
    if message.role == "assistant":
        return _response(message)
    parts: list[Any] = []
    content: list[UserContent] = []
    for part in message.parts:
        if isinstance(part, ours.ToolResultPart):
            parts.append(_tool_return(part))
        elif isinstance(part, ours.TextPart):
            content.append(part.text)
        elif isinstance(part, ours.MediaPart):
            content.append(_media(part))
    if content:
        whole = content[0] if len(content) == 1 and isinstance(content[0], str) else content
        parts.append(UserPromptPart(whole, timestamp=_EPOCH))
    return ModelRequest(parts, timestamp=_EPOCH)


def _tool_return(part: ours.ToolResultPart) -> ToolReturnPart:
    return ToolReturnPart(
        part.tool,
        part.result,
        part.call_id,
        outcome="failed" if part.is_error else "success",
        timestamp=_EPOCH,
    )


def _media(part: ours.MediaPart) -> UserContent:
    if part.data is not None:
        return BinaryContent.from_data_uri(f"data:{part.media_type};base64,{part.data}")
    kind: type[ImageUrl | AudioUrl | VideoUrl | DocumentUrl]
    kind = _URLS.get(part.media_type.partition("/")[0], DocumentUrl)
    return kind(part.url or "", media_type=part.media_type)


def _response(message: ours.Message) -> ModelResponse:
    parts: list[Any] = []
    provider = None
    for part in message.parts:
        details = getattr(part, "details", None) or {}
        own: dict[str, Any] = {
            "id": details.get("id"),
            "provider_name": details.get("provider"),
            "provider_details": details.get("data"),
        }
        provider = provider or details.get("provider")
        if isinstance(part, ours.TextPart):
            parts.append(TextPart(part.text, **own))
        elif isinstance(part, ours.ReasoningPart):
            parts.append(ThinkingPart(part.text, signature=part.signature, **own))
        elif isinstance(part, ours.ToolCallPart):
            arguments = part.arguments if part.malformed is None else part.malformed
            parts.append(ToolCallPart(part.tool, arguments, part.call_id, **own))
        elif isinstance(part, ours.MediaPart) and part.data is not None:
            parts.append(FilePart(BinaryContent.from_data_uri(f"data:{part.media_type};base64,{part.data}")))
    return ModelResponse(parts, provider_name=provider, timestamp=_EPOCH)


def from_library(response: ModelResponse) -> ours.Message:
    """The model's answer as one of our messages."""
    return ours.Message("assistant", tuple(p for part in response.parts if (p := _part(part)) is not None))


def _part(part: Any) -> ours.Part | None:
    match part:
        case TextPart():
            return (
                ours.TextPart(part.content, _details(part)) if part.content or part.provider_details else None
            )
        case ThinkingPart():
            return ours.ReasoningPart(part.content, part.signature, _details(part, bool(part.signature)))
        case ToolCallPart():
            arguments, malformed = _arguments(part.args)
            return ours.ToolCallPart(part.tool_call_id, part.tool_name, arguments, malformed, _details(part))
        case FilePart():
            return ours.MediaPart(part.content.media_type, data=part.content.base64)
    return None  # what a provider did on its own side (its search, its code): not part of our conversation


def _details(part: TextPart | ThinkingPart | ToolCallPart, always: bool = False) -> dict[str, Any] | None:  # noqa: FBT001, FBT002
    if not (always or part.id or part.provider_details):
        return None
    details: dict[str, Any] = {"provider": part.provider_name}
    if part.id:
        details["id"] = part.id
    if part.provider_details:
        details["data"] = msgspec.to_builtins(part.provider_details)
    return details


def _arguments(args: str | dict[str, Any] | None) -> tuple[dict[str, Any] | None, str | None]:
    """The parsed arguments, or the text that could not be parsed into an object."""
    if isinstance(args, dict):
        return args, None
    if not args or not args.strip():  # a call without arguments, as some providers write it
        return {}, None
    try:
        value = msgspec.json.decode(args)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, args
    return (value, None) if isinstance(value, dict) else (None, args)
