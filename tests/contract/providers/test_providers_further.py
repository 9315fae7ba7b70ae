"""What single providers do beyond the common contract: errors inside a stream, the key's binding, tool mode, images."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import ModelError
from perdure.core.messages import MediaPart, Message, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, ModelSettings
from perdure.providers.models import ProviderModels
from tests.contract.providers.provider_cases import CASES, Case
from tests.contract.providers.provider_dialects import Bedrock, Chat, Say, frame
from tests.contract.providers.provider_fake_http import Answer, FakeServer
from tests.contract.providers.test_providers_contract import SCHEMA, TOOLS, Bench, bench, run


def case_of(provider: str) -> Case:
    """The case of the provider of this name."""
    return next(c for c in CASES if c.provider == provider)


def sse(*events: Any) -> Answer:
    """A stream of these events."""
    pieces = [b"data: " + json.dumps(e).encode() + b"\n\n" for e in events]
    return Answer(pieces, content_type="text/event-stream")


def anthropic_overloaded() -> Answer:
    """Anthropic's error event."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    body = b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n"
    return Answer([body], content_type="text/event-stream")


def bedrock_throttled() -> Answer:
    """A stream of Bedrock that ends in an exception frame."""
    begin = [frame(n, json.dumps(v).encode()) for n, v in Bedrock().events(Say(text=("Hel",)))[:2]]
    end = frame("throttlingException", b'{"message": "Slow down"}', exception=True)
    return Answer([*begin, end], content_type="application/vnd.amazon.eventstream")


@pytest.mark.parametrize(
    ("provider", "answer", "code"),
    [
        ("openai", sse({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}), "E0206"),
        ("openai", sse({"error": {"message": "Overloaded", "code": "server_is_overloaded"}}), "E0207"),
        ("anthropic", anthropic_overloaded(), "E0207"),
        ("aws_bedrock", bedrock_throttled(), "E0206"),
    ],
    ids=["openai-limit", "openai-overloaded", "anthropic-overloaded", "bedrock-throttled"],
)
def test_an_error_inside_a_stream_keeps_its_class(
    provider: str, answer: Answer, code: str, tmp_path: Path
) -> None:
    """An error that comes after a 200 is sorted as it would be before it."""

    async def scenario(over: Bench) -> None:
        failure = await over.fails(answer)
        assert (failure.code, failure.retryable) == (code, True)

    run(case_of(provider), tmp_path, scenario)


def test_an_exhausted_quota_is_not_retried(tmp_path: Path) -> None:
    """A 429 that says the money is gone will not succeed later."""

    async def scenario(over: Bench) -> None:
        failure = await over.fails(Chat().error(429, "You exceeded your quota", "insufficient_quota"))
        assert (failure.code, failure.retryable, failure.retry_after_ms) == ("E0206", False, None)

    run(case_of("openai"), tmp_path, scenario)


def test_google_says_in_the_body_how_long_to_wait(tmp_path: Path) -> None:
    """Google's RetryInfo is read where there is no header."""

    async def scenario(over: Bench) -> None:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "19s"}]
        error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": details}
        failure = await over.fails(Answer([json.dumps({"error": error}).encode()], status=429))
        assert (failure.code, failure.retry_after_ms) == ("E0206", 19_000)

    run(case_of("google_gemini"), tmp_path, scenario)


