"""The guard: what every request must pass before it is looked at.

1. **Host.** The name that the client thinks it talks to must be one of ours. A page that rebinds its own name to
   127.0.0.1 sends its own name here, and is refused (E0602).
2. **Origin.** A browser says where a request comes from. Anything but this server itself is refused (E0603), for
   every method, streams included: no page of another origin, not even of another port, may act through a
   developer's browser.
3. **Key.** `Authorization: Bearer`, on everything but the open paths (E0601). Wrong keys are counted; beyond a small
   rate they are answered E0615, so that a loop with a stale key does not fill the log. The right key always passes.

Pure ASGI and a few dictionary look-ups: it runs before every task poll.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.clock import Clock
from perdure.core.errors import ApiError, PerdureError
from perdure.log import get_logger
from perdure.server.answers import send_error
from perdure.server.deps import Service

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_SINGLE = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"content-encoding")
_BURST, _PER_SECOND = 20.0, 2.0
_REMEMBER = 64
_LOG = get_logger("perdure.server")


class Guard:
    """ASGI middleware. Leaves `perdure.headers` and `perdure.principal` in the scope.

    Args:
        open_paths: paths that need no key.
    """

    def __init__(self, app: ASGIApp, service: Service, open_paths: frozenset[str]) -> None:
        self._app = app
        self._keys = service.deps.keys
        self._hosts = LOOPBACK_NAMES | {_bracketed(h.lower()) for h in service.settings.allowed_hosts}
        self._good_hosts: set[bytes] = set()
        self._open_paths = open_paths
        self._failures = _Bucket(service.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except PerdureError as error:
            await send_error(send, error)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs):
            _refuse_repeated(pairs)
        host = headers.get(b"host", b"")
        if host not in self._good_hosts:
            self._check_host(host)
        _check_origin(headers, host)
        scope["perdure.headers"] = headers
        principal = self._keys.principal(headers.get(b"authorization"))
        if principal is None and scope["path"] not in self._open_paths:
            raise self._unauthorized(scope, headers)
        scope["perdure.principal"] = principal or ""

    def _check_host(self, host: bytes) -> None:
        text = host.decode("latin-1").lower()
        name, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            name, port = text, "0"
        if name not in self._hosts or not (port.isascii() and port.isdecimal()):
            _LOG.warning("forbidden_host")
            raise ApiError(
                "E0602",
                "The request's Host header names a host that this server does not answer for",
                fix="Use http://127.0.0.1, or add the name to the server's allowed hosts.",
            )
        if len(self._good_hosts) < _REMEMBER:
            self._good_hosts.add(host)

    def _unauthorized(self, scope: Scope, headers: dict[bytes, bytes]) -> ApiError:
        given = b"authorization" in headers
        if given and not self._failures.take():
            return ApiError(
                "E0615",
                "Too many requests came with a wrong key",
                fix="Use the key in the data directory's api_key.",
            )
        if given:
            _LOG.warning("unauthorized", path=scope["path"], client=(scope.get("client") or ("",))[0])
        return ApiError(
            "E0601",
            "The key is not one of this server" if given else "The request has no key",
            fix="Send `Authorization: Bearer <key>`; the key is in the file api_key of the server's data directory. "
            "The SDK and the command line find it there, or in PERDURE_API_KEY.",
        )


class _Bucket:
    """A small budget that refills with time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = _BURST
        self._at = clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _check_origin(headers: dict[bytes, bytes], host: bytes) -> None:
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site")
    if (origin is None or origin in (b"http://" + host, b"https://" + host)) and (
        site is None or site in (b"same-origin", b"none")
    ):
        return
    _LOG.warning("forbidden_origin")
    raise ApiError("E0603", "The request comes from a page of another origin")


def _refuse_repeated(pairs: list[tuple[bytes, bytes]]) -> None:
    """Two of these would mean that two readers could see two different requests."""
    names = [name for name, _ in pairs]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise ApiError("E0605", "A header that may be there once is there twice")


def _bracketed(host: str) -> str:
    """A host as the Host header writes it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
