"""How each provider writes its answers and reads its requests: the wire formats, written down by hand.

A `Dialect` makes the bytes of a streamed answer from what it shall say, the bytes of an error, and reads from a
request what the contract asserts: instructions, tools, calls and results. None of it uses the code under test.
"""

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.contract.providers.provider_fake_http import Answer, Received


@dataclass
class Say:
    """What the fake model says. `calls` are (id, tool, arguments as the text of JSON)."""

    text: tuple[str, ...] = ()
    reasoning: str = ""
    signature: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    length: bool = False


@dataclass
class Seen:
    """What the fake server was asked. `results` are (id or tool name, text); `errors` those marked as such."""

    model: str = ""
    instructions: str = ""
    texts: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    schema: Any = None
    signatures: list[str] = field(default_factory=list)


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _sse(events: list[Any], *, named: bool = False, done: bool = False) -> list[bytes]:
    lines = []
    for event in events:
        head = f"event: {event['type']}\n".encode() if named else b""
        lines.append(head + b"data: " + _dump(event) + b"\n\n")
    return [*lines, b"data: [DONE]\n\n"] if done else lines


class Chat:
    """OpenAI's chat completions, and those who speak it: usage of 11 tokens in (4 cached), 7 out (3 reasoning)."""

    reasoning_field = "reasoning_content"
    named_deltas = False
    usage: ClassVar[dict[str, Any]] = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    expected_usage = (11, 7, 3, 4, 0)

    def events(self, say: Say) -> list[Any]:
        def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return {
                "id": "r1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m-1",
                "choices": [choice],
            }

        events = [chunk({"role": "assistant", "content": ""})]
        if say.reasoning:
            events.append(chunk({self.reasoning_field: say.reasoning}))
        events += [chunk({"content": text}) for text in say.text]
        for index, (call_id, tool, arguments) in enumerate(say.calls):
            half = len(arguments) // 2
            pieces = (arguments,) if self.named_deltas else (arguments[:half], arguments[half:])
            for place, piece in enumerate(pieces):
                call: dict[str, Any] = {"index": index, "function": {"arguments": piece}}
                if place == 0:
                    call |= {"id": call_id, "type": "function"}
                    call["function"]["name"] = tool
                events.append(chunk({"tool_calls": [call]}))
        events.append(chunk({}, "tool_calls" if say.calls else "length" if say.length else "stop"))
        return self.with_usage(events)

    def with_usage(self, events: list[Any]) -> list[Any]:
        last = {**events[-1], "choices": [], "usage": self.usage}
        return [*events, last]

    def stream(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say), done=True), content_type="text/event-stream")

    def without_end(self, say: Say) -> Answer:
        """The same without the finish reason: the connection ends well, the answer does not."""
        events = [e for e in self.events(say) if e["choices"] and e["choices"][0]["finish_reason"] is None]
        return Answer(_sse(events), content_type="text/event-stream")

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        body = {"error": {"message": message, "type": "some_error", "param": None, "code": code}}
        return Answer([_dump(body)], status=status)

    def read(self, request: Received) -> Seen:
        body = request.json
        seen = Seen(body["model"], tools=[t["function"]["name"] for t in body.get("tools") or []])
        seen.schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
        for message in body["messages"]:
            content = message.get("content")
            if message["role"] in ("system", "developer"):
                seen.instructions += content
            elif message["role"] == "tool":
                seen.results.append((message["tool_call_id"], _text(content)))
            else:
                if content:
                    seen.texts.append(_text(content))
                if message.get(self.reasoning_field):
                    seen.signatures.append(message[self.reasoning_field])
                for call in message.get("tool_calls") or []:
                    function = call["function"]
                    arguments = function["arguments"]
                    value = json.loads(arguments) if isinstance(arguments, str) else arguments
                    seen.calls.append((call["id"], function["name"], value))
        return seen


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


class Groq(Chat):
    """Groq: usage under `x_groq` of the last piece; no detail of tokens."""

    expected_usage = (11, 7, 0, 0, 0)
    reasoning_field = "reasoning"

    def with_usage(self, events: list[Any]) -> list[Any]:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return [*events[:-1], {**events[-1], "x_groq": {"id": "req", "usage": usage}}]


class Xai(Chat):
    """xAI: tokens of reasoning are counted beside those of the answer, not among them."""

    expected_usage = (11, 10, 3, 4, 0)


class MistralChat(Chat):
    """Mistral: a call comes in one piece, usage with the last piece."""

    named_deltas = True
    expected_usage = (11, 7, 0, 0, 0)

    def with_usage(self, events: list[Any]) -> list[Any]:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return [*events[:-1], {**events[-1], "usage": usage}]

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        return Answer(
            [_dump({"object": "error", "message": message, "type": "x", "code": code})], status=status
        )


