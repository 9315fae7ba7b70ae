"""One call of a vendor's model through the model library (`pydantic_ai.direct`), in our terms.

The library maps our request onto each vendor's protocol and streams the answer; retries, deadlines and
the record of what happened are the engine's, so every wire builds its client with retries switched off. Imports the
library: loaded only when a vendor is called.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.messages import (
    InstructionPart,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.output import OutputObjectDefinition

from perdure.core.errors import ModelError
from perdure.core.model import Delta, FinishReason, ModelReply, ModelRequest, Usage
from perdure.providers import tool_mode
from perdure.providers.failures import Known, model_error
from perdure.providers.translate import Translator, from_library
from perdure.providers.tuning import VendorTuning

OnDelta = Callable[[Delta], None]

# Settings of the library that are the same for every vendor.
COMMON_SETTINGS = frozenset(
    {
        "top_p",
        "top_k",
        "seed",
        "stop_sequences",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "parallel_tool_calls",
        "tool_choice",
        "service_tier",
        "cache",
        "extra_headers",
        "extra_body",
    }
)
# Ours, and the mock model's: an agent that was written with a script may be run on a real model.
_NOT_SENT = frozenset({tool_mode.SETTING, tool_mode.CALLS_PER_TOOL, "script", "repeat_last"})
_FINISH: dict[str | None, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_call": "tool_calls",
    "error": "error",
}
_MAX_MODELS = 256


class VendorWire:
    """A connection to one provider at one address: its models share a client."""

    def __init__(
        self,
        build: Callable[[str], Model[Any]],
        close: Callable[[], Awaitable[None]],
        tuning: VendorTuning,
        now_ms: Callable[[], int],
        known: Known = (),
    ) -> None:
        self._build = build
        self._close = close
        self._tuning = tuning
        self._now_ms = now_ms
        self._known = known
        self._models: dict[str, Model[Any]] = {}
        self._translator = Translator()

    async def aclose(self) -> None:
        """Close the client."""
        await self._close()

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        """Make the call; see `engine.ports.Models.complete`."""
        wrong = tool_mode.wrong_setting(request.settings.extra)
        if wrong is not None:
            raise _bad_setting(request, *wrong)
        if request.settings.extra.get(tool_mode.SETTING, "native") == "native":
            return await self._call(request, on_delta)
        reply = await self._call(tool_mode.as_json_request(request), lambda _delta: None)
        turn = sum(m.role == "assistant" for m in request.messages)
        return tool_mode.read_json_reply(reply, turn, structured=request.output_schema is not None)

    async def _call(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        progress = _Progress()
        limit = request.settings.timeout_ms
        try:
            async with asyncio.timeout(limit / 1000 if limit else None):
                response = await self._stream(request, on_delta, progress)
        except ModelError:
            raise
        except Exception as exc:  # the boundary to the vendors' libraries: nothing of theirs crosses
            raise model_error(
                exc,
                where=str(request.model),
                streaming=progress.streaming,
                now_ms=self._now_ms(),
                known=self._known,
            ) from exc
        return _reply(response)

    async def _stream(self, request: ModelRequest, on_delta: OnDelta, progress: "_Progress") -> ModelResponse:
        model = self._model(request.model.name)
        async with model_request_stream(
            model,
            self._translator.messages(request.messages),
            model_settings=self._settings(request),  # type: ignore[arg-type]
            model_request_parameters=self._parameters(request, model),
            instrument=False,
        ) as stream:
            progress.streaming = True
            await _forward(stream, on_delta)
            response = stream.get()
        if response.finish_reason is None and not (response.provider_details or {}).get("finish_reason"):
            raise ModelAPIError(request.model.name, "The stream ended without saying why")
        return response

    def _model(self, name: str) -> Model[Any]:
        model = self._models.get(name)
        if model is None:
            if len(self._models) >= _MAX_MODELS:
                self._models.clear()  # they hold no connection: only the time to build them is lost
            model = self._models[name] = self._build(name)
        return model

    def _parameters(self, request: ModelRequest, model: Model[Any]) -> ModelRequestParameters:
        instructions = [request.instructions] if request.instructions else []
        output = None
        if request.output_schema is not None:
            if self._tuning.native_schema(dict(model.profile), has_tools=bool(request.tools)):
                output = OutputObjectDefinition(request.output_schema, name=request.output_name or "answer")
            else:
                instructions.append(schema_instruction(request.output_schema))
        return ModelRequestParameters(
            function_tools=self._translator.tools(request.tools),
            output_mode="native" if output is not None else "text",
            output_object=output,
            instruction_parts=[InstructionPart(text) for text in instructions] or None,
        )

    def _settings(self, request: ModelRequest) -> dict[str, Any]:
        settings = request.settings
        result: dict[str, Any] = {}
        if settings.max_tokens is not None:
            result["max_tokens"] = settings.max_tokens
        if settings.temperature is not None:
            result["temperature"] = settings.temperature
        result |= self._tuning.reasoning(settings)
        body: dict[str, Any] = {}
        for name, value in settings.extra.items():
            if name in COMMON_SETTINGS or name.startswith(self._tuning.prefixes):
                result[name] = value
            elif name in _NOT_SENT:
                continue
            elif self._tuning.free:
                body[name] = value
            else:
                raise _bad_setting(
                    request, name, f"Its own settings begin with {', '.join(self._tuning.prefixes)}."
                )
        if body:
            result["extra_body"] = {**result.get("extra_body", {}), **body}
        return result


class _Progress(msgspec.Struct):
    """How far a call came: whether its answer had begun."""

    streaming: bool = False


async def _forward(stream: StreamedResponse, on_delta: OnDelta) -> None:
    """Read the stream to its end, handing on the pieces of text and of reasoning."""
    async for event in stream:
        match event:
            case PartStartEvent(part=TextPart(content=text)) if text:
                on_delta(Delta("text", text))
            case PartStartEvent(part=ThinkingPart(content=text)) if text:
                on_delta(Delta("reasoning", text))
            case PartDeltaEvent(delta=TextPartDelta(content_delta=text)) if text:
                on_delta(Delta("text", text))
            case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=text)) if text:
                on_delta(Delta("reasoning", text))


def _reply(response: ModelResponse) -> ModelReply:
    message = from_library(response)
    finish = _FINISH.get(response.finish_reason, "stop")
    if finish == "stop" and message.tool_calls:  # some providers say "stop" after calls as well
        finish = "tool_calls"
    used = response.usage
    usage = Usage(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        reasoning_tokens=used.details.get("reasoning_tokens", 0) or used.details.get("thoughts_tokens", 0),
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
    )
    return ModelReply(message, usage, finish, response.model_name or "", response.provider_response_id)


def schema_instruction(schema: dict[str, Any]) -> str:
    """What a model is told whose provider cannot hold it to a schema."""
    return (
        "Your final answer must be one JSON value that fits the JSON Schema below, and nothing else: no text "
        "before or after it and no Markdown fence. This is about the final answer only: call tools as usual "
        f"before it.\n{msgspec.json.encode(schema).decode()}"
    )


def _bad_setting(request: ModelRequest, name: str, why: str) -> ModelError:
    return ModelError(
        "E0204",
        f"The model setting {name!r} is not one that {request.model.provider} has",
        where=str(request.model),
        why=why,
        fix="Take it out of model_settings, or correct its name; docs/models.md lists them.",
    )
