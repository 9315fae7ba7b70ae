"""The threads that own a store's client, for libraries that block. One by default: its client is never shared.

The calls of one thread run one after the other, whichever event loop they come from. A caller that is cancelled stops waiting; the
call itself runs to its end, so that a transaction is never left open.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from perdure.memory.stores.failures import closed

T = TypeVar("T")


class StoreThread:
    """Starts its thread with the first call.

    Args:
        where: the store, for errors.
        threads: how many calls may run at once; more than one for clients that are safe to share.
    """

    def __init__(self, where: str, threads: int = 1) -> None:
        self._where = where
        self._threads = threads
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, function: Callable[[], T]) -> T:
        """Call *function* in the thread.

        Raises:
            SemanticMemoryError: E0807 the thread has ended.
        """
        with self._lock:
            if self._closed:
                raise closed(self._where)
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    self._threads, thread_name_prefix="perdure-memory"
                )
            future = self._pool.submit(function)
        return await asyncio.wrap_future(future)

    async def close(self, last: Callable[[], None]) -> None:
        """Let all that waits run to its end, then run *last*, which may be called again."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._closed = True

        def end() -> None:
            if pool is not None:
                pool.shutdown(wait=True)
            last()

        # In a thread of its own: the pool cannot wait for itself, and the event loop must not.
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="perdure-memory-end") as ending:
            await asyncio.wrap_future(ending.submit(end))
