"""Tools for models that cannot call tools: a reply that is either a call or an answer, forced by a JSON Schema.

`model_settings={"tool_mode": "json_schema"}`. The server behind the model holds the reply to a schema while it is
written (a grammar, in llama.cpp), so that even a model of a hundred million parameters calls tools with arguments
that parse. The reply is one of

    {"tool": "<name>", "arguments": {...}}     for each tool, its own schema
    {"answer": "..."}                          or the output schema, when there is one

Calls and results of earlier turns are shown as text, since such a model was not taught roles for them. Pure: it
rewrites a request and reads a reply.
"""

from typing import Any

import msgspec

from perdure.core.messages import Message, Part, TextPart, ToolCallPart, ToolResultPart
from perdure.core.model import ModelReply, ModelRequest

SETTING = "tool_mode"
MODES = ("native", "json_schema")


def as_json_request(request: ModelRequest) -> ModelRequest:
    """The request with its tools moved into the output schema and the instructions."""
    if not request.tools and request.output_schema is None:
        return request
    options: list[dict[str, Any]] = [
        _object({"tool": {"const": tool.name}, "arguments": tool.input_schema}) for tool in request.tools
    ]
    options.append(_object({"answer": request.output_schema or {"type": "string"}}))
    lines = [f"- {tool.name}: {tool.description}".rstrip(": ") for tool in request.tools]
    instructions = "\n".join(
        (
            request.instructions,
            "",
            "You can use these tools:" if lines else "You have no tools.",
            *lines,
            'To use a tool, reply with {"tool": "<name>", "arguments": {...}}.',
            'When you know the answer, or need no tool, reply with {"answer": ...}.',
            "Use a tool's result that you already have instead of calling the tool again.",
        )
    ).strip()
    return msgspec.structs.replace(
        request,
        instructions=instructions,
        messages=[_as_text(m) for m in request.messages],
        tools=(),
        output_schema={"anyOf": options} if len(options) > 1 else options[0],
        output_name="reply",
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _as_text(message: Message) -> Message:
    """The message with its calls and results as text; any other is the same object."""
    if not any(isinstance(p, ToolCallPart | ToolResultPart) for p in message.parts):
        return message
    role = "user" if message.role == "tool" else message.role
    return Message(role, tuple(_part_as_text(p) for p in message.parts))


def _part_as_text(part: Part) -> Part:
    if isinstance(part, ToolCallPart):
        arguments = part.malformed if part.malformed is not None else part.arguments
        return TextPart(_json({"tool": part.tool, "arguments": arguments}))
    if isinstance(part, ToolResultPart):
        key = "error" if part.is_error else "result"
        return TextPart(f"{_json({'tool': part.tool, key: part.result})}\n")
    return part


def read_json_reply(reply: ModelReply, turn: int, *, structured: bool) -> ModelReply:
    """The reply with its JSON read back into a call or an answer.

    A reply that is not of the shape is left as the text that it is: the model then sees, or the user gets, what
    was said. *turn* makes the ids of calls, *structured* says that the answer is JSON and not a text.
    """
    text = reply.message.text
    value = _decode(text)
    if not isinstance(value, dict):
        return reply
    if isinstance(value.get("tool"), str):
        arguments = value.get("arguments")
        good = arguments if isinstance(arguments, dict) else None
        call = ToolCallPart(
            f"call_{turn}_0", value["tool"], good, None if good is not None else _json(arguments)
        )
        return _with_part(reply, call, "tool_calls")
    if "answer" in value:
        answer = value["answer"]
        whole = answer if isinstance(answer, str) and not structured else _json(answer)
        return _with_part(reply, TextPart(whole), reply.finish_reason)
    return reply


def _with_part(reply: ModelReply, part: Part, finish_reason: Any) -> ModelReply:
    kept = tuple(p for p in reply.message.parts if not isinstance(p, TextPart))
    return msgspec.structs.replace(
        reply, message=Message("assistant", (*kept, part)), finish_reason=finish_reason
    )


def _decode(text: str) -> Any:
    """The JSON value, also when it stands in a Markdown fence; None when there is none."""
    text = text.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json").strip()
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
