"""Tables in Markdown, the same on the terminal and in docs/."""

from typing import Any

from bench.workloads import NOTES, Workload


def figure(value: float) -> str:
    """A number with three significant digits, thousands grouped."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def spread(values: dict[str, float] | None) -> str:
    """`median (min to max)`."""
    if values is None:
        return "-"
    return f"{figure(values['median'])} ({figure(values['min'])} to {figure(values['max'])})"


def of_workload(workload: Workload, variants: dict[str, dict[str, Any]]) -> str:
    """The table of a workload: a row for each variant and side, the median and in brackets min and max."""
    rows = [["variant", "side", *[m.title for m in workload.metrics], "load"]]
    for variant, summary in variants.items():
        for side, of_side in summary["sides"].items():
            figures = of_side["figures"]
            rows.append(
                [
                    variant,
                    side,
                    *[spread(figures.get(m.name)) for m in workload.metrics],
                    spread(of_side["load"]),
                ]
            )
    lines = [f"### {workload.id}: {workload.title}", "", *markdown(rows), ""]
    ratios = [
        f"* {variant}, {metric.ratio}: Perdure {ratio:.2f} times as good as {side}"
        for variant, summary in variants.items()
        for side, by_metric in summary["perdure_better_by"].items()
        for metric in workload.metrics
        if metric.ratio and (ratio := by_metric.get(metric.name))
    ]
    if ratios:
        lines += ["Ratios of medians:", "", *ratios, ""]
    shown = {side for summary in variants.values() for side in summary["sides"]}
    lines += [f"{side}: {NOTES[side]}.  " for side in NOTES if side in shown]
    if workload.notes:
        lines += ["", workload.notes]
    return "\n".join(lines) + "\n"


def markdown(rows: list[list[str]]) -> list[str]:
    """The lines of a table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines
