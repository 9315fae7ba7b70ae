"""DBOS on SQLite: how the runners of this side start it, and run many of its workflows at once.

Its own word for an execution is workflow. Two set-ups: as DBOS comes (SQLite's rollback journal), and with the
file switched to WAL beforehand, which SQLite remembers. Both keep `synchronous=FULL`, SQLite's default.
Workflows and steps are plain functions on its thread pool: in a trial before this was written its `async` form
took about three times as long alone, and gave two thirds of the throughput at 50.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dbos import DBOS


@contextlib.contextmanager
def launched(params: dict[str, Any]) -> Iterator[Path]:
    """A launched DBOS in `data_dir`; `wal` chooses the set-up. Gives the folder."""
    folder = Path(params["data_dir"])
    database = folder / "dbos.sqlite"
    if params.get("wal"):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{database}",
            "log_level": "ERROR",
            "console_log_level": "ERROR",
            "application_version": "1",
        }
    )
    DBOS.launch()
    try:
        yield folder
    finally:
        DBOS.destroy()


def run_many(workflow: Callable[..., Any], count: int, *args: Any) -> list[Any]:
    """Start *count* workflows and wait for all of them."""
    handles = [DBOS.start_workflow(workflow, *args) for _ in range(count)]
    return [handle.get_result() for handle in handles]
