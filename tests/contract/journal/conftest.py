"""Both adapters of the journal, so that each test of the contract runs over both."""

from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SystemClock
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.journal.sqlite import SqliteJournal


def _make_memory(_: Path) -> MemoryJournal:
    return MemoryJournal()


def _make_sqlite(folder: Path) -> SqliteJournal:
    return SqliteJournal(folder / "data", SystemClock())


@pytest.fixture(params=[_make_memory, _make_sqlite], ids=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A journal that is not open yet."""
    return request.param(tmp_path)
