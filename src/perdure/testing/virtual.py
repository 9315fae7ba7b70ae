"""Virtual time: an event loop that does not sleep, its clock, and processes that can be killed.

When nothing is ready the loop jumps to the next timer, so that an hour of an execution's life costs milliseconds and
every run is the same run. Time stands still while Python works: only what waits moves the clock. Two things wait for
the real world: a socket that is open in the loop (time passes as it does outside while there is one), and a function
that is run in a thread (the loop stands still until it returns).

A `Process` owns every task that is created inside it; `kill` ends them all, as SIGKILL would end a server: what it had
told the journal may be there, nobody is answered any more.
"""

import asyncio
import concurrent.futures
import contextvars
import hashlib
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar

from perdure.clock import SystemClock
from perdure.worker.threads import Threads

T = TypeVar("T")

EPOCH_MS = 1_800_000_000_000
_REAL_STEP_S = 0.05


class DeadlockError(AssertionError):
    """Nothing is ready and no timer is set: nothing will ever happen again."""


class GoneError(ConnectionError):
    """The process was killed, or the network lost the request or its answer."""


class _Selector(selectors.DefaultSelector):
    """Waits by moving the clock on, unless a socket is open besides the loop's own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._real = SystemClock()

    def select(self, timeout: float | None = None) -> list[Any]:
        if len(self.get_map()) > 1:
            return self._select_for_real(timeout)
        if timeout is None:
            raise DeadlockError("I11: nothing is ready and no timer is set")
        self.now += max(0.0, timeout)
        return []

    def _select_for_real(self, timeout: float | None) -> list[Any]:
        began = self._real.monotonic()
        ready = super().select(min(_REAL_STEP_S, _REAL_STEP_S if timeout is None else max(0.0, timeout)))
        self.now += self._real.monotonic() - began
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. `troubles` collects what nobody caught."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self.troubles: list[str] = []
        super().__init__(self._virtual)
        self.set_task_factory(_create_task)  # type: ignore[arg-type]  # of a coroutine, as all tasks here
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.troubles.append(f"{context['message']}: {type(error).__name__}: {error}")

    def run_in_executor(  # type: ignore[override]
        self,
        executor: concurrent.futures.Executor | None,  # noqa: ARG002 - the loop's own signature
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Run *func* in a thread, and stand still until it has returned."""
        return run_in_thread(self, lambda: func(*args))

    def finish(self) -> None:
        """Cancel what is left and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()


class Draws(Protocol):
    """Where random numbers come from; `random.Random` is one."""

    def randbytes(self, n: int, /) -> bytes:
        """The next *n* bytes."""

    def random(self) -> float:
        """The next number from 0 up to 1."""


class _SameDraws:
    """The same numbers in every run: the hashes of 0, 1, 2, ..."""

    def __init__(self) -> None:
        self._count = 0

    def randbytes(self, n: int, /) -> bytes:
        """The next *n* bytes."""
        found = b""
        while len(found) < n:
            found += hashlib.sha256(f"draw\x00{self._count}".encode()).digest()
            self._count += 1
        return found[:n]

    def random(self) -> float:
        """The next number from 0 up to 1."""
        return int.from_bytes(self.randbytes(6), "big") / 2**48


class VirtualClock:
    """A clock on virtual time: hours cost nothing, and the random numbers are the same in every run.

        with VirtualClock() as clock:
            clock.run(asyncio.sleep(3600))

    Args:
        loop: whose time it shows; one of its own when it is absent, which `close` closes.
        rng: where its random numbers come from; the same ones in every run when it is absent.

    Attributes:
        skew_ms: moves wall time alone, as when somebody sets a machine's clock.
    """

    def __init__(self, loop: VirtualLoop | None = None, rng: Draws | None = None) -> None:
        self._loop = loop or VirtualLoop()
        self._rng: Draws = rng or _SameDraws()
        self.skew_ms = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on virtual time."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Cancel what is left in the loop and close it."""
        self._loop.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now_ms(self) -> int:
        """Virtual wall time in milliseconds since the epoch."""
        return EPOCH_MS + self.skew_ms + int(self._loop.time() * 1000 + 1e-6)

    def monotonic(self) -> float:
        """Virtual seconds; never back."""
        return self._loop.time()

    def random_bytes(self, count: int) -> bytes:
        """The generator's next bytes."""
        return self._rng.randbytes(count)

    def random_unit(self) -> float:
        """The generator's next number from 0 up to 1."""
        return self._rng.random()


class StandstillThreads(Threads):
    """Threads for synchronous functions, one at a time.

    A function runs in a thread of its own, so that it may do whatever a plain function may, and the loop stands still
    until it returns, so that the order of events is the same in every run.
    """

    def __init__(self) -> None:
        super().__init__("perdure-virtual")

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run *function*; the future has what it returned or raised."""
        return run_in_thread(asyncio.get_running_loop(), function)

    def close(self) -> None:
        """Nothing runs between two calls."""


def run_in_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], T]) -> asyncio.Future[T]:
    """Run *function* in a thread and wait for it; the future is done."""
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            future.set_result(function())
        except StopIteration as error:  # a future refuses it
            future.set_exception(RuntimeError(f"the function raised {error!r}"))
        except BaseException as error:  # noqa: BLE001 - a boundary: whatever the function raised is its outcome
            future.set_exception(error)

    thread = threading.Thread(target=work, name="perdure-virtual", daemon=True)
    thread.start()
    thread.join()
    return future


_OWNER: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("owner", default=None)


class Process:
    """What runs between a start and a kill."""

    def __init__(self) -> None:
        self.alive = True
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._context = contextvars.copy_context()
        self._context.run(_OWNER.set, self)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Own a task that was created inside."""
        if not self.alive:
            task.cancel()
            return
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run *work* inside; GoneError when the process ends before it does.

        A caller that is cancelled takes its work with it, as a server does when a client hangs up.
        """
        if not self.alive:
            raise GoneError("connection refused")
        task = asyncio.get_running_loop().create_task(work(), context=self._context)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            raise GoneError("connection reset")
        return task.result()

    def kill(self) -> None:
        """End everything inside, at once."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()


def _create_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, T],
    *,
    context: contextvars.Context | None = None,
) -> asyncio.Task[T]:
    task = asyncio.Task(coro, loop=loop, context=context)
    owner = _OWNER.get() if context is None else context.get(_OWNER)
    if owner is not None:
        owner.adopt(task)
    return task
