"""W2 on DBOS with its SQLite file in WAL mode."""

from typing import Any

from bench import dbos_w2


def run(params: dict[str, Any]) -> dict[str, Any]:
    """The same runner on the other set-up."""
    return dbos_w2.run(params | {"wal": True})