class Anthropic:
    """Anthropic's messages: 10 tokens in, 4 from the cache, 2 into it, 7 out."""

    expected_usage = (16, 7, 0, 4, 2)

    def events(self, say: Say) -> list[Any]:
        usage = {
            "input_tokens": 10,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
        }
        message = {
            "id": "r1",
            "type": "message",
            "role": "assistant",
            "model": "m-1",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if say.reasoning:
            deltas = [{"type": "thinking_delta", "thinking": say.reasoning}]
            deltas.append({"type": "signature_delta", "signature": say.signature})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if say.text:
            blocks.append(
                ({"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in say.text])
            )
        for call_id, tool, arguments in say.calls:
            half = len(arguments) // 2
            deltas = [
                {"type": "input_json_delta", "partial_json": p} for p in (arguments[:half], arguments[half:])
            ]
            blocks.append(({"type": "tool_use", "id": call_id, "name": tool, "input": {}}, deltas))
        events: list[Any] = [{"type": "message_start", "message": message}, {"type": "ping"}]
        for index, (start, deltas) in enumerate(blocks):
            events.append({"type": "content_block_start", "index": index, "content_block": start})
            events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
            events.append({"type": "content_block_stop", "index": index})
        reason = "tool_use" if say.calls else "max_tokens" if say.length else "end_turn"
        delta = {"stop_reason": reason, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}})
        return [*events, {"type": "message_stop"}]

    def stream(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say), named=True), content_type="text/event-stream")

    def without_end(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say)[:-2], named=True), content_type="text/event-stream")

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        kind = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        error = {"type": kind.get(status, "invalid_request_error"), "message": message}
        return Answer([_dump({"type": "error", "error": error})], status=status)

    def read(self, request: Received) -> Seen:
        body = request.json
        seen = Seen(body["model"], tools=[t["name"] for t in body.get("tools") or []])
        seen.instructions = _text(body.get("system") or "")
        seen.schema = (body.get("output_config") or {}).get("format", {}).get("schema")
        for message in body["messages"]:
            parts = message["content"]
            for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
                match part["type"]:
                    case "text":
                        seen.texts.append(part["text"])
                    case "tool_use":
                        seen.calls.append((part["id"], part["name"], part["input"]))
                    case "tool_result":
                        seen.results.append((part["tool_use_id"], _text(part["content"])))
                    case "thinking":
                        seen.signatures.append(part["signature"])
        return seen


class Google:
    """Google's generateContent: 11 tokens in (4 cached), 4 out and 3 of thought."""

    expected_usage = (11, 7, 3, 4, 0)

    def events(self, say: Say) -> list[Any]:
        parts: list[dict[str, Any]] = []
        if say.reasoning:
            parts.append({"text": say.reasoning, "thought": True})
        parts += [{"text": text} for text in say.text]
        for call_id, tool, arguments in say.calls:
            call: dict[str, Any] = {
                "functionCall": {"id": call_id, "name": tool, "args": json.loads(arguments)}
            }
            if say.signature:
                call["thoughtSignature"] = base64.b64encode(say.signature.encode()).decode()
            parts.append(call)
        usage = {
            "promptTokenCount": 11,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 18,
        }
        events: list[Any] = [
            {
                "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
                "modelVersion": "m-1",
                "responseId": "r1",
            }
            for part in parts
        ]
        events[-1]["candidates"][0]["finishReason"] = "MAX_TOKENS" if say.length else "STOP"
        events[-1]["usageMetadata"] = usage
        return events

    def stream(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say)), content_type="text/event-stream")

    def without_end(self, say: Say) -> Answer:
        events = self.events(say)
        del events[-1]["candidates"][0]["finishReason"]
        return Answer(_sse(events), content_type="text/event-stream")

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        names = {
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
            500: "INTERNAL",
        }
        error = {"code": status, "message": message, "status": names.get(status, "INVALID_ARGUMENT")}
        return Answer([_dump({"error": error})], status=status)

    def read(self, request: Received) -> Seen:
        body = request.json
        seen = Seen(request.path.rpartition("/models/")[2].partition(":")[0])
        seen.tools = [d["name"] for t in body.get("tools") or [] for d in t["functionDeclarations"]]
        seen.instructions = _text((body.get("systemInstruction") or {"parts": []})["parts"])
        config = body.get("generationConfig") or {}
        seen.schema = config.get("responseJsonSchema")
        for part in (p for content in body["contents"] for p in content["parts"]):
            if "text" in part:
                seen.texts.append(part["text"])
            elif "functionCall" in part:
                call = part["functionCall"]
                seen.calls.append((call.get("id"), call["name"], call["args"]))
                if "thoughtSignature" in part:
                    encoded = part["thoughtSignature"].replace("-", "+").replace("_", "/")
                    seen.signatures.append(base64.b64decode(encoded).decode())
            elif "functionResponse" in part:
                answer = part["functionResponse"]
                seen.results.append((answer.get("id"), json.dumps(answer["response"])))
        return seen


