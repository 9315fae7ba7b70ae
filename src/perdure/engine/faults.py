"""Named crash points: places in the commit path where a test can make the process die at once.

A point costs one attribute read when nothing is armed. `arm("after_commit")` ends the process, as SIGKILL would,
at the first pass of that point; `arm("after_commit:tool_completed:3")` at the third pass whose commits hold an
event of that kind. `arm("count")` kills nothing and counts the passes instead, so that a test can show that
every point was reached with every kind of event.

Nothing is flushed and no handler runs: `os._exit(137)` is what the kernel's kill leaves behind.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable

KILLED_EXIT_CODE = 137  # what a shell reports for a process ended by SIGKILL


class _Faults:
    """What is armed in this process. Points are passed by the event loop and by the journal's writer thread."""

    def __init__(self) -> None:
        self.active = False
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.point = ""
        self.kind: str | None = None
        self.left = 0
        self.counting = False
        self.counts: Counter[str] = Counter()
        self.die: Callable[[int], object] = os._exit

    def hit(self, name: str, kinds: frozenset[str]) -> None:
        with self.lock:
            if self.counting:
                self.counts.update([name, *(f"{name}:{kind}" for kind in kinds)])
                return
            if name != self.point or (self.kind is not None and self.kind not in kinds):
                return
            self.left -= 1
            if self.left == 0:
                self.die(KILLED_EXIT_CODE)


_FAULTS = _Faults()


def arm(spec: str, die: Callable[[int], object] = os._exit) -> None:
    """Arm one point, or count all of them; what was armed before is forgotten.

    Args:
        spec: `point[:event_kind[:n]]`, with n from 1 and 1 when absent, or `count`. An empty or absent
            event kind stands for any commit.
        die: called with 137 in place of the process's end, for tests of this module.

    Raises:
        ValueError: the spec is not of this form.
    """
    parts = spec.split(":")
    if len(parts) > 3 or not parts[0] or (len(parts) == 3 and not parts[2].isdecimal()):  # noqa: PLR2004
        raise ValueError(f"A crash point is written as point[:event_kind[:n]], not {spec!r}")
    left = int(parts[2]) if len(parts) == 3 else 1  # noqa: PLR2004
    if left < 1:
        raise ValueError(f"The n of a crash point counts from 1: {spec!r}")
    with _FAULTS.lock:
        _FAULTS.reset()
        _FAULTS.point = parts[0]
        _FAULTS.kind = (parts[1] or None) if len(parts) > 1 else None
        _FAULTS.left = left
        _FAULTS.counting = spec == "count"
        _FAULTS.die = die
        _FAULTS.active = True


def disarm() -> None:
    """Forget what is armed and what was counted."""
    with _FAULTS.lock:
        _FAULTS.active = False
        _FAULTS.reset()


def counts() -> dict[str, int]:
    """The passes since `arm("count")`: by `point`, and by `point:event_kind`."""
    with _FAULTS.lock:
        return dict(_FAULTS.counts)


def crash_point(name: str, kinds: Iterable[str] = ()) -> None:
    """A place where the process may be made to die. *kinds* is read only when something is armed."""
    if _FAULTS.active:
        _FAULTS.hit(name, frozenset(kinds))
