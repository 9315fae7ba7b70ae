"""A session: which server is used, found or started once, and a connection to it in each event loop.

A session is made without any I/O. With its first use it looks for the server:

    embedded         the server runs in this process, in a thread and loop of its own
    server_url       given, or in PERDURE_SERVER_URL: it must answer
    otherwise        the one of `server.json` in the home, or on the default port; when neither answers,
                     one is started in the background for this user, unless `auto_start` is off

A program that only wants an answer is told soon that no server is there; one that serves tools may begin before its
server and says for how long it waits (`connection`).

Several threads and loops may use one session.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from perdure.client.api import ApiClient
from perdure.client.background import Found, await_return, ensure_server
from perdure.client.calls import TRY_AGAIN, Backoff
from perdure.client.connection import Connection
from perdure.client.discovery import Candidates, api_key_of, candidates, home_of
from perdure.client.embedded import EmbeddedApp, open_embedded
from perdure.client.inprocess import InProcessTransport
from perdure.client.portal import Portal
from perdure.client.transport import HttpTransport, Transport
from perdure.clock import Clock, SystemClock
from perdure.core.errors import ClientError, PerdureError

T = TypeVar("T")

_log = logging.getLogger("perdure.client")

AWAY = frozenset({"E0701", *TRY_AGAIN})  # no server answers now, and one may soon


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a session finds its server and works; see `AgentRuntime`."""

    server_url: str | None = None
    api_key: str | None = None
    embedded: bool = False
    data_dir: str | Path | None = None
    home: str | Path | None = None
    auto_start: bool = True
    worker_concurrency: int = 32
    worker_name: str | None = None
    dependencies: Mapping[str, Any] = {}
    reconnect_timeout: float = 300.0
    app_options: Mapping[str, Any] = {}


