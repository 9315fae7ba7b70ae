"""The in-process transport: streams as it is sent, hangs up, and tells of failures, in one loop and over two."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.client.inprocess import WINDOW, InProcessTransport
from perdure.client.portal import Portal
from perdure.client.transport import ConnectionLostError

State = dict[str, Any]


def application(state: State) -> Any:
    """Echoes, counts for ever, fails, or never answers, by path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        state["scope"] = scope
        start = {"type": "http.response.start", "status": 201, "headers": [(b"X-Kind", b"test")]}
        match scope["path"]:
            case "/echo":
                body = (await receive())["body"]
                await send(start)
                await send({"type": "http.response.body", "body": body, "more_body": False})
            case "/count":
                await send(start)
                try:
                    while True:
                        state["sent"] = state.get("sent", 0) + 1
                        await send(
                            {"type": "http.response.body", "body": b"%d" % state["sent"], "more_body": True}
                        )
                except OSError:
                    state["hung up"] = True
            case "/wait":
                await send(start)
                await send({"type": "http.response.body", "body": b"first", "more_body": True})
                await receive()
                state["told"] = await receive()
            case "/fails":
                raise RuntimeError("broken")
            case "/breaks":
                await send(start)
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                raise RuntimeError("broken")
            case "/silent":
                await asyncio.sleep(60)

    return app


@pytest.fixture(params=["same loop", "other loop"])
def other(request: pytest.FixtureRequest) -> Iterator[Portal | None]:
    """The application's loop: the test's own, or that of a portal."""
    if request.param == "same loop":
        yield None
        return
    portal = Portal()
    yield portal
    portal.close()


def transport(other: Portal | None, state: State) -> InProcessTransport:
    """A transport to the application."""
    return InProcessTransport(application(state), other.loop() if other else asyncio.get_running_loop())


async def until(state: State, key: str) -> Any:
    """Wait until the application has noted something."""
    async with asyncio.timeout(5):
        while key not in state:
            await asyncio.sleep(0.005)
    return state[key]


async def test_a_request_reaches_the_application_whole(other: Portal | None):
    """Method, path, query, headers and body arrive as from a server; the answer comes back."""
    state: State = {}
    reply = await transport(other, state).request("POST", "/echo?a=1", {"X-A": "b"}, b"body", 5)
    assert (reply.status, reply.headers["x-kind"], reply.body) == (201, "test", b"body")
    scope = state["scope"]
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/echo", b"a=1")
    assert (b"x-a", b"b") in scope["headers"]
    assert (b"content-length", b"4") in scope["headers"]


async def test_a_body_streams_as_it_is_sent_and_waits_for_its_reader(other: Portal | None):
    """Pieces arrive before the end; an endless body is sent a window ahead of its reader; leaving hangs up."""
    state: State = {}
    async with transport(other, state).stream("GET", "/count", {}, 5) as reply:
        first = [chunk async for _, chunk in _take(reply.chunks, 3)]
        await asyncio.sleep(0.05)
        assert first == [b"1", b"2", b"3"]
        assert state["sent"] <= WINDOW + 5
    assert await until(state, "hung up") is True


async def _take(chunks: Any, count: int) -> Any:
    taken = 0
    async for chunk in chunks:
        taken += 1
        yield taken, chunk
        if taken == count:
            return


async def test_leaving_disconnects(other: Portal | None):
    """An application that waits for its reader receives http.disconnect."""
    state: State = {}
    async with transport(other, state).stream("GET", "/wait", {}, 5) as reply:
        assert await anext(reply.chunks) == b"first"
    assert (await until(state, "told"))["type"] == "http.disconnect"


@pytest.mark.parametrize("path", ["/fails", "/breaks", "/silent"])
async def test_a_failing_application_is_a_lost_connection(other: Portal | None, path: str):
    """An exception, half an answer and silence are told as a server's crash would be."""
    with pytest.raises(ConnectionLostError):
        await transport(other, {}).request("GET", path, {}, b"", 0.2)


async def test_two_requests_at_once_do_not_mix(other: Portal | None):
    """Each request gets its own answer."""
    state: State = {}
    carrier = transport(other, state)
    bodies = [b"%d" % n for n in range(50)]
    replies = await asyncio.gather(*(carrier.request("POST", "/echo", {}, body, 5) for body in bodies))
    assert [r.body for r in replies] == bodies


async def test_a_blocked_caller_does_not_block_the_application():
    """The application goes on in its own loop while the caller's is blocked."""
    portal, state = Portal(), {}
    with contextlib.closing(portal):
        carrier = InProcessTransport(application(state), portal.loop())
        async with carrier.stream("GET", "/count", {}, 5) as reply:
            assert await anext(reply.chunks) == b"1"
            threading.Event().wait(0.05)
            assert state["sent"] > WINDOW / 2
