"""The built-in mock model: what each of its names answers, and how its scripts are checked."""

import asyncio
import json
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import ModelError
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, ModelSettings, ToolSpec, Usage
from perdure.providers.models import ProviderModels


def spec(name: str, **properties: Any) -> ToolSpec:
    """A tool with these properties, all of them required."""
    return ToolSpec(name, "", {"type": "object", "properties": properties, "required": list(properties)})


def asked(name: str, messages: list[Message], **kw: Any) -> ModelRequest:
    """A request of the mock model of this name."""
    tools = kw.pop("tools", ())
    settings = ModelSettings(timeout_ms=kw.pop("timeout_ms", None), extra=kw.pop("extra", {}))
    return ModelRequest(
        "x1", "m1", kw.pop("attempt", 1), ModelRef("mock", name), "Be kind.", messages, tools, settings
    )


def call(name: str, messages: list[Message], **kw: Any) -> tuple[ModelReply, list[Delta]]:
    """Its answer, and the pieces in which it came."""
    deltas: list[Delta] = []
    models = ProviderModels({}, SystemClock())
    return asyncio.run(models.complete(asked(name, messages, **kw), deltas.append)), deltas


def script(*entries: Any, messages: list[Message] | None = None, **kw: Any) -> tuple[ModelReply, list[Delta]]:
    """What a script answers."""
    extra = {"script": list(entries), **kw.pop("extra", {})}
    return call("script", messages or [user("Hi")], extra=extra, **kw)


def test_echo_answers_with_the_last_text_of_the_user() -> None:
    """Echo says the last user text, with usage of a quarter of the characters, and streams it."""
    reply, deltas = call("echo", [user("one"), Message("assistant", (TextPart("x"),)), user("two")])
    assert reply.message.text == "two"
    assert reply.finish_reason == "stop"
    assert reply.usage == Usage((3 + 1 + 3 + 8) // 4 + 1, 1)
    assert deltas == [Delta("text", "two")]


def test_tools_are_called_once_each_and_summed_up() -> None:
    """`mock/tools` calls one tool a turn with arguments that fit the schema, then reports the results."""
    tools = (spec("add", a={"type": "integer", "minimum": 3}, b={"enum": ["x", "y"]}), spec("now"))
    messages = [user("Go")]
    for name, arguments in (("add", {"a": 3, "b": "x"}), ("now", {})):
        reply, _ = call("tools", messages, tools=tools)
        (made,) = reply.message.tool_calls
        assert (made.tool, made.arguments) == (name, arguments)
        assert reply.finish_reason == "tool_calls"
        messages += [reply.message, Message("tool", (ToolResultPart(made.call_id, name, {"ok": name}),))]
    reply, _ = call("tools", messages, tools=tools)
    assert reply.message.text == 'add: {"ok":"add"}\nnow: {"ok":"now"}'
    assert call("tools", [user("Go")])[0].message.text == "There are no tools."


def test_arguments_are_made_for_every_kind_of_schema() -> None:
    """References, constants, defaults, unions, formats and nesting all get a value that fits."""
    schema = {
        "type": "object",
        "$defs": {"P": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}},
        "properties": {
            "point": {"$ref": "#/$defs/P"},
            "fixed": {"const": 5},
            "given": {"type": "string", "default": "d"},
            "either": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "day": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "long": {"type": "string", "minLength": 8},
            "yes": {"type": ["boolean", "null"]},
            "spare": {"type": "string"},
        },
        "required": ["point", "fixed", "given", "either", "day", "tags", "long", "yes"],
    }
    reply, _ = call("tools", [user("Go")], tools=(ToolSpec("t", "", schema),))
    assert reply.message.tool_calls[0].arguments == {
        "point": {"n": 1},
        "fixed": 5,
        "given": "d",
        "either": None,
        "day": "2026-01-01",
        "tags": ["tags", "tags"],
        "long": "longxxxx",
        "yes": True,
    }


def test_a_script_follows_the_turns_of_the_conversation() -> None:
    """Entry n answers the request with n answers in it, with results put into texts and arguments."""
    entries = (
        {"tool_calls": [{"tool": "look", "arguments": {"id": 7}}, {"tool": "ask", "call_id": "mine"}]},
        {
            "tool_calls": [
                {
                    "tool": "pay",
                    "arguments": {"amount": "{result:look.items.0.price}", "note": "for {result:ask}"},
                }
            ]
        },
        {
            "json": {"paid": "{result:pay.amount}"},
            "reasoning": "hm",
            "usage": {"input_tokens": 5},
            "finish_reason": "length",
        },
    )
    first, _ = script(*entries)
    assert first.message.tool_calls == (
        ToolCallPart("call_0_0", "look", {"id": 7}),
        ToolCallPart("mine", "ask", {}),
    )
    results = (
        ToolResultPart("call_0_0", "look", {"items": [{"price": 4.5}]}),
        ToolResultPart("mine", "ask", "me"),
    )
    messages = [user("Hi"), first.message, Message("tool", results)]
    second, _ = script(*entries, messages=messages)
    assert second.message.tool_calls == (ToolCallPart("call_1_0", "pay", {"amount": 4.5, "note": "for me"}),)
    messages += [second.message, Message("tool", (ToolResultPart("call_1_0", "pay", {"amount": 4.5}),))]
    third, deltas = script(*entries, messages=messages)
    assert third.message.parts == (ReasoningPart("hm"), TextPart('{"paid":4.5}'))
    assert (third.usage, third.finish_reason) == (Usage(5), "length")
    assert deltas == [Delta("reasoning", "hm"), Delta("text", '{"paid":4.5}')]


