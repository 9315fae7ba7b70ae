"""The in-process transport: hands HTTP messages to an ASGI application, and streams its answers.

The embedded mode speaks the same wire protocol as the network, through this. The application runs in its own
event loop (the background thread's), the caller in any other or the same; the two sides talk through
`call_soon_threadsafe`, so that a tool that blocks its loop does not stop the server's heart.

A body is handed over in pieces as the application sends them, at most `WINDOW` ahead of the reader. When the
reader leaves early, the application receives `http.disconnect`, as from a server.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from perdure.client.transport import ConnectionLostError, Reply, StreamReply

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

WINDOW = 64  # pieces of a body that may wait for a slow reader


class InProcessTransport:
    """Carries requests to *app*, which runs in *loop*."""

    def __init__(self, app: AsgiApp, loop: asyncio.AbstractEventLoop, *, host: str = "localhost") -> None:
        self._app = app
        self._loop = loop
        self._host = host

    @property
    def address(self) -> str:
        """A name for people; nothing listens there."""
        return f"http://{self._host} (in process)"

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        """Send a request and read the whole answer."""
        exchange = _Exchange(self._app, self._loop, self._scope(method, target, headers, body), body)
        try:
            async with asyncio.timeout(timeout_s):
                status, answer_headers = await exchange.start()
                whole = b"".join([chunk async for chunk in exchange.chunks()])
        except TimeoutError as error:
            raise ConnectionLostError(f"no answer within {timeout_s:g} s") from error
        finally:
            exchange.hang_up()
        return Reply(status, answer_headers, whole)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, target: str, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[StreamReply]:
        """Send a request and read its answer as it comes. Silence is no loss in process: no time limit."""
        del timeout_s
        exchange = _Exchange(self._app, self._loop, self._scope(method, target, headers, b""), b"")
        try:
            status, answer_headers = await exchange.start()
            yield StreamReply(status, answer_headers, exchange.chunks())
        finally:
            exchange.hang_up()

    def twin(self) -> "InProcessTransport":
        """Itself: it belongs to no loop but the application's."""
        return self

    async def aclose(self) -> None:
        """Nothing is open between requests."""

    def _scope(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        path, _, query = target.partition("?")
        raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        raw += [(b"host", self._host.encode()), (b"content-length", str(len(body)).encode())]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": raw,
            "server": (self._host, 80),
            "client": ("127.0.0.1", 0),
        }


class _Exchange:
    """One request and its answer, between the application's loop and the caller's."""

    def __init__(
        self, app: AsgiApp, loop: asyncio.AbstractEventLoop, scope: dict[str, Any], body: bytes
    ) -> None:
        self._app, self._app_loop, self._scope, self._body = app, loop, scope, body
        self._loop = asyncio.get_running_loop()
        # The answer's messages in order, then None (whole) or the exception that ended the application.
        self._answer: asyncio.Queue[Message | BaseException | None] = asyncio.Queue()
        self._window = asyncio.Semaphore(WINDOW)  # of the application's loop
        self._hung_up = asyncio.Event()  # of the application's loop
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> tuple[int, dict[str, str]]:
        """Run the application; return status and headers once it sends them."""
        self._to_app(self._spawn)
        message = await self._next()
        if message is None or message["type"] != "http.response.start":
            raise ConnectionLostError("the application ended without an answer")
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", ())}
        return message["status"], headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's pieces as they are sent."""
        while (message := await self._next()) is not None:
            self._to_app(self._window.release)
            if body := message.get("body"):
                yield bytes(body)
            if not message.get("more_body"):
                return

    def hang_up(self) -> None:
        """Tell the application that nobody reads any more."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: the application is gone already
            self._to_app(self._stop)

    async def _next(self) -> Message | None:
        message = await self._answer.get()
        if isinstance(message, BaseException):
            raise ConnectionLostError(f"the application failed: {message!r}") from message
        return message

    def _to_app(self, function: Callable[[], Any]) -> None:
        if self._loop is self._app_loop:
            function()
        else:
            self._app_loop.call_soon_threadsafe(function)

    def _to_caller(self, message: Message | BaseException | None) -> None:
        if self._loop is self._app_loop:
            self._answer.put_nowait(message)
        else:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody reads
                self._loop.call_soon_threadsafe(self._answer.put_nowait, message)

    def _stop(self) -> None:
        self._hung_up.set()
        self._window.release()  # wakes an application that waits for the reader

    def _spawn(self) -> None:
        self._task = self._app_loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - a named boundary: the application's failure is the caller's loss
            self._to_caller(error)
        except asyncio.CancelledError as error:
            self._to_caller(error)
            raise
        else:
            self._to_caller(None)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self._window.acquire()
        if self._hung_up.is_set():
            raise OSError("the reader has hung up")
        self._to_caller(message)
