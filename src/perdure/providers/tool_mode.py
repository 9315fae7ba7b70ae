"""Tools for models that cannot call tools: a reply that is either a call or an answer, forced by a JSON Schema.

`model_settings={"tool_mode": "json_schema"}`. The server behind the model holds the reply to a schema while it is
written (a grammar, in llama.cpp), so that even a model of a hundred million parameters calls tools with arguments
that parse. The reply is one of

    {"tool": "<name>", "arguments": {...}}     for each tool, its own schema
    {"answer": "..."}                          or the output schema, when there is one

Calls and results of earlier turns are shown as text, since such a model was not taught roles for them. Pure: it
rewrites a request and reads a reply.

A very small model cannot tell when it has done enough. Two further settings take that decision from it; which tool
it takes next, with which arguments, and what it says at the end stays its own:

    calls_per_tool: 1            a tool that was called so often is not offered again, whatever its result was
    tool_choice: "required"      the answer is offered when no tool is left
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.core.messages import Message, Part, TextPart, ToolCallPart, ToolResultPart
from perdure.core.model import ModelReply, ModelRequest, ToolSpec

SETTING = "tool_mode"
MODES = ("native", "json_schema")
CALLS_PER_TOOL = "calls_per_tool"
TOOL_CHOICE = "tool_choice"
CHOICES = ("auto", "required", "none")
CHARS_PER_TOKEN = 2  # fewer than any text has on average
# Such a model follows what it has read last; a result that stands there looks like the beginning of another call.
CLOSING = "\nTell the user what was done."


def wrong_setting(extra: Mapping[str, Any]) -> tuple[str, str] | None:
    """The setting of this module that has a value which it cannot have, and what it may be; None: all are good."""
    mode = extra.get(SETTING, "native")
    if mode not in MODES:
        return SETTING, f"It is one of {', '.join(MODES)}."
    limit = extra.get(CALLS_PER_TOOL)
    if limit is not None and mode == "native":
        return CALLS_PER_TOOL, "It goes with tool_mode json_schema."
    if limit is not None and (type(limit) is not int or limit < 1):
        return CALLS_PER_TOOL, "It is a whole number, 1 or more."
    if mode == "json_schema" and extra.get(TOOL_CHOICE, "auto") not in CHOICES:
        return TOOL_CHOICE, f"With tool_mode json_schema it is one of {', '.join(CHOICES)}."
    return None


def as_json_request(request: ModelRequest) -> ModelRequest:
    """The request with its tools moved into the output schema and the instructions.

    The instructions are the same in every turn, so that a server which keeps what it has read reads on from there;
    what may be chosen now is said by the schema alone.
    """
    if not request.tools and request.output_schema is None:
        return request
    extra = request.settings.extra
    tools = _offered(request)
    options = [_object({"tool": {"const": t.name}, "arguments": t.input_schema}) for t in tools]
    if not tools or extra.get(TOOL_CHOICE) != "required":
        options.append(_object({"answer": request.output_schema or _text_schema(request)}))
    messages = [_as_text(m) for m in request.messages]
    if request.tools and not tools and messages[-1].role == "user":
        messages[-1] = Message("user", (*messages[-1].parts, TextPart(CLOSING)))
    return msgspec.structs.replace(
        request,
        instructions=_instructions(request),
        messages=messages,
        tools=(),
        settings=msgspec.structs.replace(
            request.settings, extra={k: v for k, v in extra.items() if k != TOOL_CHOICE}
        ),
        output_schema={"anyOf": options} if len(options) > 1 else options[0],
        output_name="reply",
    )


def _offered(request: ModelRequest) -> list[ToolSpec]:
    """The tools that may be called in this turn."""
    if request.settings.extra.get(TOOL_CHOICE) == "none":
        return []
    limit = request.settings.extra.get(CALLS_PER_TOOL)
    made = Counter(call.tool for message in request.messages for call in message.tool_calls)
    return [tool for tool in request.tools if limit is None or made[tool.name] < limit]


def _text_schema(request: ModelRequest) -> dict[str, Any]:
    """An answer in words, which ends before the limit of tokens would cut its JSON off."""
    limit = request.settings.max_tokens
    return {"type": "string"} if limit is None else {"type": "string", "maxLength": limit * CHARS_PER_TOKEN}


def _instructions(request: ModelRequest) -> str:
    lines = [f"- {tool.name}: {tool.description}".rstrip(": ") for tool in request.tools]
    told = ["You can use these tools:", *lines] if lines else ["You have no tools."]
    if lines:
        told.append('To use a tool, reply with {"tool": "<name>", "arguments": {...}}.')
    told.append('When you know the answer, or need no tool, reply with {"answer": ...}.')
    if lines:
        told.append("Use a tool's result that you already have instead of calling the tool again.")
    return "\n".join((request.instructions, "", *told)).strip()


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
