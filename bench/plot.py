"""Draws a run's plots beside its file, by matplotlib: `bench/.peers/venv/bin/python -m bench.plot bench/results/latest.json`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import groupby
from statistics import median

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from bench.report import Report
from bench.row import Row

# All can be seen on white and on black.
OURS, OTHERS, TEXT, FAINT, WHISKER = "#2f81f7", "#8b949e", "#76808b", "#8b949e55", "#e08a1e"
LINES = (OURS, WHISKER, "#2da44e", "#bf5af2", "#e5534b")
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "queuectl",  # the same figures, the same file
    "font.family": "sans-serif",
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "axes.edgecolor"), TEXT),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    "grid.color": FAINT,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
}
WIDTH = 9.0  # inches
REACTIONS = {"reaction-idle": "idle", "reaction-after-claim": "1 to 500 ms after a claim"}
SIZES = {"claim": "claim and run a job", "enqueue": "enqueue", "dropin": "mv into pending/", "status": "status", "list": "list"}


def drains(axes: Axes, report: Report) -> bool:
    """Draw the median of each drain rate in y, from its least to its most; return whether there were any."""
    bars = sorted((bar for row in report.rows if (bar := _bar(row))), key=lambda bar: median(bar[1]))
    for place, (_, values, color) in enumerate(bars):
        middle = median(values)
        reach = [[middle - min(values)], [max(values) - middle]]
        axes.barh(place, middle, color=color, height=0.7, xerr=reach, error_kw={"ecolor": WHISKER, "capsize": 3, "elinewidth": 1})
        axes.annotate(f"{middle:.2f}", (max(values), place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.axvline(1, color=TEXT, linewidth=1, linestyle=":")
    axes.set_xlabel("in y: processes that one Python loop spawns and waits for")
    axes.set_title("Jobs of a drain per second: median, least and most")
    axes.figure.set_figheight(1.2 + 0.36 * len(bars))
    return bool(bars)


def _bar(row: Row) -> tuple[str, list[float], str] | None:
    """Return what is drawn of a drain: its name, its rates in y, its color."""
    if not row.key.startswith("drain-"):
        return None
    if row.against == "y":
        return f"queuectl, {row.what.partition(', ')[2]}", row.values, OURS
    return row.against, [rate / unit for rate, unit in zip(row.beside, row.y, strict=True)], OTHERS


def reaction(axes: Axes, report: Report) -> bool:
    """Draw how many of the jobs began how soon; return whether there were any."""
    rows = {row.key: row for row in report.rows}
    most = 0.0
    for (key, name), color in zip(REACTIONS.items(), LINES, strict=False):
        if key in rows:
            values = sorted(rows[key].ours)
            axes.plot(_shares(values), values, color=color, label=f"{name}: {_summary(values)}")
            most = max(most, _at(values, 99.5))
    for share in (50, 99):
        axes.axvline(share, color=FAINT, linewidth=1)
        if (bound := rows.get(f"reaction-idle-p{share}")) and bound.at_least is not None:
            axes.plot(
                share, bound.at_least, marker="v", color=TEXT, linestyle="none", label=f"bound of p{share}: {bound.at_least:g} ms"
            )
            most = max(most, bound.at_least)
    axes.set(xlim=(0, 100), ylim=(0, 1.1 * most or 1), xlabel="% of the jobs", ylabel="ms")
    axes.set_title("From mv to the job's first instruction, less the cost of a spawn")
    axes.legend(loc="upper left")
    return rows.keys() & REACTIONS.keys() != set()


def _shares(values: list[float]) -> list[float]:
    return [100 * (place + 0.5) / len(values) for place in range(len(values))]


def _at(values: list[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def _summary(values: list[float]) -> str:
    return f"p50 {median(values):.2f}, p99 {_at(values, 99):.2f}, most {values[-1]:.2f} ms"


def size(axes: Axes, report: Report) -> bool:
    """Draw what each deed costs as files become more, from the least to the most; return whether there were any."""
    found = sorted(filter(None, map(_sized, report.rows)), key=lambda one: (list(SIZES).index(one[0]), one[1]))
    for (what, steps), color in zip(groupby(found, key=lambda one: one[0]), LINES, strict=False):
        counts, samples = zip(*((count, values) for _, count, values in steps), strict=True)
        axes.fill_between(counts, list(map(min, samples)), list(map(max, samples)), color=color, alpha=0.2, linewidth=0)
        axes.plot(counts, list(map(median, samples)), marker="o", markersize=4, color=color, label=SIZES[what])
    axes.set(xscale="log", yscale="log", xlabel="files in the spool", ylabel="ms")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title("Cost against the number of files")
    axes.grid(axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return bool(found)


def _sized(row: Row) -> tuple[str, int, list[float]] | None:
    """Return what is drawn of a row whose key is size-WHAT-COUNT."""
    prefix, _, rest = row.key.partition("-")
    what, _, count = rest.rpartition("-")
    return (what, int(count), row.ours) if prefix == "size" and what in SIZES else None


PLOTS: dict[str, Callable[[Axes, Report], bool]] = {"drains": drains, "reaction": reaction, "size": size}


def draw(path: str) -> list[str]:
    """Draw what there are rows for, as SVG beside the file, and return the paths."""
    report, drawn = Report.load(path), []
    for name, plot in PLOTS.items():
        with matplotlib.rc_context(STYLE):
            figure, axes = pyplot.subplots(figsize=(WIDTH, 4.2), layout="constrained")
            if plot(axes, report):
                drawn.append(f"{os.path.dirname(path) or '.'}/{name}.svg")
                figure.savefig(drawn[-1], metadata={"Date": None})
            pyplot.close(figure)
    return drawn


if __name__ == "__main__":
    for path in draw(sys.argv[1]):
        print(path)
