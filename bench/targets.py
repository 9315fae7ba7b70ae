"""The project's targets on two cores, each a question to the figures of one variant. A target is not a result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.workloads import FLOOR, PERDURE

Sides = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        text: what is wanted, in words.
        figure: the result, from a variant's `sides`; KeyError when a side or a figure of it was not measured.
        limit: the result may not be over it, or under it when `at_least`.
        unit: stands after the figure.
    """

    workload: str
    variant: str
    text: str
    figure: Callable[[Sides], float]
    limit: float
    at_least: bool = False
    unit: str = ""

    def met(self, result: float) -> bool:
        """Whether the target is reached."""
        return result >= self.limit if self.at_least else result <= self.limit


def _median(name: str, side: str = PERDURE) -> Callable[[Sides], float]:
    return lambda sides: sides[side]["figures"][name]["median"]


def _ratio(top: Callable[[Sides], float], bottom: Callable[[Sides], float]) -> Callable[[Sides], float]:
    return lambda sides: top(sides) / bottom(sides)


def _growth(name: str) -> Callable[[Sides], float]:
    return _ratio(_median(f"{name}_late"), _median(f"{name}_early"))


_LONG = (
    ("W7", "1,000 steps of 2 KB"),
    ("W7", "100 steps of 200 KB"),
    ("W7T", "1,000 turns of 2 KB"),
)

TARGETS = (
    Target(
        "W1", "alone", "a step's median within 2 times a bare SQLite commit of the same run",
        _ratio(_median("step_ms_p50"), _median("step_ms_p50", FLOOR)), 2, unit=" times",
    ),
    Target("W1", "200 at once", "at least 5,000 steps/s", _median("steps_per_s"), 5_000, at_least=True, unit=" steps/s"),
    Target(
        "W2", "200 at once", "at least 1,500 tool steps/s (a turn has one)",
        _median("turns_per_s"), 1_500, at_least=True, unit=" tool steps/s",
    ),
    Target("W2", "alone", "a tool's median round trip under 3 ms", _median("tool_ms_p50"), 3, unit=" ms"),
    Target("W5", "cold", "import under 300 ms", _median("import_ms"), 300, unit=" ms"),
    Target("W5", "cold", "server healthy under 1 s", _median("server_ready_ms"), 1_000, unit=" ms"),
    Target("W5", "cold", "first result from cold under 1.5 s", _median("first_result_ms"), 1_500, unit=" ms"),
    Target("W5", "cold", "idle memory under 120 MB", _median("idle_mb"), 120, unit=" MB"),
    *(
        Target(
            workload, variant, "bytes a turn: the last tenth within 1.1 times the first",
            _growth("bytes_per_step"), 1.1, unit=" times",
        )
        for workload, variant in _LONG
    ),
    *(
        Target(
            workload, variant, "time a turn: the last tenth within 1.5 times the first",
            _growth("step_ms"), 1.5, unit=" times",
        )
        for workload, variant in _LONG
    ),
)  # fmt: skip
