"""The JSON mode of tools: what a request becomes when calls are used up or answers are not wanted yet."""

from typing import Any

import msgspec
import pytest

from perdure.core.messages import Message, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.model import ModelRef, ModelRequest, ModelSettings, ToolSpec
from perdure.providers.tool_mode import CLOSING, as_json_request, wrong_setting

SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
TOOLS = (ToolSpec("find", "Find it.", SCHEMA), ToolSpec("pay", "", SCHEMA))


def asked(*tools: str, **kw: Any) -> ModelRequest:
    """A request in which these tools were called and answered already; *kw* are further settings."""
    messages = [user("Hi")]
    for i, tool in enumerate(tools):
        messages.append(Message("assistant", (ToolCallPart(f"c{i}", tool, {"id": "1"}),)))
        messages.append(Message("tool", (ToolResultPart(f"c{i}", tool, {"ok": True}),)))
    limit = kw.pop("max_tokens", None)
    settings = ModelSettings(max_tokens=limit, extra={"tool_mode": "json_schema", **kw})
    return ModelRequest(
        "x", "t1.m", 1, ModelRef("openai_compatible", "m"), "Be kind.", messages, TOOLS, settings
    )


def choices(request: ModelRequest) -> list[str]:
    """What the schema of the rewritten request offers."""
    schema = as_json_request(request).output_schema
    offered = schema.get("anyOf", [schema])
    return [o["properties"].get("tool", {}).get("const", "answer") for o in offered]


@pytest.mark.parametrize(
    ("tools", "settings", "offered"),
    [
        ((), {}, ["find", "pay", "answer"]),
        (("find",), {}, ["find", "pay", "answer"]),
        (("find",), {"calls_per_tool": 1}, ["pay", "answer"]),
        (("find",), {"calls_per_tool": 2}, ["find", "pay", "answer"]),
        (("find", "find", "pay"), {"calls_per_tool": 2}, ["pay", "answer"]),
        (("find", "pay"), {"calls_per_tool": 1}, ["answer"]),
        ((), {"tool_choice": "required"}, ["find", "pay"]),
        (("find",), {"tool_choice": "required", "calls_per_tool": 1}, ["pay"]),
        (("find", "pay"), {"tool_choice": "required", "calls_per_tool": 1}, ["answer"]),
        (("find",), {"tool_choice": "none"}, ["answer"]),
        ((), {"tool_choice": "auto"}, ["find", "pay", "answer"]),
    ],
)
def test_what_is_offered(tools: tuple[str, ...], settings: dict[str, Any], offered: list[str]) -> None:
    """Tools that were called as often as they may be are left out; an answer that must wait is left out as well."""
    assert choices(asked(*tools, **settings)) == offered


def test_a_refused_call_counts() -> None:
    """A call counts whatever became of it: the model is not asked to try a refused refund again and again."""
    request = asked("find", "pay", calls_per_tool=1)
    refused = ToolResultPart("c1", "pay", {"rejected": True}, is_error=True)
    request = msgspec.structs.replace(request, messages=[*request.messages[:-1], Message("tool", (refused,))])
    assert choices(request) == ["answer"]


def test_the_instructions_are_the_same_in_every_turn() -> None:
    """What was read once can be read on from; what may be chosen now is in the schema."""
    requests = [as_json_request(asked(*t, calls_per_tool=1)) for t in ((), ("find",), ("find", "pay"))]
    assert len({r.instructions for r in requests}) == 1
    assert requests[0].instructions.startswith(
        "Be kind.\n\nYou can use these tools:\n- find: Find it.\n- pay\n"
    )
    assert all(r.tools == () and r.output_name == "reply" for r in requests)


def test_the_end_is_said_last() -> None:
    """When no tool is left, the last thing that is read asks for the answer; the conversation itself is untouched."""
    request = asked("find", "pay", calls_per_tool=1)
    before = list(request.messages)
    rewritten = as_json_request(request)
    assert rewritten.messages[-1].parts[-1] == TextPart(CLOSING)
    assert request.messages == before
    assert CLOSING not in as_json_request(asked("find", calls_per_tool=1)).messages[-1].text


def test_an_answer_ends_within_its_limit() -> None:
    """With a limit of tokens the text is held to a length, so that its JSON is closed before it is cut off."""
    assert as_json_request(asked("find", "pay", calls_per_tool=1, max_tokens=50)).output_schema["properties"][
        "answer"
    ] == {"type": "string", "maxLength": 100}


def test_the_choice_does_not_reach_the_provider() -> None:
    """`tool_choice` is about tools, of which the provider sees none."""
    extra = as_json_request(asked(tool_choice="required", seed=1)).settings.extra
    assert extra == {"tool_mode": "json_schema", "seed": 1}


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"tool_mode": "other"}, "tool_mode"),
        ({"tool_mode": ["json_schema"]}, "tool_mode"),
        ({"calls_per_tool": 1}, "calls_per_tool"),
        ({"tool_mode": "json_schema", "calls_per_tool": 0}, "calls_per_tool"),
        ({"tool_mode": "json_schema", "calls_per_tool": True}, "calls_per_tool"),
        ({"tool_mode": "json_schema", "calls_per_tool": "1"}, "calls_per_tool"),
        ({"tool_mode": "json_schema", "tool_choice": "find"}, "tool_choice"),
        ({"tool_choice": "find"}, None),
        ({"tool_mode": "json_schema", "calls_per_tool": 3, "tool_choice": "required"}, None),
        ({}, None),
    ],
)
def test_wrong_settings_are_named(extra: dict[str, Any], name: str | None) -> None:
    """A value that this mode cannot have is refused by name; without the mode `tool_choice` is the provider's."""
    found = wrong_setting(extra)
    assert (found and found[0]) == name
