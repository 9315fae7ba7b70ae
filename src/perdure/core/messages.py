"""Messages: our own JSON shape of a conversation, the same for every provider.

A provider adapter translates to and from these types and never stores its own. `details` keeps what only
that provider understands (a reasoning signature, an item id), so that a conversation goes back to it whole.
"""

from typing import Any, Literal

import msgspec

Role = Literal["user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="kind", omit_defaults=True):
    """Plain text."""

    text: str
    details: dict[str, Any] | None = None


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning", tag_field="kind", omit_defaults=True):
    """What a reasoning model thought, kept so that it can be sent back with its signature."""

    text: str
    signature: str | None = None
    details: dict[str, Any] | None = None


class MediaPart(msgspec.Struct, frozen=True, tag="media", tag_field="kind", omit_defaults=True):
    """An image, a sound or a document: either a `url` or base64 `data`."""

    media_type: str
    url: str | None = None
    data: str | None = None


class ToolCallPart(msgspec.Struct, frozen=True, tag="tool_call", tag_field="kind", omit_defaults=True):
    """The model asks for a tool.

    `arguments` is the parsed JSON object. When the model wrote something else, `arguments` is None and
    `malformed` has its text; the call is then refused with an error that the model sees.
    """

    call_id: str
    tool: str
    arguments: dict[str, Any] | None = None
    malformed: str | None = None
    details: dict[str, Any] | None = None


class ToolResultPart(msgspec.Struct, frozen=True, tag="tool_result", tag_field="kind", omit_defaults=True):
    """What a tool gave back: any JSON value, or an error that the model may react to."""

    call_id: str
    tool: str
    result: Any
    is_error: bool = False


Part = TextPart | ReasoningPart | MediaPart | ToolCallPart | ToolResultPart


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. `role` is user, assistant or tool; the instructions travel beside the messages."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(p.text for p in self.parts if isinstance(p, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls, in the order in which the model wrote them."""
        return tuple(p for p in self.parts if isinstance(p, ToolCallPart))


def user(text: str) -> Message:
    """A user message of one text."""
    return Message("user", (TextPart(text),))
