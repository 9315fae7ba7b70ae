"""The one module that reads clocks and draws random numbers.

Everything else is handed a `Clock`, so that tests run on a virtual one and a replay sees the times that were
recorded. `tests/tidy` bans the standard functions elsewhere. `core`, `agents` and `compiler` do not import even
this: they are handed the values.
"""

import os
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and randomness."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since the epoch: for what is stored and shown."""

    def monotonic(self) -> float:
        """Seconds that never go back: for leases and waits."""

    def random_bytes(self, count: int) -> bytes:
        """Bytes that cannot be guessed: for ids and keys."""

    def random_unit(self) -> float:
        """A number from 0 up to 1: for jitter."""


class SystemClock:
    """The machine's clock and randomness."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        """Bytes from the operating system."""
        return os.urandom(count)

    def random_unit(self) -> float:
        """A pseudo-random number from 0 up to 1; not for secrets."""
        return random.random()  # noqa: S311 - jitter, not a secret
