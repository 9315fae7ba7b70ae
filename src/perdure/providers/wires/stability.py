"""Stability AI: images by REST, behind the same port as every other model.

The prompt is the last text of the user. The answer is a message with one image in it. `model_settings` are the
form fields of the request as Stability names them (`aspect_ratio`, `negative_prompt`, `seed`, `output_format`, ...).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from perdure.core.errors import ModelError
from perdure.core.messages import MediaPart, Message
from perdure.core.model import Delta, FinishReason, ModelReply, ModelRequest, Usage
from perdure.providers.catalogue import Access
from perdure.providers.retry_after import retry_after_ms
from perdure.providers.tuning import http_client

# Models with an address of their own; any other name is a model of the `sd3` address.
_SERVICES = {"core": "core", "stable-image-core": "core", "ultra": "ultra", "stable-image-ultra": "ultra"}
_FINISH: dict[str, FinishReason] = {"SUCCESS": "stop", "CONTENT_FILTERED": "content_filter"}
_BODY_CHARS = 600
_CODES = {401: "E0205", 403: "E0204", 408: "E0207", 429: "E0206"}  # 403 is their moderation
_WHAT = {
    "E0204": "The provider refused the request",
    "E0205": "The provider refused the key",
    "E0206": "The provider's rate limit was reached",
    "E0207": "The provider is overloaded or failing",
}


class StabilityWire:
    """A connection to Stability AI."""

    def __init__(self, access: Access, now_ms: Callable[[], int]) -> None:
        self._base_url = access.base_url
        self._headers = {"authorization": f"Bearer {access.key}", "accept": "application/json"}
        self._now_ms = now_ms
        self._http = http_client()

    async def aclose(self) -> None:
        """Close the client."""
        await self._http.aclose()

    async def complete(self, request: ModelRequest, _on_delta: Callable[[Delta], None]) -> ModelReply:
        """Make an image; see `engine.ports.Models.complete`."""
        form = _form(request)
        service = _SERVICES.get(request.model.name, "sd3")
        if service == "sd3":
            form["model"] = request.model.name
        limit = request.settings.timeout_ms
        try:
            async with asyncio.timeout(limit / 1000 if limit else None):
                response = await self._http.post(
                    f"{self._base_url}/v2beta/stable-image/generate/{service}",
                    headers=self._headers,
                    # A file part without a name: the service takes multipart bodies only.
                    files={name: (None, value) for name, value in form.items()},
                )
        except (TimeoutError, httpx2.TimeoutException) as exc:
            raise self._error(
                request, "E0208", "The model did not answer in time", str(exc), retryable=True
            ) from exc
        except httpx2.HTTPError as exc:
            what = "The provider could not be reached"
            raise self._error(request, "E0207", what, f"{type(exc).__name__}: {exc}", retryable=True) from exc
        return self._reply(request, response, form)

    def _reply(self, request: ModelRequest, response: httpx2.Response, form: dict[str, str]) -> ModelReply:
        if response.status_code != httpx2.codes.OK:
            raise self._refused(request, response)
        try:
            body = msgspec.json.decode(response.content)
            image, reason = body["image"], body.get("finish_reason", "SUCCESS")
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as exc:
            text = response.text[:_BODY_CHARS]
            what = "The provider's answer could not be understood"
            raise self._error(request, "E0209", what, text, retryable=True) from exc
        part = MediaPart(f"image/{form['output_format'].replace('jpg', 'jpeg')}", data=image)
        finish = _FINISH.get(reason, "error")
        message = Message("assistant", (part,) if finish == "stop" else ())
        return ModelReply(
            message,
            Usage(),
            finish,
            request.model.name,
            response.headers.get("x-request-id") or body.get("id"),
        )

    def _refused(self, request: ModelRequest, response: httpx2.Response) -> ModelError:
        status = response.status_code
        code = _CODES.get(status, "E0207" if status >= httpx2.codes.INTERNAL_SERVER_ERROR else "E0204")
        retryable = code in ("E0206", "E0207")
        error = self._error(
            request, code, _WHAT[code], f"HTTP {status}: {response.text[:_BODY_CHARS]}", retryable=retryable
        )
        error.retry_after_ms = retry_after_ms(response.headers, self._now_ms()) if retryable else None
        return error

    def _error(self, request: ModelRequest, code: str, what: str, why: str, *, retryable: bool) -> ModelError:
        return ModelError(code, what, where=str(request.model), why=why, retryable=retryable)


def connect(access: Access, now_ms: Callable[[], int]) -> StabilityWire:
    """A connection to Stability AI."""
    return StabilityWire(access, now_ms)


def _form(request: ModelRequest) -> dict[str, str]:
    """The fields of the request, as texts."""
    prompt = next((m.text for m in reversed(request.messages) if m.role == "user" and m.text), "")
    form: dict[str, Any] = {"output_format": "png", **request.settings.extra, "prompt": prompt}
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in form.items()
    }
