"""The worker's loops in front of a small server: what goes in, when, and what happens when something is lost."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from perdure.agents.context import ToolContext
from perdure.agents.tools import ToolDef, tool
from perdure.client.inprocess import InProcessTransport
from perdure.client.portal import Portal
from perdure.clock import SystemClock
from perdure.worker.worker import Worker
from tests.worker.fakes import FakeServer, Wire, client, task


@tool
def double(n: int) -> int:
    """Doubles."""
    return n * 2


@tool
async def triple(n: int) -> int:
    """Triples."""
    await asyncio.sleep(0)
    return n * 3


def queues(*tools: ToolDef[..., Any]) -> dict[str, ToolDef[..., Any]]:
    """The tools by queue name."""
    return {f"a.{t.name}": t for t in tools}


@contextlib.asynccontextmanager
async def working(
    server: FakeServer, *tools: ToolDef[..., Any], wire: Wire | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """A worker at work; stopped at once in the end."""
    worker = Worker(client(wire or server.transport()), queues(*tools), SystemClock(), **options)
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop(grace_s=0)


async def test_sync_and_async_functions_run_and_are_handed_in():
    """Results of both kinds of functions come back with the ids and the token of their tasks."""
    server = FakeServer()
    server.give(task("double", 1, arguments={"n": 4}), task("triple", 2, arguments={"n": 4}, token="other"))
    async with working(server, double, triple):
        await server.until(lambda: len(server.results) == 2)
    found = {r.execution_id: (r.result, r.token, r.epoch, r.error) for r in server.results}
    assert found == {"x1": (8, "token", 1, None), "x2": (12, "other", 1, None)}


async def test_a_hundred_tasks_take_few_round_trips():
    """Tasks are fetched and results are handed in many at a time."""
    server = FakeServer()
    server.give(*(task("triple", n, arguments={"n": n}) for n in range(200)))
    async with working(server, triple, concurrency=64):
        await server.until(lambda: len(server.results) == 200)
    assert sorted(r.result for r in server.results) == [3 * n for n in range(200)]
    assert len(server.polls) < 40
    assert max(len(p.results) for p in server.polls) <= 64


async def test_an_idle_long_poll_delays_no_result():
    """A result is handed in at once while another request waits for tasks."""
    server = FakeServer()
    async with working(server, double):
        await server.until(lambda: server.open_polls == 1)
        server.give(task("double", arguments={"n": 1}))
        began = time.monotonic()
        await server.until(lambda: len(server.results) == 1)
        assert time.monotonic() - began < 1.0


async def test_no_more_than_concurrency_run_at_once():
    """Neither the long poll nor the reports fetch more than there is room for."""
    running = [0, 0]

    @tool
    async def busy() -> None:
        """Is busy."""
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.02)
        running[0] -= 1

    server = FakeServer()
    server.give(*(task("busy", n) for n in range(20)))
    async with working(server, busy, concurrency=3):
        await server.until(lambda: len(server.results) == 20)
    assert running[1] == 3
    assert max(p.want for p in server.polls) <= 3


async def test_slow_work_keeps_its_lease():
    """Heartbeats for everything in hand come at a third of the lease, for a thread too."""
    release = threading.Event()

    @tool
    def slow() -> str:
        """Is slow."""
        release.wait(5)
        return "done"

    server = FakeServer()
    server.give(task("slow", lease_ms=300))
    async with working(server, slow):
        await server.until(lambda: len(server.beats) >= 3)
        release.set()
        await server.until(lambda: len(server.results) == 1)
    assert {(lease.execution_id, lease.epoch) for b in server.beats for lease in b.leases} == {("x1", 1)}


def test_a_blocked_loop_keeps_its_leases():
    """An asynchronous tool that blocks the worker's loop for longer than its lease does not lose it."""
    with contextlib.closing(Portal("elsewhere")) as portal:
        server = FakeServer()

        @tool
        async def blocks() -> str:
            """Blocks the loop."""
            time.sleep(0.8)
            return "done"

        server.give(task("blocks", lease_ms=300))

        async def work() -> None:
            worker = Worker(
                client(InProcessTransport(server.app, portal.loop())), queues(blocks), SystemClock()
            )
            worker.start()
            while not server.results:
                await asyncio.sleep(0.01)
            await worker.stop()

        asyncio.run(work())
        assert len(server.beats) >= 3


async def test_a_lost_lease_stops_the_work_and_drops_it():
    """A coroutine is cancelled, a thread is told by its context, and neither result is handed in."""
    seen: dict[str, Any] = {}
    release = threading.Event()

    @tool
    async def waits() -> None:
        """Waits for ever."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen["cancelled"] = True
            raise

    @tool
    def looks(context: ToolContext) -> None:
        """Looks whether it is still wanted."""
        seen["told"] = context.cancelled.wait(5)
        release.set()

    server = FakeServer()
    server.held = lambda _: False
    server.give(task("waits", 1, lease_ms=150), task("looks", 2, lease_ms=150))
    async with working(server, waits, looks) as worker:
        await server.until(lambda: seen.get("cancelled", False) and release.is_set())
        assert seen["told"] is True
        report = await worker.stop()
    assert (report.dropped, report.recorded, report.abandoned) == (2, 0, 0)
    assert server.results == []


async def test_a_result_that_comes_too_late_is_dropped():
    """E0307 is the server's last word about a result."""
    server = FakeServer()
    server.receipts = lambda _: {"code": "E0307", "what": "stale"}
    server.give(task("double", arguments={"n": 1}))
    async with working(server, double) as worker:
        await server.until(lambda: any(p.results for p in server.polls))
        report = await worker.stop()
    assert (report.dropped, report.abandoned) == (1, 0)
    assert sum(len(p.results) for p in server.polls) == 1


