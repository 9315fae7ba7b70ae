"""The event stream: positions, resuming, deltas, heartbeats, slow readers, the end."""

import asyncio
import json

import pytest

from perdure.core.errors import JournalError
from perdure.server.deps import Settings
from tests.server.harness import API, definition, in_loop, with_tool, world


def _seqs(events):
    return [int(e["id"]) for e in events if "id" in e]


@in_loop
async def test_a_stream_tells_the_whole_journal_and_ends():
    """Stored events come first, then live ones, in order, each with its seq as id, and then the end."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool())
        async with w.door.stream(f"{API}/executions/{execution_id}/stream") as reader:
            first = await reader.next()
            assert reader.status == 200
            assert (first["id"], first["event"]) == ("1", "execution_started")
            task = (await w.poll())["tasks"][0]
            result = {k: task[k] for k in ("execution_id", "step", "epoch", "token")}
            await w.poll(want=0, results=[result | {"result": 1}])
            events = [first, *await reader.rest()]
        stored = (await w.door.get(f"{API}/executions/{execution_id}/events")).json
        assert _seqs(events) == [e["seq"] for e in stored["events"]]
        assert [json.loads(e["data"]) for e in events if "id" in e] == stored["events"]
        assert [e["event"] for e in events if "id" in e] == [e["event"]["kind"] for e in stored["events"]]
        assert (events[-1]["event"], json.loads(events[-1]["data"])) == (
            "end",
            {"last_seq": stored["last_seq"]},
        )
        deltas = [json.loads(e["data"]) for e in events if e["event"] == "delta"]
        assert "".join(d["text"] for d in deltas) == "looked"
        assert {(d["execution_id"], d["part"], d["attempt"]) for d in deltas} == {(execution_id, "text", 1)}
        assert not [e for e in events if e["event"] == "delta" and "id" in e]


@pytest.mark.parametrize("position", [0, 1, 3, 99])
@in_loop
async def test_a_stream_goes_on_after_a_position(position):
    """`Last-Event-ID`, or `after`, gives every later event once; after the last there is only the end."""
    async with world() as w:
        execution_id = await w.start()
        last = (await w.ended(execution_id))["last_seq"]
        target = f"{API}/executions/{execution_id}/stream"
        for query, headers in (
            ("?after=0", {"last-event-id": str(position)}),
            (f"?after={position}", {}),
            (f"?after={position}", {"last-event-id": ""}),
        ):
            async with w.door.stream(target + query, headers) as reader:
                events = await reader.rest()
            assert _seqs(events) == list(range(position + 1, last + 1))
            assert events[-1]["event"] == "end"


@in_loop
async def test_a_resumed_stream_has_no_gap_and_no_duplicate():
    """A reader that reconnects after every single event sees each event once."""
    async with world() as w:
        execution_id = await w.start()
        last = (await w.ended(execution_id))["last_seq"]
        seen: list[int] = []
        while len(seen) < last:
            headers = {"last-event-id": str(seen[-1] if seen else 0)}
            async with w.door.stream(f"{API}/executions/{execution_id}/stream", headers) as reader:
                seen.append(int((await reader.next())["id"]))
        assert seen == list(range(1, last + 1))


@pytest.mark.parametrize("position", ["x", "-1", "1.5", "9" * 30])
@in_loop
async def test_a_wrong_position_is_refused_before_the_stream(position):
    """A position that is no seq, and an unknown execution, are refused with a coded answer, not a stream."""
    async with world() as w:
        execution_id = await w.start()
        target = f"{API}/executions/{execution_id}/stream"
        assert (await w.door.get(target, headers={"last-event-id": position})).code == "E0605"
        assert (await w.door.get(f"{target}?after={position}")).code == "E0605"
        unknown = await w.door.get(f"{API}/executions/x404/stream")
        assert (unknown.status, unknown.code) == (404, "E0401")
        assert unknown.header("content-type") == "application/json"


@in_loop
async def test_stopping_closes_streams_without_an_end():
    """At a stop an open stream is closed at once, without `end`, so that its reader comes back; new ones are refused."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        target = f"{API}/executions/{execution_id}/stream"
        async with w.door.stream(target) as reader:
            assert await reader.next()
            w.service.begin_stop()
            rest = await asyncio.wait_for(reader.rest(), 1)
        assert "end" not in [e["event"] for e in rest]
        assert (await w.door.get(target)).code == "E0610"
        assert w.service.open_streams == 0
        assert w.service.in_flight == 0


