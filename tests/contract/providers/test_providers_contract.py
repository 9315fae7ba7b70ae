"""The contract of `Models`, for every provider, against fake servers that speak the provider's own wire format."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import ModelError
from perdure.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest, ModelSettings, ToolSpec
from perdure.providers.models import ProviderModels
from tests.contract.providers.provider_cases import CASES, Case
from tests.contract.providers.provider_dialects import Say, Seen
from tests.contract.providers.provider_fake_http import Answer, FakeServer, Received

NOW_MS = 1_800_000_000_000
TOOLS = (
    ToolSpec(
        "weather",
        "The weather in a city.",
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    ),
    ToolSpec("clock", "The time.", {"type": "object", "properties": {"zone": {"type": "string"}}}),
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOKEN = Answer([json.dumps({"access_token": "token-1", "expires_in": 3600, "token_type": "Bearer"}).encode()])

every_provider = pytest.mark.parametrize("case", CASES, ids=lambda c: c.provider)


class FixedClock(SystemClock):
    """Wall time stands still."""

    def now_ms(self) -> int:
        return NOW_MS


class Bench:
    """A provider's models over a fake server."""

    def __init__(self, case: Case, server: FakeServer, models: ProviderModels) -> None:
        self.case = case
        self.server = server
        self.models = models
        self.deltas: list[Delta] = []

    def answer(self, *answers: Answer) -> None:
        """What the server says from now on; tokens are handed out beside it."""
        rest = list(answers)

        def respond(request: Received) -> Answer:
            if request.path == "/token":
                self.server.received.remove(request)
                return TOKEN
            return rest.pop(0) if len(rest) > 1 else rest[0]

        self.server.answers = [respond]
        self.server.received.clear()
        self.deltas.clear()

    async def ask(self, *messages: Message, tools: tuple[ToolSpec, ...] = (), **kw: Any) -> ModelReply:
        settings = kw.pop("settings", ModelSettings())
        ref = ModelRef(self.case.provider, self.case.model)
        request = ModelRequest("x1", "m1", 1, ref, "Be brief.", list(messages), tools, settings, **kw)
        return await self.models.complete(request, self.deltas.append)

    async def fails(self, *answers: Answer, **kw: Any) -> ModelError:
        self.answer(*answers)
        with pytest.raises(ModelError) as caught:
            await self.ask(user("Hello"), **kw)
        return caught.value

    @property
    def seen(self) -> Seen:
        return self.case.dialect.read(self.server.received[-1])


@asynccontextmanager
async def bench(case: Case, folder: Path) -> Any:
    """The provider over a fake server, closed at the end."""
    async with FakeServer() as server:
        environ = dict(case.environ)
        case.prepare(environ, folder, server.url)
        models = ProviderModels(environ, FixedClock(), base_urls={case.provider: server.url + case.base})
        try:
            yield Bench(case, server, models)
        finally:
            await models.aclose()


def run(case: Case, folder: Path, test: Callable[[Bench], Awaitable[None]]) -> None:
    """Run a scenario over the provider in an event loop of its own."""

    async def main() -> None:
        async with bench(case, folder) as over:
            await test(over)

    asyncio.run(main())


@every_provider
def test_streams_text_with_usage_and_finish_reason(case: Case, tmp_path: Path) -> None:
    """A text comes in pieces as it is written, and whole with usage, reason, model and id."""

    async def scenario(over: Bench) -> None:
        over.answer(case.dialect.stream(Say(text=("Hel", "lo ", "you"))))
        reply = await over.ask(user("Say hello"), settings=ModelSettings(temperature=0.5, max_tokens=99))

        assert reply.message == Message("assistant", (TextPart("Hello you"),))
        assert [d.text for d in over.deltas] == ["Hel", "lo ", "you"]
        assert reply.finish_reason == "stop"
        used = reply.usage
        assert (
            used.input_tokens,
            used.output_tokens,
            used.reasoning_tokens,
            used.cache_read_tokens,
            used.cache_write_tokens,
        ) == case.dialect.expected_usage
        assert reply.model

        request = over.server.received[-1]
        assert request.path.startswith(case.path)
        assert request.headers[case.auth[0]].startswith(case.auth[1])
        assert "99" in request.body.decode()
        assert over.seen.instructions == "Be brief."
        assert over.seen.texts == ["Say hello"]

        over.answer(case.dialect.stream(Say(text=("Cut of",), length=True)))
        assert (await over.ask(user("Say hello"))).finish_reason == "length"

    run(case, tmp_path, scenario)


