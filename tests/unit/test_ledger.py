"""What the journal adds up to, and that it outlives the journal's old segments."""

import os

import pytest

from jobspool import journal, ledger
from jobspool.ledger import Ledger


def event(kind, source, target, time="2026-11-24T10:15:30.000000Z", **what):
    return {"time": time, "event": kind, "job": "x", "from": source, "to": target, **what}


def folded(*events):
    book = Ledger()
    for each in events:
        book.take(each)
    return book


RUN = [
    event("added", None, "pending"),
    event("claimed", "pending", "processing", attempt=1, waited=0.5),
    event("ended", "processing", "done", attempt=1, verdict="done", exit=0, duration=2.0, commit=0.002),
]


def test_a_job_that_was_run_is_counted_where_it_is():
    book = folded(*RUN, event("added", None, "pending"))
    assert book.counts == {"pending": 1, "processing": 0, "done": 1, "failed": 0, "dead": 0}
    assert (book.totals, book.attempts) == ({"enqueued": 2, "recovered": 0, "rejected": 0}, {("done", "none"): 1})


def test_times_come_to_their_histograms():
    book = folded(*RUN)
    found = [(each.sum, each.total, each.bounds[each.counts.index(1)]) for each in (book.waits, book.durations, book.commits)]
    assert found == [(0.5, 1, 1.0), (2.0, 1, 3.0), (0.002, 1, 0.003)]


def test_a_value_above_all_bounds_and_one_on_a_bound_are_counted():
    histogram = ledger.Histogram((1.0, 2.0))
    for value in (1.0, 2.5, 0.0):
        histogram.take(value)
    assert (histogram.counts, histogram.total, histogram.sum) == ([2, 0, 1], 3, 3.5)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ({"reason": "exit 3", "exit": 3}, "exit"),
        ({"reason": "ended by SIGSEGV", "signal": "SIGSEGV"}, "signal"),
        ({"reason": "timeout after 30 s"}, "timeout"),
        ({"reason": "worker lost"}, "lost"),
        ({"reason": "no output for 0.3 s"}, "silent"),
        ({"reason": "no such program: x", "exit": 127}, "start"),
        ({"reason": "over 512 MiB of memory"}, "limit"),
        ({"reason": "cancelled by ann"}, "cancelled"),
        ({"reason": "whatever a job says of itself"}, "other"),
        ({"reason": 7}, "none"),
        ({}, "none"),
    ],
)
def test_reasons_are_of_a_bounded_set(said, counted):
    assert ledger.reason_of(said) == counted


def test_a_recovered_attempt_is_counted_as_one_and_as_recovered():
    lost = event("recovered", "processing", "failed", verdict="failed", reason="worker lost")
    book = folded(*RUN[:2], lost)
    assert (book.attempts, book.totals["recovered"], book.counts["failed"]) == ({("failed", "lost"): 1}, 1, 1)


def test_an_audit_says_how_many_there_are_or_how_many_more():
    every = {"time": RUN[0]["time"], "event": "counted", "job": "", "all": True, "counts": {"pending": 5, "done": 2}}
    more = {**every, "all": False, "counts": {"pending": -1, "done": 1, "elsewhere": 9}}
    assert folded(*RUN, every, more).counts == {"pending": 4, "processing": 0, "done": 3, "failed": 0, "dead": 0}


def test_minutes_are_told_apart_and_older_ones_than_an_hour_go():
    times = ["2026-11-24T09:00:30Z", "2026-11-24T10:15:30Z", "2026-11-24T10:15:59Z", "2026-11-24T10:16:00Z"]
    book = folded(*(event("added", None, "pending", time=time) for time in times))
    assert [(minute["at"] % 3600 // 60, minute["added"]) for minute in book.minutes] == [(15, 2), (16, 1)]


def test_a_clock_that_is_set_back_loses_no_count():
    times = ["2026-11-24T10:16:00Z", "2026-11-24T08:00:00Z", "no time"]
    assert [minute["added"] for minute in folded(*(event("added", None, "pending", time=time) for time in times)).minutes] == [3]


def test_a_ledger_is_as_it_was_when_it_is_read_again():
    book = folded(*RUN, {**event("rejected", "pending", "dead"), "cursor": "3:99"})
    again = ledger.parsed(ledger.written(book))
    assert ledger.written(again) == ledger.written(book)
    assert (again.cursor, again.totals["rejected"]) == ("3:99", 1)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 2}', b"\xff", b'{"format": 1, "cursor": "1:0", "counts": []}']
)
def test_a_file_that_is_no_ledger_is_told_anew(tmp_path, content):
    os.mkdir(tmp_path / "journal")
    (tmp_path / "journal/ledger.json").write_bytes(content)
    journal.append(str(tmp_path), journal.lines("added", ["x"], None, "pending", 0.0, {}), 1 << 30, 0o600)
    assert ledger.folded(str(tmp_path)).counts["pending"] == 1


def test_nothing_is_forgotten_when_old_segments_go(spool):
    spool.settings()
    with open(f"{spool.root}/config.json", "w") as file:
        file.write('{"format": 1, "journal_bytes": 1}')
    for _ in range(60):
        spool.add_many([(None, {"command": "true"})] * 50)
        spool.note("changed", ["x"] * 300, "dead", "dead", spool.settings())
    assert min(journal.segments(spool.root)) > 1
    assert journal.size(spool.root) < journal.LEAST + 3 * journal.SMALLEST
    book = ledger.folded(spool.root)
    assert (book.totals["enqueued"], book.counts["pending"]) == (3000, 3000)


def test_with_the_journal_switched_off_nothing_is_written(spool):
    with open(f"{spool.root}/config.json", "w") as file:
        file.write('{"format": 1, "journal_bytes": 0}')
    before = journal.size(spool.root)
    spool.add("true")
    assert journal.size(spool.root) == before


def test_what_can_not_be_written_keeps_no_job_from_being_added(spool):
    os.rename(f"{spool.root}/journal", f"{spool.root}/elsewhere")
    with open(f"{spool.root}/journal", "w"):
        pass
    job = spool.add("true")
    assert os.path.exists(spool.path("pending", job.id))
