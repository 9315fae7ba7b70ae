"""The frame of the benchmarks: rounds take turns, ratios point the right way, a runner answers."""

import json
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from bench import measure, rounds, table
from bench.workloads import NOTES, SIDES, WORKLOADS, Metric, Workload

TWO = Workload(
    "T1",
    "A trial",
    {},
    {"small": {}},
    (Metric("steps_per_s", "steps/s", higher=True), Metric("step_ms_p50", "ms a step")),
)


def answers(*pairs: tuple[float, float]) -> list[rounds.Result]:
    """What a side's rounds returned."""
    return [{"steps_per_s": s, "step_ms_p50": m, "load_before": 0.5, "load_after": 1.5} for s, m in pairs]


def test_a_ratio_over_one_means_that_perdure_is_better():
    """Ratios are of medians, and over 1 where Perdure has more steps or fewer milliseconds."""
    summary = rounds.summarise(
        TWO, {"perdure": answers((100, 2), (400, 2), (500, 9)), "dbos": answers((100, 4), (100, 4), (900, 4))}
    )
    assert summary["perdure_better_by"] == {"dbos": {"steps_per_s": 4.0, "step_ms_p50": 2.0}}


def test_the_table_shows_median_minimum_maximum_and_load():
    """A row has the median of the rounds, minimum and maximum in brackets, and the load average."""
    summary = rounds.summarise(TWO, {"perdure": answers((1000, 2), (4000, 3), (5000, 9))})
    text = table.of_workload(TWO, {"small": summary})
    assert "4,000 (1,000 to 5,000)" in text
    assert "3.00 (2.00 to 9.00)" in text
    assert "1.00 (0.50 to 1.50)" in text


def test_early_and_late_are_the_first_and_last_tenth():
    """W7's figures are of the first and the last tenth of the steps."""
    times = [0.001 * n for n in range(1, 11)] + [0.01 + 0.002 * n for n in range(1, 11)]
    sizes = [1000, *[1000 + 20 * n for n in range(1, 11)]]
    answer = measure.early_and_late(times, sizes)
    assert answer["step_ms_early"] == pytest.approx(1.0)
    assert answer["step_ms_late"] == pytest.approx(2.0)
    assert answer["bytes_per_step_early"] == answer["bytes_per_step_late"] == 10


def test_stored_bytes_do_not_depend_on_a_checkpoint(tmp_path: Path):
    """Rows that are still in the write-ahead log count as they do after the checkpoint."""
    db = apsw.Connection(str(tmp_path / "some.db"))
    db.pragma("journal_mode", "wal")
    db.pragma("wal_autocheckpoint", 0)
    db.execute("CREATE TABLE t(x)")
    for _ in range(100):
        db.execute("INSERT INTO t VALUES (zeroblob(4000))")
    before = measure.stored_bytes(tmp_path)
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert measure.stored_bytes(tmp_path) == before > 400_000
    db.close()


def test_the_step_gives_text_of_the_size_asked_for():
    """The step's output has the size asked for and depends on its input."""
    assert len(measure.step("a" * 100, 2048)) == 2048
    assert measure.step("a" * 100, 2048) != measure.step("b" * 100, 2048)


def test_every_runner_belongs_to_a_side_and_a_workload():
    """A file that looks like a runner is of a known side and workload, and every side is explained."""
    assert set(NOTES) == set(SIDES)
    runners = [p.stem for p in Path(rounds.__file__).parent.glob("*_w[0-9]*.py")]
    assert runners
    for runner in runners:
        side, _, workload = runner.partition("_")
        assert side in WORKLOADS[workload.upper()].sides


def test_a_runner_answers_in_a_process_of_its_own(tmp_path: Path):
    """A small run of the floor gives all metrics of its workload, and leaves its folder empty."""
    workload = WORKLOADS["W1"]
    params = workload.params | {"executions": 1, "steps": 2, "repeat": 5}
    answer = rounds.measure(workload, "floor", params, tmp_path)
    assert {metric.name for metric in workload.metrics} <= set(answer)
    assert answer["steps_per_s"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_runner_that_fails_says_why(tmp_path: Path):
    """A failing runner is reported with the end of what it printed."""
    with pytest.raises(rounds.RunnerFailedError, match="KeyError"):
        rounds.measure(WORKLOADS["W1"], "floor", {}, tmp_path)


def test_one_command_prints_a_table_and_writes_json(tmp_path: Path):
    """`python -m bench W1` prints a table and writes every figure, with the machine, as JSON."""
    done = subprocess.run(
        [
            sys.executable, "-m", "bench", "W1", "--rounds", "1", "--sides", "floor", "--variants", "alone",
            "--scratch", str(tmp_path / "scratch"), "--out", str(tmp_path / "out"),
        ],
        cwd=rounds.ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    record = json.loads((tmp_path / "out" / "W1.json").read_text())
    assert "| alone" in done.stdout
    assert record["machine"]["cores"]
    assert record["variants"]["alone"]["runs"]["floor"][0]["load_before"] >= 0