class Session:
    """See the module."""

    def __init__(
        self, options: Options, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.options = options
        self.clock: Clock = clock or SystemClock()
        self.portal = Portal("perdure-portal")
        # Not the portal: a tool that blocks the loop that it runs in must not stop the server too.
        self._server_portal = Portal("perdure-server")
        self._environ = environ
        self._lock = threading.Lock()
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Task[Connection]] = {}
        self._server: tuple[str, str | None] | None = None
        self._app: concurrent.futures.Future[EmbeddedApp] | None = None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal and wait: every synchronous method is this."""
        return self.portal.call(coroutine)

    async def connection(self, *, wait_s: float = 0.0) -> Connection:
        """The running loop's connection, opened if need be.

        Args:
            wait_s: seconds for which a server that is away is waited for; one line of the log says so.

        Raises:
            ClientError: E0701 no server answers; E0702 it was started and does not answer; E0703 something else does.
        """
        backoff = Backoff(self.clock, wait_s)
        while True:
            try:
                return await self._connection()
            except PerdureError as error:
                if error.code not in AWAY or self.options.embedded or not wait_s:
                    raise
                where = candidates(self.options.server_url, *self._surroundings())  # raises: it is no address
                if backoff.is_fresh:
                    urls = " and ".join(where.urls)
                    _log.warning("no server answers at %s; waiting for it, for up to %g s", urls, wait_s)
                if not await backoff.pause():
                    raise

    async def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [other for other in self._opening if other.is_closed()]:
                del self._opening[other]
            opening = self._opening.get(loop)
            if opening is None or _is_spent(opening):
                opening = self._opening[loop] = loop.create_task(self._open(), name="perdure-open")
        # Shielded: several callers may wait for it, and one that is cancelled must not take it from the others.
        return await asyncio.shield(opening)

    def close(self, grace_s: float = 5.0) -> None:
        """Close every connection, the embedded server and the portal. Works from anywhere; may be repeated."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        with self._lock:
            opened, self._opening = self._opening, {}
        for loop, opening in opened.items():
            if not _is_spent(opening) and opening.done():
                _close_in(loop, opening.result(), grace_s, here)
        with self._lock:
            app, self._app = self._app, None
        if app is not None:
            with contextlib.suppress(PerdureError):
                self._server_portal.call(app.result().close())
        self.portal.close()
        self._server_portal.close()

    async def close_async(self, grace_s: float = 5.0) -> None:
        """The same from a running loop, whose own connection is closed in it."""
        with self._lock:
            opening = self._opening.pop(asyncio.get_running_loop(), None)
        if opening is not None and not _is_spent(opening):
            with contextlib.suppress(PerdureError):  # it found no server: there is nothing to close
                await (await asyncio.shield(opening)).close(grace_s)
        await asyncio.to_thread(self.close, grace_s)

    async def _open(self) -> Connection:
        transport, key = await self._transport()
        options = self.options
        api = ApiClient(transport, self.clock, api_key=key, reconnect_s=options.reconnect_timeout)
        return Connection(
            api,
            self.clock,
            concurrency=options.worker_concurrency,
            worker_name=options.worker_name,
            dependencies=options.dependencies,
        )

    async def _transport(self) -> tuple[Transport, str | None]:
        home, environ = self._surroundings()
        if self.options.embedded:
            with self._lock:
                if self._app is None or (self._app.done() and self._app.exception() is not None):
                    data_dir = home_of(self.options.data_dir or home / "embedded", environ)
                    opening = open_embedded(data_dir, environ, self.options.app_options)
                    self._app = asyncio.run_coroutine_threadsafe(opening, self._server_portal.loop())
                future = self._app
            app = await asyncio.wrap_future(future)
            return InProcessTransport(app.asgi, self._server_portal.loop()), app.api_key
        if self._server is None:
            self._server = await self._find(home, environ)
        url, key = self._server
        return HttpTransport(url), key

    def _surroundings(self) -> tuple[Path, Mapping[str, str]]:
        environ = self._environ if self._environ is not None else dict(os.environ)
        return home_of(self.options.home, environ), environ

    async def _find(self, home: Path, environ: Mapping[str, str]) -> tuple[str, str | None]:
        where = candidates(self.options.server_url, home, environ)
        found = await _look(where, self.clock)
        if found.url is None and where.fixed:
            await _health(where.urls[0], self.clock, patience_s=2.0)  # gives the error its reason
            found = Found(where.urls[0])
        if found.url is None:
            if not self.options.auto_start:
                raise ClientError(
                    "E0701",
                    "No server answers",
                    where=" and ".join(where.urls),
                    fix="Start one with `perdure server start`, or use AgentRuntime(embedded=True).",
                )

            async def look_again() -> Found:
                return await _look(candidates(None, home, environ), self.clock)

            if (back := await await_return(home, self.clock, look_again)) is None:
                _log.info("starting a server in the background; its log: %s", home / "server.log")
                back = await ensure_server(home, environ, self.clock, look_again)
            found = Found(back)
        # The key is read last: the server that was just started has made it.
        return str(found.url), api_key_of(self.options.api_key, home, environ)


async def _look(where: Candidates, clock: Clock) -> Found:
    """The first address at which a healthy server answers."""
    stopping = False
    for url in where.urls:
        try:
            status = await _health(url, clock)
        except PerdureError as error:
            if error.code == "E0703":
                raise
            continue
        if status != "stopping":
            return Found(url)
        stopping = True
    return Found(None, stopping)


async def _health(url: str, clock: Clock, *, patience_s: float = 0.0) -> str:
    transport = HttpTransport(url, connect_timeout_s=2.0)
    try:
        return (await ApiClient(transport, clock).health(patience_s=patience_s)).status
    finally:
        await transport.aclose()


def _is_spent(opening: asyncio.Task[Connection]) -> bool:
    """It failed, was cancelled with its loop, or its connection was closed."""
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or not opening.result().is_open


def _close_in(
    loop: asyncio.AbstractEventLoop,
    connection: Connection,
    grace_s: float,
    here: asyncio.AbstractEventLoop | None,
) -> None:
    if loop is here:  # this thread runs the loop and cannot wait for it: it closes as soon as it can
        connection.request_close(grace_s)
    elif loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(connection.close(grace_s), loop)
        with contextlib.suppress(concurrent.futures.CancelledError, TimeoutError):
            closing.result(grace_s + 5.0)
