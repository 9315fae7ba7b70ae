"""Listening: the real sockets, what malformed HTTP gets, and patience that ends (S-03, S-26)."""

import asyncio
import contextlib
import json
import socket
import subprocess

import pytest

from perdure.core.errors import ApiError
from perdure.server.deps import Settings
from perdure.server.listen import LONGEST_HEAD, HttpServer, bind, url_of
from tests.server.harness import API, KEY, in_loop, with_tool, world


@contextlib.asynccontextmanager
async def _listening(w):
    """The application on a real port."""
    started = asyncio.Event()
    with bind("127.0.0.1", 0, insecure=False) as opened:
        server = HttpServer(w.app, started.set, w.service.begin_stop)
        task = asyncio.ensure_future(server.serve([opened]))
        await asyncio.wait_for(started.wait(), 5)
        try:
            yield server, opened.getsockname()[1]
        finally:
            server.stop()
            await asyncio.wait_for(task, 10)


async def _talk(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        await writer.drain()
        return await asyncio.wait_for(reader.read(100_000), 5)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _request(method: str, path: str, body: bytes = b"", extra: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n".encode()
    if body:
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return head + extra + b"\r\n" + body


@in_loop
async def test_requests_over_a_real_socket():
    """Requests are answered over a socket, one after another on one connection, with nothing that names the server."""
    async with world() as w, _listening(w) as (_, port):
        answer = await _talk(port, _request("GET", "/health") * 2)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert b"\r\nserver:" not in answer.lower()
        start = json.dumps({"prompt": "hi", "definition": with_tool()}).encode()
        assert b'"created":true' in await _talk(port, _request("POST", f"{API}/executions", start))


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA\0B: c\r\n\r\n",
    ],
)
@in_loop
async def test_what_is_not_http_is_refused_with_a_code(sent):
    """A malformed request gets a coded error and the connection is closed; the server lives on."""
    async with world() as w, _listening(w) as (_, port):
        answer = await _talk(port, sent)
        assert answer.startswith(b"HTTP/1.1 4"), answer
        assert b'"code":"E06' in answer
        assert b"200 OK" in await _talk(port, _request("GET", "/health"))


@in_loop
async def test_a_head_without_end_is_refused():
    """A request head over the limit is refused before it is whole."""
    async with world() as w, _listening(w) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(LONGEST_HEAD // 1_000 + 50):
                writer.write(b"X: " + b"x" * 1_000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(1_000), 5)
            assert b"200 OK" not in answer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert b"200 OK" in await _talk(port, _request("GET", "/health"))


@in_loop
async def test_a_reader_that_stops_reading_holds_nothing():
    """A stream whose reader never reads is cut off after the write timeout, its buffer dropped."""
    async with world(Settings(write_timeout_s=0.2)) as w, _listening(w) as (server, port):
        execution_id = await w.start(prompt="x" * 8_000_000)
        await w.ended(execution_id)
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stuck.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stuck, ("127.0.0.1", port))
            await loop.sock_sendall(stuck, _request("GET", f"{API}/executions/{execution_id}/stream"))
            async with asyncio.timeout(5):
                while not w.service.open_streams:
                    await asyncio.sleep(0.01)
                while w.service.open_streams or server.server_state.connections:
                    await asyncio.sleep(0.01)


@in_loop
async def test_a_stop_is_quick_with_streams_and_polls_open():
    """With a stream, a wait and a poll open, a stop ends within two seconds and answers all of them."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        poll = json.dumps({"worker": "w", "tools": ["helper.other"], "wait_ms": 60_000}).encode()
        async with _listening(w) as (server, port):
            base = f"{API}/executions/{execution_id}"
            open_ones = [
                asyncio.ensure_future(_until_closed(port, request))
                for request in (
                    _request("GET", f"{base}/stream"),
                    _request("GET", f"{base}/wait?timeout_ms=60000"),
                    _request("POST", f"{API}/worker/poll", poll),
                )
            ]
            async with asyncio.timeout(5):
                while w.service.in_flight < 3:
                    await asyncio.sleep(0.01)
            server.stop()
            answers = await asyncio.wait_for(asyncio.gather(*open_ones), 2)
        assert all(a.startswith(b"HTTP/1.1 200") for a in answers)
        assert answers[0].endswith(b"0\r\n\r\n")
        assert b"event: end" not in answers[0]
        assert b'"waiting:approval"' in answers[1]
        assert b'{"tasks":[],"receipts":[]}' in answers[2]


async def _until_closed(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_s03_only_loopback_without_being_told(host):
    """An address that other machines can reach is refused with E0612 before anything is opened."""
    with pytest.raises(ApiError) as caught:
        bind(host, 0, insecure=False)
    assert caught.value.code == "E0612"
    assert "--insecure-bind" in caught.value.fix


def test_s03_the_socket_is_bound_to_loopback_alone():
    """The kernel's list of listening sockets shows 127.0.0.1 and nothing else for the port."""
    with bind("127.0.0.1", 0, insecure=False) as opened:
        port = opened.getsockname()[1]
        try:
            listed = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
        except FileNotFoundError:
            pytest.skip("needs ss")
        found = [line.split()[3] for line in listed.splitlines() if line.split()[3].endswith(f":{port}")]
        assert found == [f"127.0.0.1:{port}"]


def test_a_wider_bind_must_be_meant():
    """Told that it is meant, the server listens on every address, and clients here are still sent to loopback."""
    with bind("0.0.0.0", 0, insecure=True) as opened:
        assert url_of(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}"


def test_a_busy_port_is_named():
    """A port in use is E0614 and says which port, and how to choose another."""
    with bind("127.0.0.1", 0, insecure=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(ApiError) as caught:
            bind("127.0.0.1", port, insecure=False)
    assert caught.value.code == "E0614"
    assert str(port) in caught.value.what
    assert "PERDURE_PORT" in caught.value.fix


@pytest.mark.parametrize("host", ["no-such-host.invalid", ""])
def test_a_host_that_is_not_here(host):
    """A name that does not resolve is E0614, not a traceback."""
    with pytest.raises(ApiError) as caught:
        bind(host, 0, insecure=False)
    assert caught.value.code == "E0614"
