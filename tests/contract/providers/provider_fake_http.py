"""A fake HTTP server on loopback that answers with exact bytes, whole or cut off, and keeps what it was sent.

It is written on bare sockets because the point of half the tests is an answer that no honest server framework would
send: half an SSE frame, a stream without its end, a connection closed in mid-chunk.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Received:
    """One request, as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to send back: `pieces` are sent as chunks; `cut` closes the connection without the end of the body."""

    pieces: list[bytes]
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0


Responder = Callable[[Received], Answer]


class FakeServer:
    """Serves the answers it was given, in order; the last one again and again."""

    def __init__(self, *answers: Answer | Responder) -> None:
        self.answers: list[Answer | Responder] = list(answers)
        self.received: list[Received] = []
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()
            self._serving.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await _read(reader)
            self.received.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await _write(writer, answer if isinstance(answer, Answer) else answer(request))


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _version = head[0].split(" ", 2)
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    await asyncio.sleep(answer.delay)
    lines = [
        f"HTTP/1.1 {answer.status} Whatever",
        f"content-type: {answer.content_type}",
        "connection: close",
    ]
    lines += ["transfer-encoding: chunked", *(f"{k}: {v}" for k, v in answer.headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    for piece in answer.pieces:
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
    if not answer.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
