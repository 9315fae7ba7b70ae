"""Virtual time: an event loop that never sleeps, its clock, and processes that can be killed.

When nothing is ready the loop jumps to the next timer, so that a minute of an execution's life costs milliseconds and
every run of a seed is the same run. A `Process` owns every task that is created inside it; `kill` ends them all, as
SIGKILL would end a server: what it had told the journal may be there, nobody is answered any more.
"""

import asyncio
import contextvars
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_MS = 1_800_000_000_000


class DeadlockError(AssertionError):
    """Nothing is ready and no timer is set: nothing will ever happen again."""


class GoneError(ConnectionError):
    """The process was killed, or the network lost the request or its answer."""


class _Selector(selectors.SelectSelector):
    """Waits by moving the clock on. A simulation has no real input or output."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("I11: nothing is ready and no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. `troubles` collects what nobody caught."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self.troubles: list[str] = []
        super().__init__(self._virtual)
        self.set_task_factory(_create_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.troubles.append(f"{context['message']}: {type(error).__name__}: {error}")

    def finish(self) -> None:
        """Cancel what is left and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()


class VirtualClock:
    """`Clock` on a loop's virtual time and a seeded generator. `skew_ms` moves wall time alone."""

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self.skew_ms = 0

    def now_ms(self) -> int:
        return EPOCH_MS + self.skew_ms + int(self._loop.time() * 1000 + 1e-6)

    def monotonic(self) -> float:
        return self._loop.time()

    def random_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    def random_unit(self) -> float:
        return self._rng.random()


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
