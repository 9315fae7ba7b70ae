"""W1 through the journal's port alone: the engine's storage without the engine."""

import asyncio
from pathlib import Path
from typing import Any

from bench import floor


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W1 on `SqliteJournal`; see bench/README.md for the parameters and the answer."""
    steps = params["steps"] * params["repeat"]
    return asyncio.run(
        floor.journal(Path(params["data_dir"]), params["executions"], steps, params["output_bytes"])
    )
