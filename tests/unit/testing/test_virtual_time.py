"""Virtual time: the loop, the clock, threads and processes."""

import asyncio
import random
import socket
import time

import pytest

from perdure.testing import VirtualClock
from perdure.testing.virtual import DeadlockError, GoneError, Process, StandstillThreads, VirtualLoop


def test_hours_cost_nothing():
    """Sleeping moves the clock on, wall time and monotonic time alike."""
    began = time.monotonic()
    with VirtualClock() as clock:
        before = clock.now_ms(), clock.monotonic()
        clock.run(asyncio.sleep(3_600))
        assert clock.now_ms() - before[0] == 3_600_000
        assert clock.monotonic() - before[1] == 3_600
    assert time.monotonic() - began < 5


def test_random_numbers_are_the_same_each_time():
    """Two clocks draw the same; one that is given a generator draws from it."""
    draws = []
    for rng in (None, None, random.Random(1), random.Random(1)):
        with VirtualClock(rng=rng) as clock:
            draws.append((clock.random_bytes(40), clock.random_unit(), clock.random_unit()))
    assert draws[0] == draws[1] != draws[2] == draws[3]
    assert len(draws[0][0]) == 40
    assert all(0 <= unit < 1 for _, *units in draws for unit in units)


def test_nothing_to_wait_for_is_a_deadlock():
    """A loop that would wait for ever says so."""
    loop = VirtualLoop()
    with pytest.raises(DeadlockError):
        loop.run_until_complete(loop.create_future())
    loop.finish()


def test_threads_are_waited_for_and_time_stands_still():
    """A function in a thread returns or raises before the loop goes on, and costs no virtual time."""

    async def work() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        before = loop.time()
        value = await asyncio.to_thread(lambda: time.sleep(0.02) or 5)
        with pytest.raises(ValueError, match="no"):
            await StandstillThreads().run(_fails)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await StandstillThreads().run(lambda: next(iter(())))
        return value, loop.time() - before

    with VirtualClock() as clock:
        assert clock.run(work()) == (5, 0)


def _fails() -> None:
    raise ValueError("no")


def test_sockets_work_in_real_time():
    """While a socket is open in the loop, time passes as it does outside, and what is sent arrives."""

    async def work() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        asyncio.get_running_loop().call_later(0.05, theirs.sendall, b"hello")
        found = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        theirs.close()
        return found

    with VirtualClock() as clock:
        assert clock.run(work()) == b"hello"


def test_a_killed_process_takes_all_its_tasks_with_it():
    """What runs inside ends, callers are told, and nothing begins in it any more."""
    ended: list[str] = []

    async def inside() -> None:
        asyncio.get_running_loop().create_task(_note_end(ended))
        await asyncio.sleep(100)

    async def work() -> None:
        process = Process()
        asyncio.get_running_loop().call_later(1, process.kill)
        with pytest.raises(GoneError):
            await process.run(inside)
        with pytest.raises(GoneError):
            await process.run(inside)

    with VirtualClock() as clock:
        clock.run(work())
    assert ended == ["ended"]


async def _note_end(ended: list[str]) -> None:
    try:
        await asyncio.sleep(1_000)
    finally:
        ended.append("ended")