@in_loop
async def test_a_silent_stream_is_kept_alive():
    """While nothing happens a comment is sent from time to time."""
    async with world(Settings(heartbeat_s=0.05)) as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        async with w.door.stream(f"{API}/executions/{execution_id}/stream") as reader:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.rest()
            assert len(reader.comments) >= 3


@in_loop
async def test_the_number_of_streams_is_limited():
    """Beyond the limit a stream is refused with 429; closing one makes room."""
    async with world(Settings(max_streams=1)) as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        target = f"{API}/executions/{execution_id}/stream"
        async with w.door.stream(target) as reader:
            await reader.next()
            refused = await w.door.get(target)
            assert (refused.status, refused.code) == (429, "E0615")
            assert "perdure_sse_streams 1.0" in (await w.door.get("/metrics")).body.decode()
        async with w.door.stream(target) as reader:
            assert await reader.next()


@in_loop
async def test_a_reader_that_does_not_read_is_cut_off():
    """A connection that takes nothing is dropped after the write timeout; the engine's reader is let go."""
    async with world(Settings(write_timeout_s=0.05)) as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        scope = w.door.scope("GET", f"{API}/executions/{execution_id}/stream", {}, length=0, key=True)
        dropped = asyncio.Event()
        scope["extensions"] = {"perdure.abort": dropped.set}
        sent: list[dict] = []

        async def receive():
            await dropped.wait()
            return {"type": "http.disconnect"}

        async def stuck(message):
            sent.append(message)
            if len(sent) > 3:
                await asyncio.sleep(60)

        await asyncio.wait_for(w.app(scope, receive, stuck), 2)
        assert dropped.is_set()
        assert len(sent) == 4
        assert w.service.open_streams == 0
        assert w.engine.statistics()["streams"] == 0


class _LosesStorage:
    """Executions whose streams break after the first event."""

    def __init__(self, real) -> None:
        self._real = real

    def __getattr__(self, name: str):
        return getattr(self._real, name)

    async def stream(self, execution_id: str, after: int):
        async for item in self._real.stream(execution_id, after):
            yield item
            raise JournalError("E0506", "gone", where="/var/lib/x.db")


@in_loop
async def test_a_stream_that_breaks_is_closed_without_an_end(caplog):
    """When the journal fails in mid-stream the stream closes, the reader comes back, and the log has the reason."""
    async with world(executions=_LosesStorage) as w:
        execution_id = await w.start()
        await w.ended(execution_id)
        async with w.door.stream(f"{API}/executions/{execution_id}/stream") as reader:
            events = await reader.rest()
        assert [e["event"] for e in events] == ["execution_started"]
        assert "stream_failed" in caplog.text


@in_loop
async def test_many_readers_see_the_same():
    """Fifty readers of one running execution each get all of its events."""
    async with world() as w:
        slow = {"script": [{"text": "a long answer in pieces", "chunks": 8, "chunk_delay_ms": 10}]}
        execution_id = await w.start(definition=definition(model_settings=slow))

        async def read() -> list[int]:
            async with w.door.stream(f"{API}/executions/{execution_id}/stream") as reader:
                return _seqs(await reader.rest())

        seen = await asyncio.gather(*(read() for _ in range(50)))
        last = (await w.ended(execution_id))["last_seq"]
        assert all(s == list(range(1, last + 1)) for s in seen)
