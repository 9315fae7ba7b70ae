"""The client's stream in front of servers that die: what a reader gets is whole, in order and once."""

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from perdure.client.api import ApiClient
from perdure.client.inprocess import InProcessTransport
from perdure.clock import SystemClock
from perdure.core.errors import ClientError, ExecutionError
from perdure.wire.types import DeltaRecord, EventRecord
from tests.worker.fakes import Wire

Piece = bytes | float  # bytes to send, or seconds to wait


def event(seq: int, kind: str = "model_requested") -> bytes:
    """An event of the stream."""
    data = msgspec.json.encode(EventRecord("x1", seq, 0, {"kind": kind}))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, kind.encode(), data)


def delta(text: str, offset: int, attempt: int = 1) -> bytes:
    """A piece of an answer."""
    data = msgspec.json.encode(DeltaRecord("x1", "t1", attempt, "text", offset, text))
    return b"event: delta\ndata: %s\n\n" % data


END = event(4, "execution_completed") + b"event: end\ndata: {}\n\n"


class Connections:
    """Answers the n-th connection with the n-th list of pieces, then breaks it off; notes what was asked for."""

    def __init__(self, *connections: list[Piece] | int) -> None:
        self.connections = list(connections)
        self.asked: list[str] = []
        self.app = Starlette(routes=[Route("/api/v1/executions/x1/stream", self.answer)])

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.headers["last-event-id"])
        assert request.query_params["after"] == request.headers["last-event-id"]
        pieces = self.connections.pop(0)
        if isinstance(pieces, int):
            error = {"code": {404: "E0401", 503: "E0610"}[pieces], "what": "no"}
            return Response(msgspec.json.encode({"error": error}), pieces)

        async def body() -> Any:
            for piece in pieces:
                if isinstance(piece, bytes):
                    yield piece
                else:
                    await asyncio.sleep(piece)

        return StreamingResponse(body())


def client(app: Any, **options: Any) -> tuple[ApiClient, Wire]:
    """A client of an application, and the wire between them."""
    wire = Wire(InProcessTransport(app, asyncio.get_running_loop()))
    return ApiClient(wire, SystemClock(), **options), wire


async def read(api: ApiClient, after: int = 0) -> list[Any]:
    """What a reader gets: positions, and pieces with their attempts."""
    return [
        r.seq if isinstance(r, EventRecord) else (r.attempt, r.text) async for r in api.stream("x1", after)
    ]


async def test_a_stream_goes_on_where_it_was_cut():
    """After a break it asks for what follows the last position; repeated events and pieces are not given again."""
    server = Connections(
        [event(1), event(2), delta("Hel", 0)],
        503,
        [event(2), event(3), delta("Hello", 0)],
        [delta("Hello w", 0), END],
    )
    api, _ = client(server.app)
    assert await read(api) == [1, 2, (1, "Hel"), 3, (1, "lo"), (1, " w"), 4]
    assert server.asked == ["0", "2", "2", "3"]


async def test_a_cut_in_mid_event_loses_nothing():
    """Half an event counts for nothing and is sent again."""
    server = Connections([event(1) + event(2)[:20]], [event(2), event(3), END])
    api, _ = client(server.app)
    assert await read(api) == [1, 2, 3, 4]
    assert server.asked == ["0", "1"]


async def test_a_connection_that_dies_is_opened_again():
    """A connection that is dropped in mid-stream, and a server that is away for a while, are bridged."""
    server = Connections([event(1), event(2), 60.0], [event(3), END])
    api, wire = client(server.app)
    reading = asyncio.ensure_future(read(api))
    while len(server.asked) < 1:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    wire.down = True
    wire.cut()
    await asyncio.sleep(0.2)
    wire.down = False
    assert await reading == [1, 2, 3, 4]


async def test_a_new_attempt_begins_anew():
    """The server died in mid-answer: the pieces of the new attempt follow from its beginning."""
    server = Connections(
        [event(1), delta("He", 0)], [event(2, "model_lost"), delta("Ho", 0, 2), event(3), END]
    )
    api, _ = client(server.app)
    assert await read(api) == [1, (1, "He"), 2, (2, "Ho"), 3, 4]


async def test_a_skipped_position_is_asked_for_again():
    """A gap is never passed on."""
    server = Connections([event(1), event(3)], [event(2), event(3), END])
    api, _ = client(server.app)
    assert await read(api) == [1, 2, 3, 4]
    assert server.asked == ["0", "1"]


async def test_a_stream_of_what_is_over_ends():
    """Reading from a later position gives the rest; from the last one nothing, and ends."""
    server = Connections([END], [b"event: end\ndata: {}\n\n"])
    api, _ = client(server.app)
    assert await read(api, 3) == [4]
    assert await read(api, 4) == []


async def test_an_unknown_execution_is_an_error_at_once():
    """Only lost connections are bridged."""
    api, _ = client(Connections(404).app)
    with pytest.raises(ExecutionError) as caught:
        await read(api)
    assert caught.value.code == "E0401"


async def test_a_server_that_stays_away_is_an_error():
    """E0701 after the time that was set."""
    api, wire = client(Connections().app, reconnect_s=0.2)
    wire.down = True
    with pytest.raises(ClientError) as caught:
        await read(api)
    assert caught.value.code == "E0701"


async def test_leaving_the_loop_hangs_up():
    """A reader that leaves closes its connection."""
    server = Connections([event(1), event(2), 60.0])
    api, _ = client(server.app)
    records = api.stream("x1")
    assert (await anext(records)).seq == 1  # type: ignore[union-attr]
    await records.aclose()
    tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    _, pending = await asyncio.wait(tasks, timeout=2) if tasks else ((), ())
    assert not pending
