"""Threads for synchronous tool functions.

Not the standard executor: that one joins its threads when the program ends, so a tool that hangs would keep
the program from ending, and one that was given up would keep its place for ever. These are daemons, reused
when idle; how many run at once is the worker's concurrency, plus those it has given up.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class _Order(NamedTuple):
    function: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Threads:
    """Runs functions beside the event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run *function* in a thread; the future has what it returned or raised, SystemExit included."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._orders.put(_Order(function, future, loop))
        if not self._idle.acquire(blocking=False):
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """End the threads as they become idle."""
        for _ in range(self._started):
            self._orders.put(None)

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                outcome: tuple[Any, BaseException | None] = (order.function(), None)
            except BaseException as error:  # noqa: BLE001 - a boundary: whatever the function raised is its outcome
                outcome = (None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                order.loop.call_soon_threadsafe(_settle, order.future, *outcome)
            del order, outcome  # an idle thread must not keep a user's objects alive
            self._idle.release()


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():  # it was given up
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):  # a future refuses it
        future.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        future.set_exception(error)