def test_settings_reach_the_wire(tmp_path: Path) -> None:
    """Reasoning settings, common settings and a provider's own go out; a name that it does not have is refused."""

    async def openai(over: Bench) -> None:
        over.answer(Chat().stream(Say(text=("ok",))))
        settings = ModelSettings(reasoning_effort="low", extra={"seed": 7, "search_mode": "web"})
        await over.ask(user("Hello"), settings=settings)
        body = over.server.received[-1].json
        assert (body["reasoning_effort"], body["seed"], body["search_mode"]) == ("low", 7, "web")

    async def anthropic(over: Bench) -> None:
        over.answer(over.case.dialect.stream(Say(text=("ok",))))
        settings = ModelSettings(
            thinking_budget_tokens=2048, max_tokens=4096, extra={"anthropic_betas": ["b-1"]}
        )
        await over.ask(user("Hello"), settings=settings)
        body = over.server.received[-1].json
        assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
        assert "b-1" in over.server.received[-1].headers["anthropic-beta"]
        failure = await over.fails(
            over.case.dialect.stream(Say()), settings=ModelSettings(extra={"serch_mode": "web"})
        )
        assert (failure.code, failure.retryable) == ("E0204", False)
        assert "serch_mode" in failure.what

    run(case_of("openai"), tmp_path, openai)
    run(case_of("anthropic"), tmp_path, anthropic)


def test_media_in_a_message(tmp_path: Path) -> None:
    """An image by address and one by its bytes stand beside the text."""

    async def scenario(over: Bench) -> None:
        over.answer(Chat().stream(Say(text=("A cat",))))
        data = base64.b64encode(b"picture").decode()
        parts = (
            TextPart("What is it?"),
            MediaPart("image/png", url="https://example.com/cat.png"),
            MediaPart("image/png", data=data),
        )
        await over.ask(Message("user", parts))
        content = over.server.received[-1].json["messages"][-1]["content"]
        urls = [c["image_url"]["url"] for c in content if c["type"] == "image_url"]
        assert urls == ["https://example.com/cat.png", f"data:image/png;base64,{data}"]

    run(case_of("openai"), tmp_path, scenario)


def test_aliases_share_a_connection_and_a_key_change_makes_a_new_one(tmp_path: Path) -> None:
    """`gpt` by any of its provider's names is one connection; a rotated key is used from the next call on."""

    async def main() -> None:
        async with FakeServer(Chat().stream(Say(text=("ok",)))) as server:
            environ = {"XAI_API_KEY": "k-1"}
            models = ProviderModels(environ, SystemClock(), base_urls={"grok": server.url})
            for provider in ("xai", "grok", "X-AI"):
                await models.complete(ask(ModelRef(provider, "grok-4")), lambda _delta: None)
            environ["XAI_API_KEY"] = "k-2"
            await models.complete(ask(ModelRef("xai", "grok-4")), lambda _delta: None)
            await models.aclose()
            assert [r.headers["authorization"][-3:] for r in server.received] == ["k-1", "k-1", "k-1", "k-2"]

    asyncio.run(main())


def ask(ref: ModelRef, *messages: Message, **kw: Any) -> ModelRequest:
    """A request of the model with these messages."""
    settings = kw.pop("settings", ModelSettings())
    return ModelRequest(
        "x1", "m1", 1, ref, "", list(messages or [user("Hello")]), kw.pop("tools", ()), settings, **kw
    )


def test_a_base_url_gets_no_key_that_is_not_bound_to_it() -> None:
    """An agent's own address is called without a key, or not at all, unless the environment names its host."""

    async def main() -> None:
        async with FakeServer(Chat().stream(Say(text=("ok",)))) as server:
            environ = {"OPENAI_API_KEY": "k-1", "OPENAI_COMPATIBLE_API_KEY": "k-2"}
            models = ProviderModels(environ, SystemClock())
            theirs = ModelRef("openai_compatible", "m-1", server.url)
            await models.complete(ask(theirs), lambda _delta: None)
            assert "k-2" not in server.received[-1].headers["authorization"]

            with pytest.raises(ModelError) as caught:
                models.check(ModelRef("openai", "m-1", server.url))
            assert caught.value.code == "E0202"
            assert "PERDURE_MODEL_HOSTS" in caught.value.fix

            environ["PERDURE_MODEL_HOSTS"] = "proxy.example.com, " + server.url.removeprefix("http://")
            await models.complete(ask(ModelRef("openai", "m-1", server.url)), lambda _delta: None)
            assert server.received[-1].headers["authorization"] == "Bearer k-1"
            await models.aclose()

    asyncio.run(main())


