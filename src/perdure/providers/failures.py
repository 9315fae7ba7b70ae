"""Errors of the model library as ours, by class. Imports that library: loaded only when a vendor is called.

    E0205  the key was refused (401, 403)                      not retryable
    E0206  rate limit (429), with the wait asked for           retryable; an exhausted quota is not
    E0207  5xx, overloaded, no connection                      retryable
    E0208  no answer in time                                   retryable
    E0209  an answer that breaks off or cannot be understood   retryable
    E0210  the conversation is longer than the model takes     not retryable
    E0204  everything else that the provider, or its library, refuses
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_ai import exceptions as lib

from perdure.core.errors import ModelError

_BODY_CHARS = 600
_TOO_LONG = (
    "context length",
    "context window",
    "context size",
    "context_length",
    "prompt is too long",
    "input is too long",
    "too many tokens",
    "input token count",
    "maximum number of tokens",
    "reduce the length of the messages",
    "max_new_tokens",
    "prompt contains",
)
_TEMPORARY = frozenset({408, 409, 425})


def model_error(exc: Exception, *, where: str, streaming: bool, now_ms: int) -> ModelError:
    """What *exc* is for us.

    Args:
        exc: whatever the library, the vendor's library under it or the adapter raised.
        where: the model, as `provider/model`.
        streaming: whether the answer had begun: a connection that fails then is an answer cut off.
        now_ms: wall time, for a `Retry-After` that is a date.
    """
    code, retryable, what = _classify(exc, streaming=streaming)
    return ModelError(
        code,
        what,
        where=where,
        why=_why(exc),
        fix=_FIXES.get(code, ""),
        retryable=retryable,
        retry_after_ms=_retry_after_ms(exc, now_ms) if retryable else None,
    )


_FIXES = {
    "E0205": "Check the provider's key in the environment of the server, and that it may use this model.",
    "E0210": "Shorten the conversation, or choose a model with a longer context.",
}


def _classify(exc: Exception, *, streaming: bool) -> tuple[str, bool, str]:
    """The code, whether it may succeed later, and the sentence."""
    if isinstance(exc, lib.ModelRequestTimeout | lib.ModelTimeoutError | TimeoutError):
        return "E0208", True, "The model did not answer in time"
    if isinstance(exc, lib.ModelContextWindowExceededError) or _says_too_long(exc):
        return "E0210", False, "The conversation does not fit the model"
    if isinstance(exc, lib.ModelAuthenticationError):
        return "E0205", False, "The provider refused the key"
    if isinstance(exc, lib.ModelQuotaExceededError):
        return "E0206", False, "The provider's quota is used up"
    if isinstance(exc, lib.ModelRateLimitError):
        return "E0206", True, "The provider's rate limit was reached"
    if isinstance(exc, lib.ModelConnectionError):
        if streaming and exc.phase in (None, "read"):
            return "E0209", True, "The provider's answer broke off"
        return "E0207", True, "The provider could not be reached"
    if isinstance(exc, lib.ModelUnavailableError | lib.ModelServerError):
        return "E0207", True, "The provider is overloaded or failing"
    if isinstance(exc, lib.ModelHTTPError) and exc.status_code in _TEMPORARY:
        return "E0207", True, "The provider asks to try again"
    if isinstance(exc, lib.ModelRequestRejectedError | lib.ModelHTTPError | lib.ContentFilterError):
        return "E0204", False, "The provider refused the request"
    if isinstance(exc, lib.UserError | NotImplementedError):
        return "E0204", False, "The request cannot be put to this provider"
    return "E0209", True, "The provider's answer could not be understood"


def _says_too_long(exc: Exception) -> bool:
    """Whether a refusal is about length: half of the providers say so in words alone."""
    if not isinstance(exc, lib.ModelHTTPError) or exc.status_code not in (400, 413, 422):
        return False
    text = str(exc.body).lower()
    return exc.status_code == 413 or any(phrase in text for phrase in _TOO_LONG)  # noqa: PLR2004 - Payload Too Large


def _why(exc: Exception) -> str:
    """The provider's own words, or the library's."""
    body = getattr(exc, "body", None)
    status = getattr(exc, "status_code", None)
    text = _message_of(body) if body else str(exc) or type(exc).__name__
    text = text if len(text) <= _BODY_CHARS else text[:_BODY_CHARS] + " ..."
    return f"HTTP {status}: {text}" if status else text


def _message_of(body: Any) -> str:
    """The message inside an error body, wherever the provider put it."""
    for _ in range(3):
        if isinstance(body, dict):
            inner = next((body[k] for k in ("error", "message", "detail", "Error", "Message") if body.get(k)), None)
            if inner is None:
                break
            body = inner
    return body if isinstance(body, str) else str(body)


def _retry_after_ms(exc: Exception, now_ms: int) -> int | None:
    headers = getattr(exc, "headers", None)
    asked = retry_after_ms(headers, now_ms) if headers else None
    if asked is not None:
        return asked
    seconds = getattr(exc, "retry_after", None)  # Google says it in the body
    return None if seconds is None else int(seconds * 1000)


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """The wait that `retry-after-ms` or `Retry-After` (seconds or a date) asks for; header names in lower case."""
    try:
        if "retry-after-ms" in headers:
            return max(0, int(float(headers["retry-after-ms"])))
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return int(float(value) * 1000)
        return max(0, int(parsedate_to_datetime(value).timestamp() * 1000) - now_ms)
    except (ValueError, OverflowError):
        return None
