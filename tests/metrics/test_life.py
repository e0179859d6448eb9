"""What is told while workers run, and over their ends and starts."""

import os
import shutil
import signal

import pytest
from kit import comes_to, drop, everyone, pool, until, until_it_runs, workers
from metrics.conftest import told

from jobspool import config, hands, metrics, size


def ended(found, *labels):
    return found.get(("attempts_total", *labels), 0)


def test_counters_and_histograms_go_on_over_restarts(spool):
    for command in ("true", "true", "exit 3"):
        spool.add(command, max_retries=0)
    with pool(spool, 2):
        until(lambda: sum(spool.count(state) for state in ("done", "dead")) == 3, "all to end")
        until(lambda: told(spool).get(("job_duration_seconds_count",)) == 3, "all to be told")
    before = told(spool)
    assert (ended(before, "none", "done"), ended(before, "exit", "dead"), before["enqueued_total",]) == (2, 1, 3)
    assert [before[f"{name}_seconds_count",] for name in ("job_duration", "queue_wait", "commit")] == [3, 3, 3]
    assert before["queue_wait_seconds_sum",] > 0 and before["commit_seconds_sum",] > 0
    spool.add("true")
    with pool(spool):
        until(lambda: ended(told(spool), "none", "done") == 3, "one more")
    after = told(spool)
    assert [key for key in before if key[0].endswith(("_total", "_count", "_bucket", "_sum")) and after[key] < before[key]] == []
    assert (after["enqueued_total",], after["job_duration_seconds_count",]) == (4, 4)


def test_where_the_journal_was_removed_they_begin_anew(spool):
    spool.add("true")
    assert told(spool)["enqueued_total",] == 1
    shutil.rmtree(f"{spool.root}/journal")
    assert (told(spool)["enqueued_total",], told(spool)["jobs", "pending"]) == (0, 1)


def test_many_files_that_hands_bring_at_once_are_all_counted_also_where_the_journal_keeps_fewer(spool):
    config.change(spool.root, "journal_bytes", 100_000, spool.spare(), 0o600)
    for number in range(5000):
        drop(spool, f"j{number}", {"command": "true"}, "done")
    until(lambda: told(spool)["jobs", "done"] == 5000, "all to be counted")
    assert told(spool)["enqueued_total",] == 5000


def test_with_no_journal_what_tells_of_now_is_there_all_the_same(spool):
    config.change(spool.root, "journal_bytes", 0, spool.spare(), 0o600)
    spool.add("true")
    found = told(spool)
    assert (found["jobs", "pending"], found["oldest_pending_seconds",] > 0, found["spool_bytes",] > 0) == (1, True, True)
    assert found["enqueued_total",] == 0


def test_workers_are_busy_or_idle(spool):
    assert [told(spool)[key] for key in (("workers", "busy"), ("workers", "idle"), ("supervisors",))] == [0, 0, 0]
    spool.add("sleep 100", id="long")
    with pool(spool, 3):
        until_it_runs(spool)
        found = told(spool)
        assert [found[key] for key in (("workers", "busy"), ("workers", "idle"), ("supervisors",))] == [1, 2, 1]


def test_a_lost_worker_and_a_dropped_file_that_is_no_job_are_counted(spool):
    spool.add("sleep 100", id="long", max_retries=0)
    with pool(spool):
        until_it_runs(spool)
        drop(spool, "broken", b"{")
        entry = next(each for each in everyone(spool) if each.get("group"))
        os.kill(entry["pid"], signal.SIGKILL)
        os.killpg(entry["group"], signal.SIGKILL)
        comes_to(spool, "broken", "dead")
        comes_to(spool, "long", "dead")
        until(lambda: [told(spool)[f"{name}_total",] for name in ("recovered", "rejected")] == [1, 1], "both to be counted")
        assert told(spool)["jobs", "dead"] == 2


@pytest.fixture
def listed(monkeypatch):
    """The directories that were listed by this process."""
    seen = []
    for real in (os.listdir, os.scandir):
        monkeypatch.setattr(os, real.__name__, lambda path=".", real=real: seen.append(str(path)) or real(path))
    return seen


def test_while_a_supervisor_runs_no_directory_of_jobs_or_logs_is_read(spool, listed):
    for state in ("done", "dead"):
        for number in range(20):
            drop(spool, f"{state}-{number}", {"command": "true"}, state)
    with pool(spool):
        hands.pause(spool, "", spool.settings())
        spool.add("true", id="waits")
        until(lambda: told(spool).get(("oldest_pending_seconds",)), "the supervisor to say what waits")
        until(lambda: told(spool)["jobs", "done"] == 20, "what hands did to be known")
        until(lambda: ("spool_bytes",) in told(spool), "the spool to be measured")
        listed.clear()
        found = told(spool)
        folders = {path.removeprefix(f"{spool.root}/") for path in listed}
        assert folders <= {"workers", "journal"}
        assert (found["jobs", "pending"], found["jobs", "dead"], found["paused",]) == (1, 20, 1)
        assert found["spool_bytes",] > 40 * 4096
    listed.clear()
    told(spool)
    assert {f"{spool.root}/pending", f"{spool.root}/failed"} <= set(listed)  # nobody is there to say it: the look finds them


def test_an_idle_pool_is_not_kept_awake_by_being_measured(spool):
    with pool(spool):
        until(lambda: size.read(spool), "the first measure")
        first = size.read(spool)
        spool.add("true", id="x")
        comes_to(spool, "x", "done")
        assert (size.read(spool), len(workers(spool))) == (first, 1)


def test_the_core_imports_none_of_it():
    import subprocess
    import sys

    from kit import TOP

    code = "import queuectl, sys; from jobspool import supervisor, worker; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOP, check=True)
    assert {"jobspool.metrics", "jobspool.size", "prometheus_client", "wsgiref"} & set(done.stdout.split()) == set()
    assert metrics.METRICS