def test_the_environment_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and organisations come from the environment that was given, not from the process's own."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-somebody")

    async def main() -> None:
        async with FakeServer(Chat().stream(Say(text=("ok",)))) as server:
            models = ProviderModels({}, SystemClock(), base_urls={"ollama": server.url})
            with pytest.raises(ModelError):
                models.check(ModelRef("openai", "m-1"))
            await models.complete(ask(ModelRef("ollama", "m-1")), lambda _delta: None)
            await models.aclose()
            assert "somebody" not in str(server.received[-1].headers)

    asyncio.run(main())


def test_bedrock_sends_a_key_of_its_own_over_tls_only() -> None:
    """With AWS_BEARER_TOKEN_BEDROCK the call is not signed: an address without TLS is refused before it is sent."""
    case = case_of("aws_bedrock")

    async def main() -> None:
        async with FakeServer(case.dialect.stream(Say(text=("ok",)))) as server:
            environ = {"AWS_BEARER_TOKEN_BEDROCK": "k-1", "AWS_REGION": "eu-west-1"}
            models = ProviderModels(environ, SystemClock(), base_urls={"bedrock": server.url})
            with pytest.raises(ModelError) as caught:
                await models.complete(ask(ModelRef("bedrock", case.model)), lambda _delta: None)
            assert (caught.value.code, caught.value.retryable) == ("E0204", False)
            assert "HTTPS" in caught.value.why
            assert server.received == []
            await models.aclose()

    asyncio.run(main())


def test_tool_mode_makes_tool_calls_out_of_json(tmp_path: Path) -> None:
    """Without native tool calls: the reply is held to a call or an answer, and is read back as such."""

    async def scenario(over: Bench) -> None:
        settings = ModelSettings(extra={"tool_mode": "json_schema"})
        said = '{"tool": "weather", "arguments": {"city": "Ulm"}}'
        over.answer(Chat().stream(Say(text=(said[:9], said[9:]))))
        first = await over.ask(user("Weather?"), tools=TOOLS, settings=settings)
        assert first.message.tool_calls == (ToolCallPart("call_0_0", "weather", {"city": "Ulm"}),)
        assert first.finish_reason == "tool_calls"
        assert over.deltas == []

        seen = over.seen
        assert seen.tools == []
        assert [o["properties"]["tool"] for o in seen.schema["anyOf"][:2]] == [
            {"const": "weather"},
            {"const": "clock"},
        ]
        assert seen.schema["anyOf"][2]["properties"] == {"answer": {"type": "string"}}
        assert "weather: The weather in a city." in seen.instructions

        results = Message("tool", (ToolResultPart("call_0_0", "weather", {"temp": 21}),))
        over.answer(Chat().stream(Say(text=('{"answer": "21 degrees"}',))))
        second = await over.ask(user("Weather?"), first.message, results, tools=TOOLS, settings=settings)
        assert second.message == Message("assistant", (TextPart("21 degrees"),))
        assert second.finish_reason == "stop"
        assert over.seen.calls == []
        assert json.loads(over.seen.texts[1]) == {"tool": "weather", "arguments": {"city": "Ulm"}}
        assert json.loads(over.seen.texts[2]) == {"tool": "weather", "result": {"temp": 21}}

        over.answer(Chat().stream(Say(text=('{"answer": {"city": "Ulm"}}',))))
        third = await over.ask(user("Where?"), tools=TOOLS, settings=settings, output_schema=SCHEMA)
        assert json.loads(third.message.text) == {"city": "Ulm"}
        assert over.seen.schema["anyOf"][2]["properties"]["answer"]["properties"] == SCHEMA["properties"]

    run(case_of("openai_compatible"), tmp_path, scenario)


IMAGE = base64.b64encode(b"picture").decode()