@every_provider
def test_parallel_tool_calls_and_their_results(case: Case, tmp_path: Path) -> None:
    """Two calls come back with their arguments; calls and results go out in the next request, one as an error."""

    async def scenario(over: Bench) -> None:
        say = Say(calls=(("call_a1234", "weather", '{"city": "Ulm"}'), ("call_b5678", "clock", "{}")))
        over.answer(case.dialect.stream(say))
        first = await over.ask(user("Weather and time?"), tools=TOOLS)

        assert first.finish_reason == "tool_calls"
        calls = first.message.tool_calls
        assert [(c.tool, c.arguments, c.malformed) for c in calls] == [
            ("weather", {"city": "Ulm"}, None),
            ("clock", {}, None),
        ]
        assert [c.call_id for c in calls] == ["call_a1234", "call_b5678"]
        assert over.seen.tools == ["weather", "clock"]

        results = Message(
            "tool",
            (
                ToolResultPart("call_a1234", "weather", {"temp": 21}),
                ToolResultPart("call_b5678", "clock", "the clock has stopped", is_error=True),
            ),
        )
        over.answer(case.dialect.stream(Say(text=("21 degrees",))))
        second = await over.ask(user("Weather and time?"), first.message, results, tools=TOOLS)

        assert second.message.text == "21 degrees"
        seen = over.seen
        assert [(tool, arguments) for _, tool, arguments in seen.calls] == [
            ("weather", {"city": "Ulm"}),
            ("clock", {}),
        ]
        assert seen.results[0][1].replace(" ", "").count('"temp":21') == 1
        assert "the clock has stopped" in seen.results[1][1]
        assert [call[0] for call in seen.calls] == [result[0] for result in seen.results]

    run(case, tmp_path, scenario)


@every_provider
def test_malformed_arguments_are_kept_and_can_go_back(case: Case, tmp_path: Path) -> None:
    """Arguments that are no JSON object are kept as text, and the conversation with them can be continued."""

    async def scenario(over: Bench) -> None:
        bad = Message("assistant", (ToolCallPart("call_a1234", "weather", malformed='{"city": "Ul'),))
        refusal = Message("tool", (ToolResultPart("call_a1234", "weather", "not JSON", is_error=True),))
        if not hasattr(case.dialect, "expected_usage") or type(case.dialect).__name__ != "Google":
            over.answer(case.dialect.stream(Say(calls=(("call_a1234", "weather", '{"city": "Ul'),))))
            reply = await over.ask(user("Weather?"), tools=TOOLS)
            assert reply.message.tool_calls == bad.tool_calls
        over.answer(case.dialect.stream(Say(text=("Sorry",))))
        assert (await over.ask(user("Weather?"), bad, refusal, tools=TOOLS)).message.text == "Sorry"
        assert "city" in json.dumps(over.seen.calls[0][2])

    run(case, tmp_path, scenario)


@pytest.mark.parametrize("case", [c for c in CASES if c.reasoning], ids=lambda c: c.provider)
def test_reasoning_goes_back_whole(case: Case, tmp_path: Path) -> None:
    """Reasoning streams apart from the text, and goes back to its provider with what proves that it is its own."""

    async def scenario(over: Bench) -> None:
        say = Say(
            text=("Ulm it is",), reasoning="I think", signature="proof", calls=(("call_a", "clock", "{}"),)
        )
        over.answer(case.dialect.stream(say))
        reply = await over.ask(user("Where?"), tools=TOOLS)

        thought = reply.message.parts[0]
        assert isinstance(thought, ReasoningPart)
        assert thought.text == "I think"
        assert over.deltas[0] == Delta("reasoning", "I think")
        assert reply.message.text == "Ulm it is"

        over.answer(case.dialect.stream(Say(text=("Yes",))))
        results = Message("tool", (ToolResultPart("call_a", "clock", "noon"),))
        await over.ask(user("Where?"), reply.message, results, tools=TOOLS)
        wanted = "I think" if case.provider == "deepseek" else "proof"
        assert wanted in over.seen.signatures

    run(case, tmp_path, scenario)


@every_provider
def test_structured_output_with_and_without_tools(case: Case, tmp_path: Path) -> None:
    """The schema goes to the provider's own mode where it has one, and into the instructions elsewhere."""

    async def scenario(over: Bench) -> None:
        over.answer(case.dialect.stream(Say(text=('{"city": "Ulm"}',))))
        for tools in ((), TOOLS):
            reply = await over.ask(user("Where?"), tools=tools, output_schema=SCHEMA, output_name="place")
            assert json.loads(reply.message.text) == {"city": "Ulm"}
            seen = over.seen
            assert len(seen.tools) == len(tools)
            if case.native_schema and (case.schema_with_tools or not tools):
                assert "city" in json.dumps(seen.schema)
                assert seen.instructions == "Be brief."
            else:
                assert seen.schema is None
                assert '"city"' in seen.instructions

    run(case, tmp_path, scenario)


