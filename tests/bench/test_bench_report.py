"""The page of the benchmarks: it says what the figures say, and which targets they meet."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report, rounds
from bench.__main__ import main
from bench.targets import TARGETS
from bench.workloads import WORKLOADS

MACHINE = {
    "cpu": "A Processor",
    "cores": 2,
    "memory_gb": 8.0,
    "system": "Linux 6",
    "python": "3.11.7",
    "interpreter_sqlite": "3.40.1",
    "file_system": "ext4",
}


def record(workload: str, variants: dict[str, dict[str, list[dict[str, float]]]], load: float = 0.5) -> Any:
    """The JSON of a workload, made as the measuring command makes it: variant -> side -> what each round gave."""
    summaries = {}
    for variant, sides in variants.items():
        answers = {
            side: [{"load_before": load, "load_after": load + 0.25} | answer for answer in of_side]
            for side, of_side in sides.items()
        }
        summaries[variant] = rounds.summarise(WORKLOADS[workload], answers) | {"runs": answers}
    made = {
        "workload": workload,
        "title": WORKLOADS[workload].title,
        "params": {},
        "at": "2026-11-22T10:00:00+00:00",
        "seconds": 61.4,
        "machine": MACHINE,
        "variants": summaries,
    }
    return json.loads(json.dumps(made))


def rates(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    """Rounds of W1."""
    return [{"steps_per_s": s, "step_ms_p50": m} for s, m in pairs]


W1 = {
    "alone": {
        "floor": rates((1500, 0.6), (1600, 0.5), (1400, 0.7)),
        "perdure": rates((900, 0.9), (1000, 0.8), (800, 1.1)),
        "dbos": rates((90, 9), (100, 9), (80, 9)),
    },
    "200 at once": {"perdure": rates((4000, 30), (4900, 30), (5500, 30))},
}


def cells(page: str, first: str) -> list[str]:
    """The one row of a table whose first cells are *first*."""
    (line,) = [line for line in page.splitlines() if line.startswith("|") and first in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(page: str, title: str) -> str:
    """The page from a heading that begins so to the next heading."""
    return page.partition(f"# {title}")[2].partition("\n#")[0]


def test_a_variant_has_a_table_with_spread_load_and_ratios():
    """A side's row has median, minimum and maximum and the load around it; a comparison has a row of ratios."""
    text = section(report.page([record("W1", W1)]), "W1, alone")
    assert cells(text, "perdure  ") == [
        "perdure", "900 [800-1,000]", "0.90 [0.80-1.10]", "-", "-", "0.50 [0.50-0.50]", "0.75 [0.75-0.75]",
    ]  # fmt: skip
    assert cells(text, "floor  ")[1] == "1,500 [1,400-1,600]"
    assert cells(text, "perdure against dbos")[1:3] == ["10.00x", "10.00x"]
    assert cells(text, "perdure against floor")[1:3] == ["0.60x", "0.67x"]


def test_a_workload_says_how_to_repeat_it_and_where_it_ran():
    """The command with the number of rounds, the machine, the time, and what each side is."""
    text = section(report.page([record("W1", W1)]), "W1: ")
    assert "`python -m bench W1 --rounds 3`" in text
    assert "A Processor, 2 cores, 8.0 GB, Linux 6, Python 3.11.7, file system ext4" in text
    assert "2026-11-22T10:00:00+00:00, rounds: 3, 61 s" in text
    whole = report.page([record("W1", W1)])
    assert "* `dbos`: DBOS on SQLite as it comes" in whole
    assert "dboswal" not in whole


def test_targets_stand_beside_their_results():
    """Each target says met, missed or not measured, beside the result."""
    text = section(report.page([record("W1", W1)]), "Targets")
    assert cells(text, "bare SQLite commit")[3:] == ["1.50 times", "met"]
    assert cells(text, "at least 5,000 steps/s")[3:] == ["4,900 steps/s", "**missed**"]
    assert cells(text, "import under 300 ms")[3:] == ["-", "not measured"]
    assert len([line for line in text.splitlines() if line.startswith("| W")]) == len(TARGETS)


def test_growth_is_of_the_last_tenth_over_the_first():
    """W7's targets compare late with early steps."""
    grown = {
        "bytes_per_step_early": 1000,
        "bytes_per_step_late": 1200,
        "step_ms_early": 2,
        "step_ms_late": 2.5,
    }
    text = section(report.page([record("W7", {"100 steps of 200 KB": {"perdure": [grown]}})]), "Targets")
    of_variant = "\n".join(line for line in text.splitlines() if "100 steps" in line)
    assert cells(of_variant, "bytes a turn")[3:] == ["1.20 times", "**missed**"]
    assert cells(of_variant, "time a turn")[3:] == ["1.25 times", "met"]


@pytest.mark.parametrize(("load", "said"), [(0.5, False), (3.0, True)])
def test_a_busy_machine_is_said(load: float, said: bool):
    """A load average over the number of cores is pointed out."""
    assert ("The machine was busy" in report.page([record("W1", W1, load)])) is said


def test_every_target_is_of_a_variant_that_is_measured():
    """A target names a workload, a variant of it and figures of it, so that a full run answers all."""
    for target in TARGETS:
        workload = WORKLOADS[target.workload]
        answer = {metric.name: 2.0 for metric in workload.metrics}
        both = {"perdure": [answer], "floor": [answer]}
        made = record(target.workload, dict.fromkeys(workload.variants, both))
        assert target.figure(made["variants"][target.variant]["sides"]) in (1.0, 2.0)


def test_one_command_writes_the_page(tmp_path: Path):
    """`python -m bench report` reads the folder and writes the page; without any figure it says so and writes none."""
    page = tmp_path / "page.md"
    options = ["report", "--figures", str(tmp_path), "--page", str(page)]
    assert main(options) == 1
    assert not page.exists()
    (tmp_path / "W1.json").write_text(json.dumps(record("W1", W1)))
    assert main(options) == 0
    assert page.read_text(encoding="utf-8") == report.page([record("W1", W1)])


def test_the_page_in_the_documents_is_that_of_the_figures():
    """docs/benchmarks.md is what `python -m bench report` writes from docs/benchmarks/."""
    docs = rounds.ROOT / "docs"
    records = report.read(docs / "benchmarks")
    page = docs / "benchmarks.md"
    assert page.exists() is bool(records)
    if records:
        assert page.read_text(encoding="utf-8") == report.page(records)
