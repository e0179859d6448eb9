import os
import sys
from types import SimpleNamespace

import pytest

from bench import run
from bench.report import Report
from bench.row import Failed, Row

PEER = SimpleNamespace(name="nq", version=lambda: "0.3")


@pytest.fixture
def bench(monkeypatch, place, tmp_path):
    """A bench of two modules, which measures nothing: returns a function that runs main() in that environment."""
    one = Row("first-row", "the first", "ms", [1.0])
    modules = {
        "first": SimpleNamespace(rows=lambda place, quick: iter([one])),
        "second": SimpleNamespace(rows=lambda place, quick: iter([Row("second-row", "quick" if quick else "slow", "ms", [2.0])])),
        "peers": SimpleNamespace(install=lambda: None, available=lambda: [PEER]),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"bench.{name}", module)
    monkeypatch.setattr(run, "MODULES", ("first", "second"))
    monkeypatch.setattr(run, "RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(run, "TRIES", str(tmp_path / "results/tries"))
    monkeypatch.setattr(run, "Place", lambda: place.__class__())
    monkeypatch.setattr(run, "plot", lambda path: None)

    def start(**environment):
        for name in ("QUICK", "ROWS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return run.main()

    start.results, start.modules = tmp_path / "results", modules
    return start


def latest(folder):
    return Report.load(str(folder / "latest.json"))


def test_all_rows_are_printed_and_written_with_the_machine(bench, capsys):
    assert bench() == 0
    report = latest(bench.results)
    assert ([row.key for row in report.rows], report.failed, report.quick) == (["first-row", "second-row"], [], False)
    assert (report.machine["cores"], report.machine["peers"]) == (len(os.sched_getaffinity(0)), {"nq": "0.3"})
    assert os.path.exists(bench.results / f"{report.date.replace(':', '')}.json")
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("the first", "1.00 ms", "slow", "2 rows, 0 failed"))


def test_rows_are_chosen_and_quick_ones_never_replace_whole_ones(bench):
    assert bench(QUICK="1", ROWS="second") == 0
    report = latest(bench.results / "tries")
    assert ([row.what for row in report.rows], report.quick, (bench.results / "latest.json").exists()) == (["quick"], True, False)


@pytest.mark.parametrize("environment", [{"QUICK": "1"}, {"ROWS": "first"}])
def test_what_is_quick_or_not_whole_is_only_a_try(bench, environment):
    assert (bench(**environment), (bench.results / "latest.json").exists()) == (0, False)


@pytest.mark.parametrize("environment", [{"QUICK": "0"}, {"QUICK": "", "ROWS": ""}, {"ROWS": "second,first"}])
def test_what_is_all_and_not_quick_is_whole(bench, environment):
    assert (bench(**environment), (bench.results / "latest.json").exists()) == (0, True)


def test_rows_that_there_are_not(bench, capsys):
    assert bench(ROWS="first,drians") == 2
    assert capsys.readouterr().err == "bench: ROWS has drians; there are first, second\n"


def test_a_module_that_fails_is_told_and_the_others_go_on(bench, capsys):
    def rows(place, quick):
        yield Row("before", "before", "ms", [1.0])
        raise AssertionError("3 jobs waited, 2 came to done/")

    bench.modules["first"].rows = rows
    assert bench() == 1
    report = latest(bench.results)
    assert [row.key for row in report.rows] == ["before", "second-row"]
    assert report.failed == [Failed("first", "AssertionError: 3 jobs waited, 2 came to done/")]
    printed = capsys.readouterr()
    assert ("3 jobs waited, 2 came to done/" in printed.out, "2 rows, 1 failed" in printed.out, "Traceback" in printed.err) == (
        True,
    ) * 3


def test_a_module_that_is_not_there_is_told(bench, monkeypatch):
    monkeypatch.setattr(run, "MODULES", ("first", "nowhere"))
    assert bench() == 1
    assert latest(bench.results).failed == [Failed("nowhere", "ModuleNotFoundError: No module named 'bench.nowhere'")]


def test_a_row_that_failed_by_itself_is_a_failure_of_the_run(bench):
    bench.modules["first"].rows = lambda place, quick: iter([Failed("first-row", "ValueError: no")])
    assert (bench(), latest(bench.results).failed) == (1, [Failed("first-row", "ValueError: no")])


def test_without_peers_the_rest_is_measured(bench):
    def install():
        raise OSError("no network")

    bench.modules["peers"].install = install
    assert bench() == 1
    report = latest(bench.results)
    assert (len(report.rows), report.failed, report.machine["peers"]) == (2, [Failed("peers", "OSError: no network")], {})


def test_plots_that_can_not_be_drawn_are_told(bench, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(run, "PLOTTER", "/nowhere/python")
    failed = run.plot("latest.json")
    assert (failed.key, failed.reason.startswith("FileNotFoundError: ")) == ("plots", True)
    monkeypatch.setattr(run, "PLOTTER", "false")
    assert run.plot("latest.json").reason.startswith("CalledProcessError: ")


def test_plots_that_fail_fail_the_run(bench, monkeypatch, capsys):
    monkeypatch.setattr(run, "plot", lambda path: Failed("plots", "no matplotlib"))
    assert (bench(), "no matplotlib" in capsys.readouterr().out) == (1, True)
