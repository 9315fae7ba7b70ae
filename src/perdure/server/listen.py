"""Listening: sockets that are safe to open, and uvicorn with the patience and the manners that it lacks.

uvicorn parses and writes HTTP. What is added here: a request's head must arrive in time and in a bounded size; a
malformed one is answered with a coded error; a connection can be dropped with all that waits in it (`ABORT`); and
signals stop the server without ending the process before the engine is closed.
"""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from perdure.core.errors import ApiError
from perdure.server.answers import encode_error, error_headers
from perdure.server.routing import ABORT

HEAD_TIMEOUT_S = 15.0
LONGEST_HEAD = 64 * 1024
KEEP_ALIVE_S = 75
STOP_TIMEOUT_S = 3
_BACKLOG = 2_048


def bind(host: str, port: int, *, insecure: bool) -> socket.socket:
    """A socket that listens already: clients that connect now wait until the engine is open. Port 0: any free one.

    Raises:
        ApiError: E0612 the address is not this machine's own and *insecure* is false; E0614 the port is in use, or
            may not be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ApiError(
            "E0614", f"The host {host!r} is not an address of this machine", why=str(error)
        ) from error
    if not insecure and not all(ipaddress.ip_address(a[4][0]).is_loopback for a in found):
        raise ApiError(
            "E0612",
            f"The server would listen on {host}, which other machines can reach",
            why="Whoever reaches it and has the key can run tools; the traffic is not encrypted.",
            fix="Leave the host at 127.0.0.1 and put a proxy with TLS in front, or say that it is meant "
            "(`--insecure-bind`, PERDURE_INSECURE_BIND=1) and name the hosts in PERDURE_ALLOWED_HOSTS.",
        )
    family, kind, protocol, _, address = min(found, key=lambda a: a[0] != socket.AF_INET)
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        in_use = error.errno == errno.EADDRINUSE
        raise ApiError(
            "E0614",
            f"Port {port} on {host} is in use by another program"
            if in_use
            else f"Port {port} cannot be opened",
            why=str(error),
            fix="If it is a Perdure server, `perdure server status` shows it and `perdure server stop` stops it. "
            "Otherwise choose another port: `--port 6768`, or PERDURE_PORT=6768; 0 takes any free one.",
            port=port,
        ) from error
    return opened


def url_of(listening: socket.socket) -> str:
    """The address for clients on this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """Give the first request its time."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; watch a head that has not arrived whole."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self.send_400_response("The request's head is too large.")
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        scope: Any = self.scope
        scope["extensions"] = {ABORT: self.transport.abort}

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._head_arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and hang up."""
        error = ApiError("E0605", "The request is not valid HTTP", why=msg)
        body = encode_error(error)
        headers = [*error_headers(error), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + body)
        self.transport.close()

    def _head_arrived(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.abort()


class HttpServer(uvicorn.Server):
    """uvicorn that leaves the process alive when it has stopped.

    Args:
        on_started: called once connections are accepted.
        on_stop: called when a stop begins, before connections are waited for.
    """

    def __init__(self, app: ASGIApp, on_started: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
                backlog=_BACKLOG,
            )
        )
        self._on_started = on_started
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; at the second one wait for nobody."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin to stop; called again, hurry."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; wait for requests under way."""
        self._on_stop()
        await super().shutdown(sockets)