@every_provider
def test_errors_by_class(case: Case, tmp_path: Path) -> None:
    """Each class of refusal has its code, says whether it may be retried and when, and is asked for once only."""

    async def scenario(over: Bench) -> None:
        error = case.dialect.error
        for status, code, retryable in (
            (401, "E0205", False),
            (403, "E0205", False),
            (400, "E0204", False),
            (404, "E0204", False),
            (429, "E0206", True),
            (500, "E0207", True),
            (503, "E0207", True),
            (529, "E0207", True),
        ):
            failure = await over.fails(error(status, "words of the provider"))
            assert (failure.code, failure.retryable) == (code, retryable), status
            assert "words of the provider" in failure.why
            assert str(status) in failure.why
            assert len(over.server.received) == 1, "the engine retries, the libraries must not"
            assert failure.where == f"{case.provider}/{case.model}"

        for value, wait in (("7", 7000), (formatdate(NOW_MS / 1000 + 30, usegmt=True), 30_000)):
            limited = error(429, "slow down")
            limited.headers["Retry-After"] = value
            assert (await over.fails(limited)).retry_after_ms == wait
        limited = error(429, "slow down")
        limited.headers["retry-after-ms"] = "1500"
        assert (await over.fails(limited)).retry_after_ms == 1500

        long = error(
            400, "prompt is too long: this exceeds the maximum context length", "context_length_exceeded"
        )
        failure = await over.fails(long)
        assert (failure.code, failure.retryable) == ("E0210", False)

    run(case, tmp_path, scenario)


@every_provider
def test_answers_that_break_off_are_not_taken(case: Case, tmp_path: Path) -> None:
    """A stream without its end, half a frame, a torn connection and an error under a 200 are all E0209 (or E0207)."""

    async def scenario(over: Bench) -> None:
        whole = case.dialect.stream(Say(text=("Hel", "lo ", "you")))
        half = Answer([*whole.pieces[:2], whole.pieces[2][:20]], content_type=whole.content_type)
        torn = Answer(whole.pieces[:2], content_type=whole.content_type, cut=True)
        body = Answer(case.dialect.error(503, "we are sorry").pieces)
        page = Answer([b"<html>gateway</html>"], content_type="text/html")
        empty = Answer([], content_type=whole.content_type)
        without_end = case.dialect.without_end(Say(text=("Hel", "lo")))
        for name, answer in (
            ("without end", without_end),
            ("half a frame", half),
            ("torn", torn),
            ("error under 200", body),
            ("a page", page),
            ("nothing", empty),
        ):
            failure = await over.fails(answer)
            assert failure.code in ("E0209", "E0207"), (name, failure)
            assert failure.retryable, name
            if name in ("without end", "torn"):
                assert failure.code == "E0209", (name, failure)

    run(case, tmp_path, scenario)


@every_provider
def test_timeouts_and_closed_doors(case: Case, tmp_path: Path) -> None:
    """`timeout_ms` bounds the call; a server that is not there is E0207; cancelling ends the call at once."""

    async def scenario(over: Bench) -> None:
        late = case.dialect.stream(Say(text=("late",)))
        late.delay = 30
        failure = await over.fails(late, settings=ModelSettings(timeout_ms=100))
        assert (failure.code, failure.retryable) == ("E0208", True)

        task = asyncio.create_task(over.ask(user("Hello")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)

    run(case, tmp_path, scenario)

    async def nobody_there() -> None:
        environ = dict(case.environ)
        case.prepare(environ, tmp_path, "http://127.0.0.1:9")
        models = ProviderModels(
            environ, FixedClock(), base_urls={case.provider: "http://127.0.0.1:9" + case.base}
        )
        over = Bench(case, FakeServer(), models)
        failure = await over.fails()
        assert (failure.code, failure.retryable) == ("E0207", True)
        await models.aclose()

    asyncio.run(nobody_there())


@every_provider
def test_check_names_what_is_missing(case: Case) -> None:
    """Without its key a provider fails before any call, and the fix names the variables."""
    complete = ProviderModels(
        {**case.environ, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"},
        FixedClock(),
        base_urls={case.provider: "http://127.0.0.1:9"},
    )
    complete.check(ModelRef(case.provider, case.model))

    bare = {k: v for k, v in case.environ.items() if k not in case.key_names}
    models = ProviderModels(bare, FixedClock(), base_urls={case.provider: "http://127.0.0.1:9"})
    if case.provider in ("ollama", "openai_compatible"):
        models.check(ModelRef(case.provider, case.model))
        return
    with pytest.raises(ModelError) as caught:
        models.check(ModelRef(case.provider, case.model))
    assert caught.value.code == "E0202"
    assert all(name in caught.value.fix for name in case.key_names)
