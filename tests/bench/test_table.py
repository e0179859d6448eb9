import json
import re
from io import StringIO

import pytest
from rich.console import Console

from bench import table
from bench.report import Report


def test_a_report_comes_back_from_the_disk_as_it_was(report, tmp_path):
    path = report.save(str(tmp_path))
    assert Report.load(path) == report
    assert (path, sorted(one.name for one in tmp_path.iterdir())) == (
        f"{tmp_path}/latest.json",
        ["2026-11-25T0415.json", "latest.json"],
    )


def test_the_file_has_all_samples_the_bounds_and_what_is_computed(report, tmp_path):
    with open(report.save(str(tmp_path))) as file:
        row = json.load(file)["rows"][0]
    kept = {name: row[name] for name in ("ours", "beside", "at_least", "aim", "median", "low", "high", "holds")}
    assert kept == {
        "ours": [2600.0, 2400.0], "beside": [2000.0, 2000.0], "at_least": 1.3, "aim": 1.45,
        "median": 1.25, "low": 1.2, "high": 1.3, "holds": False,
    }  # fmt: skip


def test_y_is_the_median_of_all_that_was_measured_of_it(report):
    report.rows[0].beside, report.rows[1].y = [1900.0, 1990.0], [2000.0, 2100.0]
    assert report.y == 1995.0
    report.rows = report.rows[2:]
    assert (report.y, "y," in table.where_and_when(report)) == (None, False)


def test_a_row_beside_y(report):
    assert table.cells(report.rows[0]) == (
        "drain 20,000 `true`, 2 workers", "2,500 jobs/s", "y: 2,000 jobs/s", "1.25 (1.20-1.30)", "≥ 1.3", "≥ 1.45", "short",
    )  # fmt: skip


def test_a_row_beside_a_peer_has_both_in_y_too(report):
    assert table.cells(report.rows[1]) == (
        "drain beside nq", "2,100 jobs/s = 1.05 y", "nq: 400 jobs/s = 0.20 y", "5.25 (5.00-5.50)", "≥ 1", "≥ 7", "✓",
    )  # fmt: skip


def test_a_row_with_nothing_beside_it(report):
    assert table.cells(report.rows[3]) == ("from `mv` to the job, p50", "0.45 ms (0.40-0.50)", "", "", "≤ 1.2", "", "✓")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.018, "0.018"), (0.25, "0.25"), (1.254, "1.25"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_figures_have_three_digits_that_count(value, shown):
    assert table.figure(value) == shown


def test_the_markdown_has_each_row_and_what_failed(report):
    lines = table.as_markdown(report).splitlines()
    for row in report.rows:
        assert [line for line in lines if line.startswith(f"| {row.what} ")], row.key
    assert "- idle failed: AssertionError: no \\| job" in lines


def test_the_rows_of_the_markdown_have_as_many_cells_as_its_heading(report):
    rows = [line for line in table.as_markdown(report).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {len(table.HEADINGS) + 1}


def test_the_markdown_says_when_and_where_and_how(report):
    last = table.as_markdown(report).splitlines()[-1]
    assert last.startswith(
        "Measured on 2026-11-25: 2 cores of AMD EPYC, 24 GiB, Linux 6.1, ext4, Python 3.11.7, queuectl 0.1.0, nq 0.3. y, 2,000/s"
    )
    report.quick = True
    assert table.where_and_when(report).startswith("Quickly measured, with few jobs, on 2026-11-25")


def test_a_server_that_many_peers_have_is_told_once(report):
    report.machine = report.machine | {
        "peers": {"huey on Redis": "huey 3.5.4, redis-server 7.0.15", "nq": "0.3", "rq on Redis": "rq 3.0, redis-server 7.0.15"}
    }
    assert "queuectl 0.1.0, huey 3.5.4, redis-server 7.0.15, nq 0.3, rq 3.0. y, 2,000/s" in table.where_and_when(report)


def test_a_note_stands_once_below_and_is_referred_to(report):
    text = table.as_markdown(report)
    assert ("| drain beside nq <sup>2</sup> |" in text, text.count("a | b"), "\n2. a | b\n" in text) == (True, 1, True)


def test_the_terminal_shows_each_cell_and_note_of_each_row(report):
    console = Console(width=200, record=True, file=StringIO())
    for one in [*report.rows, *report.failed]:
        console.print(table.as_text(one))
    shown = console.export_text()
    wanted = [word for row in report.rows for word in (*table.cells(row), row.note)] + ["idle", "failed", "no | job"]
    assert [word for word in wanted if word not in shown] == []


def test_lines_of_the_terminal_stand_in_line(report):
    console = Console(width=120, record=True, file=StringIO())
    for one in (table.heading(), *map(table.as_text, report.rows[:2])):
        console.print(one)
    shown = console.export_text().splitlines()
    at = [next(line.index(word) for line in shown if word in line) for word in ("queuectl", "2,500 jobs/s", "2,100 jobs/s")]
    assert len(set(at)) == 1


def test_the_table_is_put_between_the_marks_of_the_page_again_and_again(report):
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nbehind\n"
    filled = table.fill(page, report)
    assert (filled.startswith(f"before\n{table.BEGIN}\n![Drain"), filled.endswith(f"{table.END}\nbehind\n"), "old" in filled) == (
        True,
        True,
        False,
    )
    assert table.fill(filled, report) == filled
    with pytest.raises(SystemExit):
        table.fill("no marks", report)


def test_the_readme_has_the_marks():
    from kit import TOP

    text = (TOP / "README.md").read_text()
    assert [text.count(mark) for mark in (table.BEGIN, table.END)] == [1, 1]


def test_the_command_prints_the_markdown(report, tmp_path, capsys):
    table.main([report.save(str(tmp_path))])
    assert capsys.readouterr().out == table.as_markdown(report)


def test_the_command_fills_the_readme(report, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(f"{table.BEGIN}\n{table.END}\n")
    monkeypatch.chdir(tmp_path)
    table.main(["--readme", report.save(str(tmp_path))])
    assert table.as_markdown(report) in (tmp_path / "README.md").read_text()