class Cohere:
    """Cohere's chat, version 2."""

    expected_usage = (11, 7, 0, 0, 0)

    def events(self, say: Say) -> list[Any]:
        start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        events: list[Any] = [{"type": "message-start", "id": "r1", "delta": {"message": start}}]
        if say.text:
            content = {"content": {"type": "text", "text": ""}}
            events.append({"type": "content-start", "index": 0, "delta": {"message": content}})
            for text in say.text:
                delta = {"message": {"content": {"text": text}}}
                events.append({"type": "content-delta", "index": 0, "delta": delta})
            events.append({"type": "content-end", "index": 0})
        for index, (call_id, tool, arguments) in enumerate(say.calls):
            call = {"id": call_id, "type": "function", "function": {"name": tool, "arguments": ""}}
            events.append(
                {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}
            )
            half = len(arguments) // 2
            for piece in (arguments[:half], arguments[half:]):
                delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
                events.append({"type": "tool-call-delta", "index": index, "delta": delta})
            events.append({"type": "tool-call-end", "index": index})
        reason = "TOOL_CALL" if say.calls else "MAX_TOKENS" if say.length else "COMPLETE"
        tokens = {"input_tokens": 11, "output_tokens": 7}
        usage = {"billed_units": tokens, "tokens": tokens}
        return [*events, {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}]

    def stream(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say), named=True), content_type="text/event-stream")

    def without_end(self, say: Say) -> Answer:
        return Answer(_sse(self.events(say)[:-1], named=True), content_type="text/event-stream")

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        return Answer([_dump({"id": "e1", "message": message})], status=status)

    def read(self, request: Received) -> Seen:
        return Chat().read(request)


class Bedrock:
    """AWS Bedrock's Converse, in AWS's binary event-stream frames: 11 tokens in beside 4 cached, 7 out."""

    expected_usage = (17, 7, 0, 4, 2)

    def events(self, say: Say) -> list[tuple[str, Any]]:
        blocks: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = []
        if say.reasoning:
            deltas = [{"reasoningContent": {"text": say.reasoning}}]
            deltas.append({"reasoningContent": {"signature": say.signature}})
            blocks.append((None, deltas))
        if say.text:
            blocks.append((None, [{"text": t} for t in say.text]))
        for call_id, tool, arguments in say.calls:
            half = len(arguments) // 2
            pieces = [{"toolUse": {"input": p}} for p in (arguments[:half], arguments[half:])]
            blocks.append(({"toolUse": {"toolUseId": call_id, "name": tool}}, pieces))
        events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
        for index, (start, deltas) in enumerate(blocks):
            if start is not None:
                events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
            events += [("contentBlockDelta", {"contentBlockIndex": index, "delta": d}) for d in deltas]
            events.append(("contentBlockStop", {"contentBlockIndex": index}))
        reason = "tool_use" if say.calls else "max_tokens" if say.length else "end_turn"
        events.append(("messageStop", {"stopReason": reason}))
        usage = {
            "inputTokens": 11,
            "outputTokens": 7,
            "totalTokens": 24,
            "cacheReadInputTokens": 4,
            "cacheWriteInputTokens": 2,
        }
        return [*events, ("metadata", {"usage": usage, "metrics": {"latencyMs": 5}})]

    def stream(self, say: Say) -> Answer:
        pieces = [frame(name, _dump(value)) for name, value in self.events(say)]
        return Answer(pieces, content_type="application/vnd.amazon.eventstream")

    def without_end(self, say: Say) -> Answer:
        pieces = [frame(name, _dump(value)) for name, value in self.events(say)[:-2]]
        return Answer(pieces, content_type="application/vnd.amazon.eventstream")

    def error(self, status: int, message: str, code: str | None = None) -> Answer:
        names = {
            400: "ValidationException",
            401: "UnrecognizedClientException",
            403: "AccessDeniedException",
            429: "ThrottlingException",
            503: "ServiceUnavailableException",
        }
        name = names.get(status, "InternalServerException")
        return Answer([_dump({"message": message})], status=status, headers={"x-amzn-ErrorType": name})

    def read(self, request: Received) -> Seen:
        body = request.json
        seen = Seen(request.path.removeprefix("/model/").partition("/")[0])
        seen.tools = [t["toolSpec"]["name"] for t in (body.get("toolConfig") or {"tools": []})["tools"]]
        seen.instructions = _text(body.get("system") or [])
        seen.schema = (body.get("outputConfig") or {}).get("textFormat")
        for part in (p for message in body["messages"] for p in message["content"]):
            if "text" in part:
                seen.texts.append(part["text"])
            elif "toolUse" in part:
                use = part["toolUse"]
                seen.calls.append((use["toolUseId"], use["name"], use["input"]))
            elif "toolResult" in part:
                result = part["toolResult"]
                texts = [c.get("text") or json.dumps(c["json"]) for c in result["content"]]
                seen.results.append((result["toolUseId"], "".join(texts)))
            elif "reasoningContent" in part:
                seen.signatures.append(part["reasoningContent"]["reasoningText"]["signature"])
        return seen


def frame(event: str, payload: bytes, *, exception: bool = False) -> bytes:
    """One frame of AWS's event stream: lengths and checksum, headers, payload, checksum."""
    kind = (":exception-type", "exception") if exception else (":event-type", "event")
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in (
            (kind[0], event),
            (":content-type", "application/json"),
            (":message-type", kind[1]),
        )
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))
