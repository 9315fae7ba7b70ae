"""HTTP over a real socket: every way in which an answer may come, or not come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from perdure.client.transport import ConnectionLostError, HttpTransport, Transport

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
HIGH_WATER = 1024 * 1024  # bytes
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """A server that answers each request by a function; notes requests and connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.answer(self.requests[-1], writer)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def peer(answer: Answer | bytes) -> AsyncIterator[Peer]:
    """A running peer; fixed bytes answer every request."""

    async def same(_: bytes, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)

    found = Peer(same if isinstance(answer, bytes) else answer)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield found
        server.close()
        for writer in found.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def carrier(url: str) -> AsyncIterator[HttpTransport]:
    """A transport, closed in the end."""
    transport = HttpTransport(url)
    try:
        yield transport
    finally:
        await transport.aclose()
        await asyncio.sleep(0.01)


async def test_a_request_arrives_and_its_answer_comes_back():
    """Method, target, headers and body arrive; status, headers and body come back; the connection is used again."""
    answer = b"HTTP/1.1 404 Not Found\r\nX-Kind: A\r\ncontent-length: 3\r\n\r\nabc"
    async with peer(answer) as server:
        transport: Transport = HttpTransport(server.url + "/under")
        for _ in range(3):
            reply = await transport.request("POST", "/path?q=1", {"x-own": "1"}, b"{}", 5)
        assert (reply.status, reply.headers["x-kind"], reply.body) == (404, "A", b"abc")
        assert server.requests[-1].startswith(b"POST /under/path?q=1 HTTP/1.1\r\n")
        assert b"\r\nx-own: 1\r\n" in server.requests[-1].lower()
        assert server.requests[-1].endswith(b"\r\n\r\n{}")
        assert server.connections == 1
        await transport.aclose()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n" + OK,
    ],
    ids=["length", "chunked", "continue", "hints"],
)
async def test_every_form_of_a_body(answer: bytes):
    """The body is the same however it is framed, and however the bytes are cut."""

    async def in_pieces(_: bytes, writer: asyncio.StreamWriter) -> None:
        for n in range(0, len(answer), 7):
            writer.write(answer[n : n + 7])
            await writer.drain()
            await asyncio.sleep(0.001)

    async with peer(in_pieces) as server, carrier(server.url) as transport:
        for _ in range(2):
            reply = await transport.request("GET", "/", {}, b"", 5)
            assert (reply.status, reply.body, "x-early" in reply.headers) == (200, b"ok", False)
        assert server.connections == 1


async def test_an_answer_without_a_length_ends_with_its_connection():
    """The older way to end a body is understood."""

    async def close(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    async with peer(close) as server, carrier(server.url) as transport:
        assert (await transport.request("GET", "/", {}, b"", 5)).body == b"all of it"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "not completed"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "not completed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "Bad status line"),
    ],
    ids=["nothing", "half", "half chunk", "not HTTP"],
)
async def test_what_is_no_whole_answer_is_a_lost_connection(answer: bytes, why: str):
    """A server that dies in its answer, or is none, never gives half an answer."""

    async def die(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with peer(die) as server, carrier(server.url) as transport:
        with pytest.raises(ConnectionLostError, match=why) as caught:
            await transport.request("GET", "/", {}, b"", 5)
        assert not caught.value.refused


async def test_a_kept_connection_that_the_server_closed_is_replaced():
    """An idle connection that ends as it is used costs nothing but a new one."""

    async def once(_: bytes, writer: asyncio.StreamWriter) -> None:
        if server.connections == 1 and len(server.requests) == 2:
            writer.transport.abort()  # says that it is kept, and is gone when it is used
            return
        writer.write(OK)

    async with peer(once) as server, carrier(server.url) as transport:
        for _ in range(3):
            assert (await transport.request("GET", "/", {}, b"", 5)).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 4)


async def test_connection_close_is_obeyed():
    """A connection that the server will close is not kept."""
    answer = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with peer(answer) as server, carrier(server.url) as transport:
        for _ in range(2):
            await transport.request("GET", "/", {}, b"", 5)
        assert server.connections == 2


async def test_silence_and_refusal_are_told_apart():
    """A server that says nothing is lost after the time; where nothing listens the request was certainly not seen."""

    async def silent(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    async with peer(silent) as server, carrier(server.url) as transport:
        with pytest.raises(ConnectionLostError, match=r"[Tt]imeout") as caught:
            await transport.request("GET", "/", {}, b"", 0.1)
        assert not caught.value.refused
        assert len(server.requests) == 1
    async with carrier(server.url) as transport:
        with pytest.raises(ConnectionLostError) as caught:
            await transport.request("GET", "/", {}, b"", 5)
        assert caught.value.refused
        assert caught.value.why == "Connection refused"


async def test_a_cancelled_request_leaves_nothing_behind():
    """The connection of a cancelled request is not used for another one."""

    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in request:
            await asyncio.sleep(0.2)
        writer.write(OK.replace(b"ok", b"no" if b"/slow" in request else b"ok"))

    async with peer(slow) as server, carrier(server.url) as transport:
        doing = asyncio.ensure_future(transport.request("GET", "/slow", {}, b"", 5))
        await asyncio.sleep(0.05)
        doing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doing
        assert (await transport.request("GET", "/", {}, b"", 5)).body == b"ok"


async def test_large_bodies_both_ways():
    """Megabytes pass in both directions."""
    body = b"0123456789abcdef" * 400_000

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent = request.partition(b"\r\n\r\n")[2]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(sent) + sent)

    async with peer(echo) as server, carrier(server.url) as transport:
        assert (await transport.request("POST", "/", {}, body, 20)).body == body


async def test_a_slow_reader_makes_the_server_wait():
    """A stream's body does not pile up here: the server can send only so far ahead."""
    sent = 0

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with peer(endless) as server, carrier(server.url) as transport:
        read = 0
        async with transport.stream("GET", "/", {}, 5) as reply:
            read += len(await anext(reply.chunks))
            await asyncio.sleep(0.3)
            before = sent
            await asyncio.sleep(0.2)
            assert sent == before
            async for chunk in reply.chunks:
                read += len(chunk)
                if read > 32 * HIGH_WATER:
                    break
        assert sent > before


async def test_a_header_cannot_bring_another():
    """A line break in a header or a target is refused, before anything is sent."""
    async with peer(OK) as server, carrier(server.url) as transport:
        for target, headers in (("/", {"a": "b\r\nc: d"}), ("/ HTTP/1.1\r\nx: y", {})):
            with pytest.raises(ValueError, match=r"header injection|line break"):
                await transport.request("GET", target, headers, b"", 5)
        assert server.requests == []


async def test_an_address_that_is_none_is_refused():
    """A port out of range is told as an address where nothing can answer."""
    async with carrier("http://127.0.0.1:99999") as transport:
        with pytest.raises(ConnectionLostError, match="no address") as caught:
            await transport.request("GET", "/", {}, b"", 5)
    assert caught.value.refused


async def test_many_at_once():
    """Two hundred requests at the same time get their own answers."""

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        number = request.split(b" ", 2)[1][1:]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(number) + number)

    async with peer(echo) as server, carrier(server.url) as transport:
        replies = await asyncio.gather(*(transport.request("GET", f"/{n}", {}, b"", 10) for n in range(200)))
        assert [r.body for r in replies] == [b"%d" % n for n in range(200)]
