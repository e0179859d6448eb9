"""The table: for a terminal row by row, and as Markdown. `python -m bench.table bench/results/latest.json` prints the latter."""

from __future__ import annotations

import sys
from statistics import median

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.machine import described
from bench.report import Report
from bench.row import Failed, Row

HEADINGS = ("what", "queuectl", "beside", "ratio (min-max)", "bound", "aim", "")
WIDTHS = (11, 6, 9, 5, 3, 3, 2)  # parts of the terminal's width, so that tables of one row stand in line
README = "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PLOTS = {
    "drains": "Drain rates beside the peers",
    "reaction": "Reaction times",
    "size": "Cost against the number of files",
}


# ---- cells


def cells(row: Row) -> tuple[str, ...]:
    """Return what stands under the HEADINGS."""
    return (row.what, _ours(row), _beside(row), _ratio(row), _bound(row, row.at_least), _bound(row, row.aim), _holds(row))


def figure(value: float) -> str:
    """Return the number with three digits that count, or all that stand before the point; small ones with two."""
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _ours(row: Row) -> str:
    said = f"{figure(median(row.ours))} {row.unit}{_in_y(row.ours, row.y)}"
    return said if row.beside else said + _range(row)


def _beside(row: Row) -> str:
    return f"{row.against}: {figure(median(row.beside))} {row.unit}{_in_y(row.beside, row.y)}" if row.beside else row.against


def _in_y(rates: list[float], y: list[float]) -> str:
    return f" = {median(rate / one for rate, one in zip(rates, y, strict=True)):.2f} y" if y else ""


def _ratio(row: Row) -> str:
    return f"{row.middle:.2f}{_range(row)}" if row.beside else ""


def _range(row: Row) -> str:
    return f" ({figure(min(row.values))}-{figure(max(row.values))})" if len(row.values) > 1 else ""


def _bound(row: Row, bound: float | None) -> str:
    return "" if bound is None else f"{'≥' if row.more_is_better else '≤'} {bound:g}"


def _holds(row: Row) -> str:
    return {True: "✓", False: "short", None: ""}[row.holds]


# ---- for a terminal


def heading() -> Table:
    """Return the first line."""
    return _line(*(Text(word, style="bold") for word in HEADINGS))


def as_text(row: Row | Failed) -> Group:
    """Return a row as a table of its own, as wide as all others, for a terminal; its note is below."""
    if isinstance(row, Failed):
        return Group(_line(Text(row.key), Text("failed", style="red")), _below(row.reason))
    *texts, holds = cells(row)
    line = _line(*map(Text, texts), Text(holds, style="green" if row.holds else "red"))
    return Group(line, _below(row.note)) if row.note else Group(line)


def _below(text: str) -> Padding:
    return Padding(Text(text, style="dim"), (0, 0, 0, 2))


def _line(*texts: Text) -> Table:
    table = Table(box=None, show_header=False, expand=True, padding=(0, 2, 0, 0))
    for part in WIDTHS:
        table.add_column(ratio=part, overflow="fold")
    table.add_row(*texts)
    return table


# ---- Markdown


def as_markdown(report: Report) -> str:
    """Return the rows that have a bound, the others folded in behind, what failed, the notes, and when and where it was."""
    notes = list(dict.fromkeys(row.note for row in report.rows if row.note))
    parts = [
        _markdown([row for row in report.rows if row.at_least is not None], notes),
        _folded(_markdown([row for row in report.rows if row.at_least is None], notes)),
        "\n".join(f"- {one.key} failed: {_escaped(one.reason)}" for one in report.failed),
        "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)),
        where_and_when(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def where_and_when(report: Report) -> str:
    """Return the sentence below the table."""
    y = f" y, {figure(report.y)}/s here, is how many processes one Python loop spawns and waits for." if report.y else ""
    how = "Quickly measured, with few jobs," if report.quick else "Measured"
    return f"{how} on {report.date[:10]}: {described(report.machine)}.{y}"


def _markdown(rows: list[Row], notes: list[str]) -> str:
    if not rows:
        return ""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    for row in rows:
        what, *more = map(_escaped, cells(row))
        lines.append((f"{what} <sup>{notes.index(row.note) + 1}</sup>" if row.note else what, *more))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(text: str) -> str:
    return f"<details><summary>More figures, without a bound</summary>\n\n{text}\n\n</details>" if text else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def fill(page: str, report: Report) -> str:
    """Return the page with the plots and the table between its two marks."""
    before, begin, behind = page.partition(BEGIN)
    _, end, behind = behind.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: the page lacks {BEGIN} and {END}")
    plots = "\n\n".join(f"![{title}](bench/results/{name}.svg)" for name, title in PLOTS.items())
    return f"{before}{BEGIN}\n{plots}\n\n{as_markdown(report)}{END}{behind}"


def main(words: list[str]) -> None:
    """Print the table of that file, or put it into README.md with --readme."""
    paths = [word for word in words if word != "--readme"] or ["bench/results/latest.json"]
    report = Report.load(paths[0])
    if "--readme" not in words:
        print(as_markdown(report), end="")
        return
    with open(README) as file:
        page = fill(file.read(), report)
    with open(README, "w") as file:
        file.write(page)


if __name__ == "__main__":
    main(sys.argv[1:])
