"""The portal: one event loop in a background thread, for callers that have none.

The synchronous methods are this and nothing more: `portal.call(coroutine)` runs it there and waits. It works
inside a running loop too (a notebook, a web handler), because the loop that runs it is another one.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from perdure.core.errors import ClientError

T = TypeVar("T")


class Portal:
    """Starts its thread with the first call. The thread is a daemon: it never keeps a program from ending."""

    def __init__(self, name: str = "perdure-portal") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started if need be."""
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name=self._name, daemon=True
                )
                self._thread.start()
            return self._loop

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* in the portal's loop and wait for it; an interrupt cancels it.

        Raises:
            ClientError: E0707 called from the portal's own loop, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise ClientError(
                "E0707",
                "A synchronous call was made from inside the runtime's own event loop",
                why="An async tool runs in that loop, and the call would wait for itself.",
                fix="Use the method's `_async` twin there, or make the tool a plain `def`.",
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt of the waiting thread; a no-op on a call that has ended
            raise

    def close(self) -> None:
        """Cancel what still runs, stop the loop and end its thread."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            _drain(loop)
            loop.close()


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks and let them clean up, as `asyncio.run` does at its end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
