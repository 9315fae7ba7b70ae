"""What the server's tests stand on: the real application over a real engine in memory, and a small ASGI client.

The client speaks bare ASGI messages, so that a test can send what no HTTP library would: two Host headers, a body in
pieces, a reader that never reads.
"""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from perdure.clock import SystemClock
from perdure.compiler import compile_definition, decode_definition, plan_hash
from perdure.core.errors import PerdureError
from perdure.engine.config import EngineConfig
from perdure.engine.engine import Engine
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import Executions, Tasks
from perdure.providers.models import ProviderModels
from perdure.server.app import create_app
from perdure.server.deps import ServerDeps, Settings
from perdure.server.keys import Keys, make_key

API = "/api/v1"
KEY = make_key(bytes(range(32)))
SECRET = b"s" * 32


class Reply(NamedTuple):
    """A whole answer; `headers` as they were sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k == name), None)


class Door:
    """A client of one application."""

    def __init__(self, app: Any, key: str | None = KEY) -> None:
        self.app = app
        self.key = key

    async def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        more_headers: list[tuple[bytes, bytes]] | None = None,
        key: bool = True,
        pieces: list[bytes] | None = None,
    ) -> Reply:
        """Send a request; `body` is sent as JSON unless it is bytes, `pieces` one ASGI message each."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: list[dict[str, Any]] = []
        messages = [{"type": "http.request", "body": p, "more_body": True} for p in pieces or ()]
        messages.append({"type": "http.request", "body": raw, "more_body": False})
        never = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await never.wait()
            return {"type": "http.disconnect"}

        async def collect(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = self.scope(method, target, headers or {}, length=None if pieces else len(raw), key=key)
        scope["headers"] += more_headers or []
        await self.app(scope, receive, collect)
        start = sent[0]
        answer_headers = [(k.decode(), v.decode()) for k, v in start["headers"]]
        return Reply(start["status"], answer_headers, b"".join(m.get("body", b"") for m in sent[1:]))

    def scope(
        self, method: str, target: str, headers: dict[str, str], *, length: int | None, key: bool
    ) -> dict[str, Any]:
        path, _, query = target.partition("?")
        given = {"host": "127.0.0.1:6767"}
        if length:
            given |= {"content-type": "application/json"}
        given |= {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        if length is None:
            given |= {"content-type": "application/json"}
        if key and self.key:
            given["authorization"] = f"Bearer {self.key}"
        given |= {k.lower(): v for k, v in headers.items()}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v is not None],
            "server": ("127.0.0.1", 6767),
            "client": ("127.0.0.1", 50_000),
        }

    async def get(self, target: str, **kw: Any) -> Reply:
        return await self.send("GET", target, **kw)

    async def post(self, target: str, body: Any = None, **kw: Any) -> Reply:
        return await self.send("POST", target, body, **kw)

    @contextlib.asynccontextmanager
    async def stream(
        self, target: str, headers: dict[str, str] | None = None
    ) -> AsyncIterator["StreamReader"]:
        """An open event stream; leaving the block hangs up and waits for the application's end."""
        reader = StreamReader()
        scope = self.scope("GET", target, headers or {}, length=0, key=True)
        task = asyncio.ensure_future(self.app(scope, reader.receive, reader.send))
        try:
            yield reader
        finally:
            reader.hang_up()
            await asyncio.wait_for(task, 5)


class StreamReader:
    """Reads server-sent events out of ASGI messages."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._asked = False
        self._text = ""
        self.status = 0
        self.comments: list[str] = []
        self.closed = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait(message)

    def hang_up(self) -> None:
        self._gone.set()

    async def next(self, timeout_s: float = 5.0) -> dict[str, str] | None:
        """The next event's fields, or None when the stream has been closed."""
        while "\n\n" not in self._text:
            if self.closed:
                return None
            message = await asyncio.wait_for(self._messages.get(), timeout_s)
            if message["type"] == "http.response.start":
                self.status = message["status"]
                continue
            self._text += message["body"].decode()
            self.closed = not message.get("more_body", False)
        block, _, self._text = self._text.partition("\n\n")
        if block.startswith(":"):
            self.comments.append(block)
            return await self.next(timeout_s)
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        return await self.next(timeout_s) if set(fields) == {"retry"} else fields

    async def rest(self) -> list[dict[str, str]]:
        """All events until the stream is closed."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


class World:
    """A running application."""

    def __init__(self, engine: Engine, deps: ServerDeps) -> None:
        self.engine = engine
        self.deps = deps
        self.app = create_app(deps)
        self.service = self.app.state.service
        self.door = Door(self.app)

    async def start(self, **body: Any) -> str:
        """Start an execution; its id."""
        body.setdefault("prompt", "hello")
        if "agent" not in body:
            body.setdefault("definition", definition())
        reply = await self.door.post(f"{API}/executions", body)
        assert reply.status == 200, reply.body
        return str(reply.json["execution_id"])

    async def poll(self, worker: str = "w1", tools: list[str] | None = None, **body: Any) -> Any:
        """Poll as a worker; the decoded answer."""
        given = {"worker": worker, "tools": tools or ["helper.look"], "wait_ms": 5_000, **body}
        reply = await self.door.post(f"{API}/worker/poll", given)
        assert reply.status == 200, reply.body
        return reply.json

    async def ended(self, execution_id: str) -> Any:
        """The execution once it has ended."""
        reply = await self.door.get(f"{API}/executions/{execution_id}/wait?timeout_ms=10000")
        assert reply.status == 200, reply.body
        return reply.json


def definition(**changes: Any) -> dict[str, Any]:
    """An agent without tools that answers at once."""
    answer = [{"text": "done"}]
    return {"name": "helper", "model": "mock/script", "model_settings": {"script": answer}} | changes


def with_tool(*, calls: int = 1, **tool: Any) -> dict[str, Any]:
    """An agent that calls the tool `look` *calls* times in its first turn, and then answers."""
    turn = {"tool_calls": [{"tool": "look", "arguments": {"n": n}} for n in range(calls)]}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return definition(
        tools=[{"name": "look", "input_schema": schema, **tool}],
        model_settings={"script": [turn, {"text": "looked"}]},
    )


@contextlib.asynccontextmanager
async def world(
    settings: Settings | None = None,
    *,
    executions: Callable[[Executions], Executions] = lambda e: e,
    tasks: Callable[[Tasks], Tasks] = lambda t: t,
    fault: PerdureError | None = None,
    counts: Callable[[], Awaitable[dict[str, int]]] | None = None,
) -> AsyncIterator[World]:
    """The application over an engine in memory; *executions* and *tasks* may wrap the engine's doors, *counts* replaces the journal's."""
    clock = SystemClock()
    journal = MemoryJournal()
    models = ProviderModels({}, clock)
    engine = Engine(journal, journal, models, clock, EngineConfig())
    await engine.open()
    deps = ServerDeps(
        executions=executions(engine.executions),
        histories=engine.histories,
        tasks=tasks(engine.tasks),
        catalog=journal,
        models=models,
        compile=compile_definition,
        decode_definition=decode_definition,
        plan_hash=plan_hash,
        clock=clock,
        keys=Keys({"local": KEY}),
        secret=SECRET,
        statistics=engine.statistics,
        counts=counts or journal.counts,
        fault=lambda: fault,
        settings=settings or Settings(),
    )
    opened = World(engine, deps)
    try:
        yield opened
    finally:
        opened.service.begin_stop()
        await engine.close()


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def inside() -> None:
            await test(*args, **kwargs)

        asyncio.run(inside())

    return run