def test_chunks_and_delays() -> None:
    """A text streams in as many pieces as asked, and delays count against the call's time limit."""
    _, deltas = script({"text": "abcdefg", "chunks": 3, "chunk_delay_ms": 1})
    assert [d.text for d in deltas] == ["abc", "def", "g"]
    with pytest.raises(ModelError) as caught:
        script({"text": "late", "delay_ms": 5000}, timeout_ms=20)
    assert (caught.value.code, caught.value.retryable) == ("E0208", True)


def test_failures_end_after_their_attempts() -> None:
    """The first attempts fail with the code asked for, the next one answers."""
    entry = {"text": "ok", "fail": {"code": "E0206", "times": 2, "retry_after_ms": 100}}
    for attempt in (1, 2):
        with pytest.raises(ModelError) as caught:
            script(entry, attempt=attempt)
        assert (caught.value.code, caught.value.retryable, caught.value.retry_after_ms) == (
            "E0206",
            True,
            100,
        )
    assert script(entry, attempt=3)[0].message.text == "ok"
    with pytest.raises(ModelError) as caught:
        script({"text": "ok", "fail": {"code": "E0205"}, "delay_ms": 1})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "no script"),
        (["x"], "Entry 0"),
        ([{"text": "ok"}, {"txt": "typo"}], "Entry 1"),
        ([{}], "Entry 0"),
        ([{"text": "a", "json": 1}], "Entry 0"),
        ([{"text": "a", "chunks": 0}], "Entry 0"),
        ([{"text": "a", "fail": {"code": "E0101"}}], "Entry 0"),
        ([{"text": "{result:nothing}"}], "Entry 0"),
    ],
)
def test_bad_scripts_are_named(entries: list[Any], says: str) -> None:
    """A script that is wrong fails with E0211, which says which entry and why."""
    with pytest.raises(ModelError) as caught:
        script(*entries)
    assert caught.value.code == "E0211"
    assert says in caught.value.what
    assert not caught.value.retryable


def test_a_script_that_runs_out() -> None:
    """Beyond its end a script fails, unless the last entry is to be repeated."""
    messages = [user("Hi"), Message("assistant", (TextPart("a"),)), user("More")]
    with pytest.raises(ModelError) as caught:
        script({"text": "a"}, messages=messages)
    assert caught.value.code == "E0211"
    assert "1 entries" in caught.value.what
    assert script({"text": "a"}, messages=messages, extra={"repeat_last": True})[0].message.text == "a"


def test_support_looks_up_refunds_and_answers() -> None:
    """The support agent asks for order and policy at once, refunds what they say, and reports."""
    text = {"type": "string"}
    tools = (
        spec("lookup_order", order_id=text),
        spec("check_policy", order_id=text),
        spec("refund", order_id=text, amount={"type": "number"}, reason=text),
    )
    messages = [user("My order A-1042 arrived broken, I want my money back.")]
    first, _ = call("support", messages, tools=tools)
    assert [(c.tool, c.arguments) for c in first.message.tool_calls] == [
        ("lookup_order", {"order_id": "A-1042"}),
        ("check_policy", {"order_id": "A-1042"}),
    ]
    facts = (
        ToolResultPart("call_0_0", "lookup_order", {"order": {"id": "A-1042", "total": 49.9}}),
        ToolResultPart("call_0_1", "check_policy", {"refundable": True, "limit": 100}),
    )
    messages += [first.message, Message("tool", facts)]
    second, _ = call("support", messages, tools=tools)
    (refund,) = second.message.tool_calls
    assert (refund.tool, refund.arguments) == (
        "refund",
        {"order_id": "A-1042", "amount": 49.9, "reason": "Requested by the customer"},
    )
    for is_error, word in ((False, "on its way"), (True, "not approved")):
        result = Message("tool", (ToolResultPart(refund.call_id, "refund", {"done": 1}, is_error),))
        last, deltas = call("support", [*messages, second.message, result], tools=tools)
        assert word in last.message.text
        assert "49.9" in last.message.text
        assert "".join(d.text for d in deltas) == last.message.text
        assert len(deltas) > 1

    refused = (facts[0], ToolResultPart("call_0_1", "check_policy", {"refundable": False}))
    last, _ = call("support", [messages[0], first.message, Message("tool", refused)], tools=tools)
    assert "cannot be refunded" in last.message.text
    assert call("support", [user("Hello")])[0].message.text


def test_an_unknown_mock_model_is_told_apart() -> None:
    """A name that the mock does not have is found before any call, with a suggestion."""
    models = ProviderModels({}, SystemClock())
    models.check(ModelRef("mock", "support"))
    with pytest.raises(ModelError) as caught:
        models.check(ModelRef("mock", "suport"))
    assert caught.value.code == "E0211"
    assert "mock/support" in caught.value.fix


def test_the_plain_call_does_not_give_up_the_event_loop() -> None:
    """Without a delay the answer is there at the first step, so that benchmarks measure the engine."""
    models = ProviderModels({}, SystemClock())
    coroutine = models.complete(asked("echo", [user("Hi")]), lambda _delta: None)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert json.loads(json.dumps(done.value.value.message.text)) == "Hi"
