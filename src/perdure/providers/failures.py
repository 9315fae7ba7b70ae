"""Errors of the model library as ours, by class. Imports that library: loaded only when a vendor is called.

| code  | class                                            | may succeed later              |
|-------|--------------------------------------------------|--------------------------------|
| E0205 | the key was refused (401, 403)                   | no                             |
| E0206 | rate limit (429), with the wait asked for        | yes; no when a quota is used up |
| E0207 | 5xx, overloaded, no connection                   | yes                            |
| E0208 | no answer in time                                | yes                            |
| E0209 | an answer that breaks off or makes no sense      | yes                            |
| E0210 | the conversation is longer than the model takes  | no                             |
| E0204 | anything else the provider or its library refuses | no                            |
"""

from typing import Any

from pydantic_ai import exceptions as lib

from perdure.core.errors import ModelError
from perdure.providers.retry_after import retry_after_ms

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
Known = tuple[tuple[type[Exception], str], ...]
_Outcome = tuple[str, bool, str]

_OUTCOMES: dict[str, _Outcome] = {
    "E0204": ("E0204", False, "The provider refused the request"),
    "E0205": ("E0205", False, "The provider refused the key"),
    "E0206": ("E0206", True, "The provider's rate limit was reached"),
    "E0207": ("E0207", True, "The provider could not be reached, or is overloaded"),
    "E0208": ("E0208", True, "The model did not answer in time"),
    "E0209": ("E0209", True, "The provider's answer broke off or could not be understood"),
    "E0210": ("E0210", False, "The conversation does not fit the model"),
}
_NO_QUOTA: _Outcome = ("E0206", False, "The provider's quota is used up")
_CANNOT: _Outcome = ("E0204", False, "The request cannot be put to this provider")
# The first class that fits; the library's errors are of several classes at once.
_CLASSES: tuple[tuple[tuple[type[Exception], ...], _Outcome], ...] = (
    ((lib.ModelRequestTimeout, lib.ModelTimeoutError, TimeoutError), _OUTCOMES["E0208"]),
    ((lib.ModelContextWindowExceededError,), _OUTCOMES["E0210"]),
    ((lib.ModelAuthenticationError,), _OUTCOMES["E0205"]),
    ((lib.ModelQuotaExceededError,), _NO_QUOTA),
    ((lib.ModelRateLimitError,), _OUTCOMES["E0206"]),
    (
        (lib.ModelConnectionError, lib.ModelUnavailableError, lib.ModelServerError, ConnectionError),
        _OUTCOMES["E0207"],
    ),
    ((lib.ModelRequestRejectedError, lib.ModelHTTPError, lib.ContentFilterError), _OUTCOMES["E0204"]),
    ((lib.UserError, NotImplementedError), _CANNOT),
)
_TEMPORARY = frozenset({408, 409, 425})


def model_error(exc: Exception, *, where: str, streaming: bool, now_ms: int, known: Known = ()) -> ModelError:
    """What *exc* is for us.

    Args:
        exc: whatever the library, the vendor's library under it or the adapter raised.
        where: the model, as `provider/model`.
        streaming: whether the answer had begun: a connection that fails then is an answer cut off.
        now_ms: wall time, for a `Retry-After` that is a date.
        known: errors of the vendor's own library that the model library lets through, with their codes.
    """
    code = next((code for kind, code in known if isinstance(exc, kind)), None)
    code, retryable, what = _OUTCOMES[code] if code else _classify(exc, streaming=streaming)
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


def _classify(exc: Exception, *, streaming: bool) -> _Outcome:
    """The code, whether it may succeed later, and the sentence."""
    if _says_too_long(exc):
        return _OUTCOMES["E0210"]
    if streaming and isinstance(exc, lib.ModelConnectionError) and not isinstance(exc, lib.ModelTimeoutError):
        return _OUTCOMES["E0209"]
    found = next((outcome for kinds, outcome in _CLASSES if isinstance(exc, kinds)), _OUTCOMES["E0209"])
    if found[0] == "E0204" and isinstance(exc, lib.ModelHTTPError) and _is_temporary(exc.status_code):
        return _OUTCOMES["E0207"]  # a status that the library has no class for
    return found


def _is_temporary(status: int) -> bool:
    return status in _TEMPORARY or status >= 500  # noqa: PLR2004 - the server's own failures


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
            inner = next(
                (body[k] for k in ("error", "message", "detail", "Error", "Message") if body.get(k)), None
            )
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
