"""The workloads: what each measures, in which variants, and on which sides.

A side takes part in a workload when `bench/<side>_<workload>.py` is there, e.g. `bench/dbos_w1.py`.
"""

from dataclasses import dataclass, field
from typing import Any

FLOOR, PERDURE = "floor", "perdure"
SIDES = (FLOOR, "journal", PERDURE, "dbos", "dboswal")

NOTES = {
    FLOOR: "bare SQLite or a bare file: what the disk gives, without an engine",
    "journal": "Perdure's journal alone, through its port: the engine's storage without the engine",
    PERDURE: "this engine, every step on disk before the next",
    "dbos": "DBOS on SQLite as it comes: rollback journal, synchronous=FULL",
    "dboswal": "DBOS on SQLite with its file switched to WAL, synchronous=FULL",
}


@dataclass(frozen=True)
class Metric:
    """A figure that runners return.

    Attributes:
        higher: more is better.
        ratio: what it is called in a sentence that compares it; empty: it is not compared.
    """

    name: str
    title: str
    higher: bool = False
    ratio: str = ""


@dataclass(frozen=True)
class Workload:
    """One workload: `variants` are parameters laid over `params`, by the name they have in the table."""

    id: str
    title: str
    params: dict[str, Any]
    variants: dict[str, dict[str, Any]]
    metrics: tuple[Metric, ...]
    timeout_s: int = 300
    notes: str = ""
    sides: tuple[str, ...] = field(default=SIDES)


_LATENCY = (
    Metric("step_ms_p50", "ms a step, p50", ratio="median step"),
    Metric("step_ms_p95", "p95"),
    Metric("step_ms_p99", "p99"),
)

WORKLOADS: dict[str, Workload] = {
    w.id: w
    for w in (
        Workload(
            "W1",
            "Durable turn: executions of 20 steps in sequence, 2 KB in, 2 KB out",
            {"steps": 20, "input_bytes": 2048, "output_bytes": 2048},
            {
                "alone": {"executions": 1, "repeat": 10},
                "50 at once": {"executions": 50, "repeat": 1},
                "200 at once": {"executions": 200, "repeat": 1},
            },
            (Metric("steps_per_s", "steps/s", higher=True, ratio="steps/s"), *_LATENCY),
            notes="The floor's step is one bare commit alone, and a bare group-commit journal in company.",
        ),
        Workload(
            "W2",
            "Tool loop: 10 turns, each one model step and one tool step",
            {"turns": 10, "input_bytes": 2048, "output_bytes": 2048},
            {
                "alone": {"executions": 1, "repeat": 10},
                "50 at once": {"executions": 50, "repeat": 1},
                "200 at once": {"executions": 200, "repeat": 1},
            },
            (
                Metric("turns_per_s", "turns/s", higher=True, ratio="turns/s"),
                Metric("tool_ms_p50", "tool round trip, ms p50", ratio="median tool round trip"),
                Metric("tool_ms_p95", "p95"),
                Metric("tool_ms_p99", "p99"),
            ),
            notes="Perdure's tools run in a worker process over loopback HTTP; DBOS has no workers of this kind, "
            "its tool step is a function in the same process.",
        ),
        Workload(
            "W5",
            "Start: import, first result from cold, idle memory",
            {},
            {"cold": {"repeat": 5}},
            (
                Metric("import_ms", "import, ms over a bare interpreter", ratio="import"),
                Metric(
                    "first_result_ms",
                    "script from cold to first result, ms",
                    ratio="time to the first result",
                ),
                Metric("idle_mb", "idle memory, MB", ratio="idle memory"),
                Metric("server_ready_ms", "server from cold to healthy, ms"),
            ),
            notes="With the byte code compiled. The import is of the names that a first program needs. The first result is of one execution of one step.",
            sides=(PERDURE, "dbos"),
        ),
        Workload(
            "W7",
            "Long transcript: one execution of many steps",
            {"input_bytes": 2048},
            {
                "1,000 steps of 2 KB": {"steps": 1000, "output_bytes": 2048},
                "100 steps of 200 KB": {"steps": 100, "output_bytes": 204800},
            },
            (
                Metric("bytes_per_step_early", "bytes a step, first tenth"),
                Metric(
                    "bytes_per_step_late", "bytes a step, last tenth", ratio="bytes a step in the last tenth"
                ),
                Metric("step_ms_early", "ms a step, first tenth"),
                Metric("step_ms_late", "ms a step, last tenth", ratio="time of a step in the last tenth"),
            ),
            notes="Bytes are used pages of the database as a reader sees them, whether in the file or in its log. "
            "Early and late should be the same. The text is hex digits, which compress to about half: Perdure compresses "
            "large bodies, DBOS writes base64 of a pickle.",
            sides=(PERDURE, "dbos", "dboswal"),
        ),
        Workload(
            "W7T",
            "Long conversation: a round robin of two agents, each turn an execution of its own",
            {"input_bytes": 2048},
            {"1,000 turns of 2 KB": {"steps": 1000, "output_bytes": 2048}},
            (
                Metric("bytes_per_step_early", "bytes a turn, first tenth"),
                Metric("bytes_per_step_late", "bytes a turn, last tenth"),
                Metric("step_ms_early", "ms a turn, first tenth"),
                Metric("step_ms_late", "ms a turn, last tenth"),
            ),
            notes="Bytes as in W7. A turn is a model call with the whole conversation, a child execution from its start to "
            "its end, and two commits of the team. No peer has executions of this kind.",
            sides=(PERDURE,),
        ),
    )
}
