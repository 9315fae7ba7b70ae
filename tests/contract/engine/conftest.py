"""Runs the contract over both journals, and coroutine tests in a loop of their own."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.journal.sqlite import SqliteJournal
from tests.contract.engine.engine_harness import Harness
from tests.contract.engine.faulty_journal import FaultyJournal


def _memory(_: Path) -> Any:
    return MemoryJournal()


def _sqlite(folder: Path) -> Any:
    return SqliteJournal(folder / "data", SystemClock())


@pytest.fixture(params=[_memory, _sqlite], ids=["memory", "sqlite"])
def h(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """A harness without an engine yet."""
    make: Callable[[Path], Any] = request.param
    return Harness(lambda: make(tmp_path))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are provoked here: the engine's log of them is not wanted."""
    log = logging.getLogger("perdure.engine")
    before, log.disabled = log.disabled, True
    yield
    log.disabled = before


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test; its engine is closed in the same loop, and nothing may be left running."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(_run(pyfuncitem.obj, given))
    return True


async def _run(test: Callable[..., Any], given: dict[str, Any]) -> None:
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
    try:
        async with asyncio.timeout(60):
            await test(**given)
    finally:
        for value in given.values():
            if isinstance(value, Harness):
                await value.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left running: {left}"
    assert not troubles, troubles


@pytest.fixture
def journal(h: Harness) -> Any:
    """The harness's next engine runs on a journal that can be made to fail."""
    made: list[FaultyJournal] = []

    def wrap(inner: Any) -> FaultyJournal:
        made.append(FaultyJournal(inner))
        return made[0]

    h.wrap = wrap
    return lambda: made[0]
