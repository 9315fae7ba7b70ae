"""Our messages as the model library's and back; what a wait header means; replies in tool mode that are odd."""

import pytest
from pydantic_ai.messages import ModelResponse, NativeToolCallPart
from pydantic_ai.messages import TextPart as LibraryText
from pydantic_ai.messages import ThinkingPart as LibraryThinking
from pydantic_ai.messages import ToolCallPart as LibraryCall

from perdure.core.messages import MediaPart, Message, ReasoningPart, TextPart, ToolCallPart
from perdure.core.model import ModelReply, Usage
from perdure.providers.identity import IdentityCache
from perdure.providers.retry_after import retry_after_ms
from perdure.providers.tool_mode import read_json_reply
from perdure.providers.translate import from_library, to_library


def test_an_answer_survives_the_way_there_and_back() -> None:
    """Text, reasoning with its signature, calls with ids and the provider's own data come back unchanged."""
    own = {"provider": "google", "id": "i-1", "data": {"thought_signature": "c2ln", "n": [1, {"a": None}]}}
    message = Message(
        "assistant",
        (
            ReasoningPart("hm", "sig", {"provider": "anthropic"}),
            ReasoningPart("plain"),
            TextPart("hello", own),
            TextPart("there"),
            ToolCallPart("c-1", "t", {"a": [1, {"b": "ü"}]}, details=own),
            ToolCallPart("c-2", "t", malformed='{"a": '),
            ToolCallPart("c-3", "t", malformed="[1]"),
            ToolCallPart("c-4", "t", {}),
            MediaPart("image/png", data="cGljdHVyZQ=="),
        ),
    )
    library = to_library(message)
    assert isinstance(library, ModelResponse)
    assert from_library(library) == message
    assert library.provider_name == "anthropic"


def test_what_a_provider_did_on_its_own_side_is_left_out() -> None:
    """Calls that the provider ran itself are no calls for us; empty texts are dropped; no arguments are {}."""
    parts = [
        NativeToolCallPart("search", {"q": "x"}, "n-1"),
        LibraryText(""),
        LibraryThinking("t", id="reasoning_content", provider_name="deepseek"),
        LibraryCall("t", "", "c-1"),
        LibraryCall("t", None, "c-2"),
        LibraryCall("t", '{"a":1}', "c-3"),
    ]
    assert from_library(ModelResponse(parts)).parts == (
        ReasoningPart("t", None, {"provider": "deepseek", "id": "reasoning_content"}),
        ToolCallPart("c-1", "t", {}),
        ToolCallPart("c-2", "t", {}),
        ToolCallPart("c-3", "t", {"a": 1}),
    )


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": "0.5"}, 500),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, 20_000),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0),
        ({"retry-after-ms": "12.6", "retry-after": "9"}, 12),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_waits(headers: dict[str, str], wait: int | None) -> None:
    """Seconds, milliseconds and dates are understood; nonsense is no wait."""
    assert retry_after_ms(headers, 10_000) == wait


def _read(text: str, *, structured: bool = False) -> ModelReply:
    reply = ModelReply(Message("assistant", (ReasoningPart("hm"), TextPart(text))), Usage(), "stop")
    return read_json_reply(reply, 3, structured=structured)


def test_odd_replies_in_tool_mode() -> None:
    """Fences are taken off, wrong arguments are kept as malformed, anything else stays the text that it is."""
    assert _read('```json\n{"tool": "t", "arguments": {"a": 1}}\n```').message.parts == (
        ReasoningPart("hm"),
        ToolCallPart("call_3_0", "t", {"a": 1}),
    )
    assert _read('{"tool": "t", "arguments": "x"}').message.tool_calls[0].malformed == '"x"'
    assert _read('{"answer": {"a": 1}}').message.text == '{"a":1}'
    assert _read('{"answer": "x"}', structured=True).message.text == '"x"'
    for text in ("Hello", "[1]", '{"else": 1}', '{"tool": '):
        assert _read(text).message.text == text
        assert _read(text).finish_reason == "stop"


def test_the_identity_cache_keeps_to_its_limit() -> None:
    """Values are made once for each object; the oldest goes first."""
    made: list[str] = []
    cache: IdentityCache[list[str], int] = IdentityCache(
        lambda key: made.append(key[0]) or len(made), limit=2
    )
    a, b, c = ["a"], ["b"], ["c"]
    assert [cache.get(a), cache.get(b), cache.get(a), cache.get(c), cache.get(b)] == [1, 2, 1, 3, 2]
    assert len(cache) == 2
    assert cache.get(a) == 4