def test_stability_makes_images() -> None:
    """A prompt becomes an image in the message; its errors have the codes of all the others."""

    async def main() -> None:
        async with FakeServer() as server:
            models = ProviderModels(
                {"STABILITY_API_KEY": "k-1"}, SystemClock(), base_urls={"stability": server.url}
            )

            async def paint(answer: Answer, model: str = "core", **kw: Any) -> ModelReply:
                server.answers = [answer]
                return await models.complete(
                    ask(ModelRef("stability", model), user("A cat"), **kw), lambda _d: None
                )

            done = Answer([json.dumps({"image": IMAGE, "finish_reason": "SUCCESS", "seed": 1}).encode()])
            settings = ModelSettings(extra={"aspect_ratio": "16:9", "seed": 5, "output_format": "jpeg"})
            reply = await paint(done, settings=settings)
            assert reply.message == Message("assistant", (MediaPart("image/jpeg", data=IMAGE),))
            assert reply.finish_reason == "stop"
            request = server.received[-1]
            assert (request.path, request.headers["authorization"]) == (
                "/v2beta/stable-image/generate/core",
                "Bearer k-1",
            )
            assert b"A cat" in request.body
            assert b"16:9" in request.body

            await paint(done, model="sd3.5-large")
            assert server.received[-1].path.endswith("/sd3")
            assert b"sd3.5-large" in server.received[-1].body

            filtered = Answer([json.dumps({"image": "", "finish_reason": "CONTENT_FILTERED"}).encode()])
            assert (await paint(filtered)).finish_reason == "content_filter"

            said = json.dumps({"name": "x", "errors": ["words of the provider"]}).encode()
            for status, code, retryable in (
                (401, "E0205", False),
                (400, "E0204", False),
                (403, "E0204", False),
                (429, "E0206", True),
                (500, "E0207", True),
            ):
                with pytest.raises(ModelError) as caught:
                    await paint(Answer([said], status=status, headers={"retry-after": "3"}))
                failure = caught.value
                assert (failure.code, failure.retryable) == (code, retryable)
                assert failure.retry_after_ms == (3000 if retryable else None)
                assert "words of the provider" in failure.why
            for broken in (Answer([said]), Answer([b"{"]), Answer([b"[]"]), Answer([said[:5]], cut=True)):
                with pytest.raises(ModelError) as caught:
                    await paint(broken)
                assert caught.value.code in ("E0209", "E0207")
                assert caught.value.retryable
            with pytest.raises(ModelError) as caught:
                await paint(Answer([], delay=30), settings=ModelSettings(timeout_ms=50))
            assert caught.value.code == "E0208"
            await models.aclose()

            with pytest.raises(ModelError) as caught:
                ProviderModels({}, SystemClock()).check(ModelRef("stability_ai", "core"))
            assert "STABILITY_API_KEY" in caught.value.fix

    asyncio.run(main())


def test_a_long_conversation_is_translated_once(tmp_path: Path) -> None:
    """The translations of earlier messages are kept from one call to the next."""

    async def scenario(over: Bench) -> None:
        over.answer(Chat().stream(Say(text=("ok",))))
        turns = [user(f"Question {n}") for n in range(20)]
        await over.ask(*turns)
        wire = next(iter(over.models._wires.values()))
        kept = wire._translator._messages
        before = [id(kept.get(m)) for m in turns]
        await over.ask(*turns, user("One more"))
        assert [id(kept.get(m)) for m in turns] == before
        assert len(kept) == 21

    run(case_of("openai"), tmp_path, scenario)


def test_bench_closes_what_it_opened(tmp_path: Path) -> None:
    """After `aclose` the next call opens a new connection."""

    async def main() -> None:
        deltas: list[Delta] = []
        async with bench(case_of("openai"), tmp_path) as over:
            over.answer(Chat().stream(Say(text=("ok",))))
            for _ in range(2):
                reply = await over.models.complete(ask(ModelRef("openai", "m-1")), deltas.append)
                assert reply.message.text == "ok"
                await over.models.aclose()
            assert len(deltas) == 2

    asyncio.run(main())
