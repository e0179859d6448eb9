"""A long run in short: what must not grow stays as it was, and retention takes what it is to take, without a stall."""

import os
import time
from pathlib import Path

import pytest
from soak.gauge import BOUNDS, Gauge
from soak.ledger import RULED, Ledger
from soak.load import OLD_JOBS
from soak.long_run import SOON, soak

SECONDS = float(os.environ.get("SOAK_SECONDS", 22))
SEED = int(os.environ.get("SEED", 1))


@pytest.fixture(scope="module")
def report():
    print(f"SEED={SEED}")
    return soak(SECONDS, SEED)


def test_nothing_grows_and_only_what_was_kept_long_enough_goes(report):
    assert report.wrong == []
    assert (report.restarts > 0, report.laid >= OLD_JOBS, report.runs > 100) == (True, True, True)


def test_letting_go_of_thousands_does_not_stall_the_queue(report):
    assert report.pause < SOON


# ---- what the ledger and the gauge see


@pytest.fixture
def ledger(spool, tmp_path):
    said = tmp_path / "said"
    said.mkdir()
    return Ledger(spool, str(said))


def seen(ledger, id, state, age=0.0, runs=1):
    """Let a job be seen in a state, so old, after so many runs."""
    path = Path(ledger.spool.path(state, id))
    path.write_text("{}")
    os.utime(path, (time.time() - age,) * 2)
    ledger.added(id, "silent")
    for attempt in range(runs):
        Path(ledger.said, f"{id}.{attempt + 1}").touch()
    ledger.look()
    return path


def gone(ledger, path):
    """Let the job's file go, and return what is wrong with that."""
    path.unlink()
    ledger.look()
    ledger.look()
    return ledger.wrong


def test_a_job_that_ended_and_is_old_enough_may_go(ledger):
    ledger.ruled("done", "10s")
    assert gone(ledger, seen(ledger, "x", "done", age=11)) == []


def test_a_job_with_enough_newer_ones_may_go(ledger):
    ledger.ruled("done", 1)
    old = seen(ledger, "old", "done", age=5)
    seen(ledger, "new", "done")
    assert gone(ledger, old) == []


@pytest.mark.parametrize("rule", ["10s", 1, "forever"])
def test_a_job_that_no_rule_lets_go_of_is_missed(ledger, rule):
    ledger.ruled("done", rule)
    (wrong,) = gone(ledger, seen(ledger, "x", "done", age=9))
    assert "x is gone from done/, 9." in wrong


@pytest.mark.parametrize("state", ["pending", "processing", "failed"])
def test_a_job_that_waits_or_runs_is_missed(ledger, state):
    ledger.ruled("done", 0)
    assert gone(ledger, seen(ledger, "x", state, age=1000)) == [f"x is gone from {state}/"]


def test_a_job_that_never_ran_is_missed(ledger):
    ledger.ruled("done", 0)
    assert gone(ledger, seen(ledger, "x", "done", runs=0)) == ["x is gone from done/ and never ran"]


def test_a_rule_that_was_changed_long_ago_is_no_excuse(ledger):
    ledger.ruled("done", "1s")
    ledger._rules[0] = ledger._rules[0]._replace(since=time.time() - 3 * RULED)
    ledger.ruled("done", "1h")
    ledger._rules[1] = ledger._rules[1]._replace(since=time.time() - 2 * RULED)
    assert len(gone(ledger, seen(ledger, "x", "done", age=9))) == 1


def test_a_job_that_comes_back_or_goes_the_wrong_way_is_seen(ledger):
    Path(ledger.spool.path("dead", "stranger")).write_text("{}")
    seen(ledger, "x", "dead")
    ledger.look()
    assert sorted(ledger.wrong) == ["dead/stranger is there, though nobody added it, or it was gone", "x is dead"]


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_what_grows_is_seen(name):
    gauge = Gauge(None, 0, None)
    steady = dict.fromkeys(BOUNDS, 100 << 20 if "memory" in name else 100)
    gauge.samples = [{**steady, name: steady[name] * (1 + sample**2)} for sample in range(100)]
    (wrong,) = gauge.grown()
    assert wrong.startswith(f"{name} has grown from ")
    gauge.samples = [steady] * 100
    assert list(gauge.grown()) == []
