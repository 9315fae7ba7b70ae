"""The portal: synchronous calls from anywhere, save from its own loop."""

import asyncio
import contextlib
import contextvars
import threading

import pytest

from perdure.client.portal import Portal
from perdure.core.errors import ClientError


async def where() -> str:
    """The thread that it runs in."""
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_a_call_works_with_and_without_a_running_loop():
    """The coroutine runs in the portal's thread, also when the caller's own loop is blocked by the call."""
    with contextlib.closing(Portal()) as portal:
        assert portal.call(where()) == "perdure-portal"

        async def inside() -> str:
            return portal.call(where())

        assert asyncio.run(inside()) == "perdure-portal"


def test_errors_and_context_variables_cross():
    """What the coroutine raises is raised; what the caller has set is seen."""
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)

    async def fails() -> None:
        raise KeyError(variable.get())

    with contextlib.closing(Portal()) as portal, pytest.raises(KeyError, match="7"):
        portal.call(fails())


def test_a_call_from_its_own_loop_is_refused():
    """It would wait for itself for ever; the error says what to do instead."""
    with contextlib.closing(Portal()) as portal:

        async def inside() -> None:
            portal.call(where())

        with pytest.raises(ClientError, match="_async"):
            portal.call(inside())


def test_closing_cancels_and_cleans_up():
    """What runs is cancelled and may clean up; the thread ends; the portal can be used again."""
    portal = Portal()
    cleaned = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    future = asyncio.run_coroutine_threadsafe(endless(), portal.loop())
    portal.call(asyncio.sleep(0.01))
    portal.close()
    assert cleaned.is_set()
    assert future.cancelled()
    assert "perdure-portal" not in {t.name for t in threading.enumerate()}
    assert portal.call(where()) == "perdure-portal"
    portal.close()
    portal.close()
