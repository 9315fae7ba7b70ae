"""Wall times for people. What is printed elsewhere in milliseconds is turned into words here."""

import datetime as dt

from perdure.cli import text


def clock_time(at_ms: int) -> str:
    """The time of day in the reader's zone, e.g. 14:02:11."""
    return _local(at_ms).strftime("%H:%M:%S")


def date_time(at_ms: int) -> str:
    """Date and time in the reader's zone, e.g. 2026-08-01 14:02:11."""
    return _local(at_ms).strftime("%Y-%m-%d %H:%M:%S")


def age(at_ms: int, now_ms: int) -> str:
    """How long ago, roughly: 8s, 4m, 3h, 12d."""
    seconds = max(now_ms - at_ms, 0) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def span(began_ms: int | None, ended_ms: int | None, now_ms: int) -> str:
    """How long something took, or has taken so far; empty when it has not begun."""
    if began_ms is None:
        return ""
    return text.duration((now_ms if ended_ms is None else ended_ms) - began_ms)


def _local(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC).astimezone()