async def test_a_result_is_kept_while_the_server_cannot_record_it():
    """A receipt that tells of storage trouble is no answer: the result is handed in again."""
    refusals = [{"code": "E0506", "what": "storage"}, {"code": "E0506", "what": "storage"}]
    server = FakeServer()
    server.receipts = lambda _: refusals.pop() if refusals else None
    server.give(task("double", arguments={"n": 21}))
    async with working(server, double):
        await server.until(lambda: len(server.results) == 1)
    assert server.results[0].result == 42
    assert sum(len(p.results) for p in server.polls) == 3


async def test_a_result_outlives_a_restart_of_the_server():
    """While nothing answers, results wait; their leases are asked for when it is back; then they are recorded."""
    server = FakeServer()
    wire = Wire(server.transport())
    began = asyncio.Event()
    release = asyncio.Event()

    @tool
    async def work() -> str:
        """Works while the server is away."""
        began.set()
        await release.wait()
        return "precious"

    server.give(task("work", lease_ms=300))
    async with working(server, work, wire=wire):
        await began.wait()
        wire.down = True
        wire.cut()
        release.set()
        await asyncio.sleep(0.3)
        assert server.results == []
        beats = len(server.beats)
        wire.down = False
        await server.until(lambda: len(server.results) == 1)
        assert server.results[0].result == "precious"
        server.give(task("work", 2))
        await server.until(lambda: len(server.results) == 2)
    assert len(server.beats) >= beats


async def test_a_lost_answer_hands_the_result_in_again():
    """When it is not known whether the server has the result, it is sent a second time; the server drops one."""
    server = FakeServer()
    wire = Wire(server.transport())

    @tool
    async def work() -> str:
        """Loses the answer to its result."""
        wire.lose_next_reply = True
        return "twice"

    server.give(task("work"))
    async with working(server, work, wire=wire):
        await server.until(lambda: len(server.results) == 2)
    assert [r.result for r in server.results] == ["twice", "twice"]


async def test_one_bad_result_does_not_spoil_a_batch():
    """When the server refuses a whole request, its results go one by one, and the bad one becomes an error."""
    bad = {"code": "E0611", "what": "bad text", "status": 400}
    server = FakeServer()
    server.refuse = lambda body: bad if any(r.result == "bad" for r in body.results) else None
    gate = asyncio.Event()

    @tool
    async def say(word: str) -> str:
        """Says a word."""
        await gate.wait()
        return word

    server.give(*(task("say", n, arguments={"word": w}) for n, w in enumerate(["good", "bad", "fine"])))
    async with working(server, say):
        await server.until(lambda: not server.tasks)
        gate.set()
        await server.until(lambda: len(server.results) == 3)
    found = {r.execution_id: (r.result, (r.error or {}).get("code")) for r in server.results}
    assert found == {"x0": ("good", None), "x1": (None, "E0611"), "x2": ("fine", None)}


async def test_tools_that_are_added_are_served_at_once():
    """A new tool is not delayed by the long poll that began without it."""
    server = FakeServer()
    async with working(server, double) as worker:
        await server.until(lambda: server.open_polls == 1)
        worker.serve(queues(triple))
        server.give(task("triple", 1, arguments={"n": 1}), task("double", 2, arguments={"n": 1}))
        await server.until(lambda: len(server.results) == 2, timeout_s=2.0)
    assert server.polls[-1].tools == ["a.double", "a.triple"]


async def test_a_graceful_stop_finishes_what_is_in_hand():
    """No task is taken any more; those in hand end, and their results are handed in."""
    began = asyncio.Event()

    @tool
    async def work() -> str:
        """Takes a while."""
        began.set()
        await asyncio.sleep(0.2)
        return "done"

    server = FakeServer()
    server.give(task("work", 1))
    async with working(server, work, concurrency=1) as worker:
        await began.wait()
        stopping = asyncio.ensure_future(worker.stop(grace_s=5))
        await asyncio.sleep(0.05)
        server.give(task("work", 2))
        report = await stopping
    assert (report.recorded, report.abandoned) == (1, 0)
    assert [t.execution_id for t in server.tasks] == ["x2"]
    assert server.open_polls == 0


async def test_a_stop_ends_with_its_grace():
    """What does not end in time is left to other workers, and counted."""

    @tool
    async def work() -> None:
        """Never ends."""
        await asyncio.sleep(60)

    server = FakeServer()
    server.give(task("work"))
    async with working(server, work) as worker:
        await server.until(lambda: not server.tasks)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        report = await worker.stop(grace_s=0.2)
        assert time.monotonic() - began < 2
    assert report.abandoned == 1
    assert server.results == []


async def test_run_ends_with_stop_and_stops_with_cancel():
    """`run` returns after `stop`, and stops the worker when it is cancelled."""
    server = FakeServer()
    for end_by_cancel in (False, True):
        worker = Worker(client(server.transport()), queues(double), SystemClock())
        running = asyncio.ensure_future(worker.run())
        await server.until(lambda: server.open_polls == 1)
        if end_by_cancel:
            running.cancel()
        else:
            await worker.stop()
        await asyncio.wait([running], timeout=5)
        assert running.cancelled() is end_by_cancel
        await server.until(lambda: server.open_polls == 0)
