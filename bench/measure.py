"""What the runners share: the step function, its text, quantiles, sizes on disk and memory.

Every side runs the same step: a text of a given size goes in, another of a given size comes out, and almost no
time is spent between, so that what is measured is the engine.
"""

import hashlib
import json
import resource
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw


def text_of(size: int, seed: str) -> str:
    """Text of *size* characters that differs for each seed and does not compress away: hex digests."""
    block = hashlib.sha256(seed.encode()).hexdigest()
    parts = [block]
    length = len(block)
    while length < size:
        block = hashlib.sha256(block.encode()).hexdigest()
        parts.append(block)
        length += len(block)
    return "".join(parts)[:size]


def step(text: str, output_bytes: int) -> str:
    """The step of all sides: *text* in, as many bytes as asked for out."""
    return text_of(output_bytes, text[:64])


def quantiles(milliseconds: Sequence[float], prefix: str = "step_ms") -> dict[str, float]:
    """`prefix_p50`, `_p95`, `_p99` of the values, by the nearest rank."""
    ordered = sorted(milliseconds)
    if not ordered:
        return {}
    picked = {q: ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))] for q in (95, 99)}
    return {
        f"{prefix}_p50": statistics.median(ordered),
        f"{prefix}_p95": picked[95],
        f"{prefix}_p99": picked[99],
    }


def bytes_on_disk(folder: str | Path) -> int:
    """What all files below a folder take, in bytes, logs that are used again included."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def stored_bytes(folder: str | Path) -> int:
    """What is stored below a folder: the used pages of SQLite files as a reader sees them, other files whole.

    A reader sees committed pages whether they are in the file or still in its write-ahead log, so that the figure
    does not depend on when a checkpoint happened to run.
    """
    total = 0
    for path in Path(folder).rglob("*"):
        if path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal")):
            with path.open("rb") as file:
                is_sqlite = file.read(16) == b"SQLite format 3\0"
            total += _used_pages(path) if is_sqlite else path.stat().st_size
    return total


def _used_pages(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(10_000)
        pages, free, size = (
            connection.pragma(name) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
    finally:
        connection.close()


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def resident_mb() -> float:
    """The memory this process holds now, in MB; the peak where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_mb()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def early_and_late(times: Sequence[float], sizes: Sequence[int]) -> dict[str, float]:
    """W7's answer: the first tenth of the steps against the last.

    Args:
        times: seconds since the beginning, after each step.
        sizes: bytes stored before the first step, and after each tenth of the steps: 11 values.
    """
    tenth = len(times) // 10
    return {
        "bytes_per_step": (sizes[-1] - sizes[0]) / len(times),
        "bytes_per_step_early": (sizes[1] - sizes[0]) / tenth,
        "bytes_per_step_late": (sizes[-1] - sizes[-2]) / tenth,
        "step_ms_early": times[tenth - 1] * 1000 / tenth,
        "step_ms_late": (times[-1] - times[-tenth - 1]) * 1000 / tenth,
        "seconds": times[-1],
    }


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
