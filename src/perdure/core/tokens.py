"""How many tokens a text or a message has, as far as it can be told before a model counts them.

Whoever needs a count takes a `Tokens` as an argument. The default goes by the number of bytes; a real tokenizer is no
part of the core (see `perdure.providers.tokenizers`).
"""

import math
from typing import Any, Protocol

import msgspec

from perdure.core.messages import MediaPart, Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

_BYTES_A_TOKEN = 3.5
_TOKENS_A_MESSAGE = 4  # roles and separators, as the vendors' own formats have them
_TOKENS_A_MEDIUM = 1_600  # an image of full size
_BYTES_A_MEDIA_TOKEN = 200  # of sounds and documents, in base64


class Tokens(Protocol):
    """Counts the tokens of any text, lone surrogates included; never negative, never raises."""

    def __call__(self, text: str, /) -> int:
        """The number of tokens of *text*."""


def heuristic_tokens(text: str, /) -> int:
    """An estimate of the tokens of *text*, from its bytes: rather too many than too few for most languages."""
    return math.ceil(len(text.encode(errors="replace")) / _BYTES_A_TOKEN)


def message_tokens(message: Message, tokens: Tokens = heuristic_tokens) -> int:
    """An estimate of the input tokens of one message."""
    return _TOKENS_A_MESSAGE + sum(_part_tokens(part, tokens) for part in message.parts)


def _part_tokens(part: Any, tokens: Tokens) -> int:
    match part:
        case TextPart(text) | ReasoningPart(text):
            return tokens(text)
        case MediaPart(media_type, _, data):
            image = media_type.startswith("image/")
            return (
                _TOKENS_A_MEDIUM if image else max(_TOKENS_A_MEDIUM, len(data or "") // _BYTES_A_MEDIA_TOKEN)
            )
        case ToolCallPart(_, tool, arguments, malformed):
            return tokens(tool) + tokens(malformed or json_text(arguments)) + _TOKENS_A_MESSAGE
        case ToolResultPart(_, _, result):
            return tokens(json_text(result)) + _TOKENS_A_MESSAGE
    raise TypeError(f"{type(part).__name__} is no part of a message")


def json_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
