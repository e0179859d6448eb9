"""When jobs may run, until when they may, and until when they are tried again: with real workers."""

import os
import time

import pytest
from kit import comes_to, drop, pool, queuectl, until, where

from jobspool.job import iso


def test_a_delay_and_a_time_are_the_mtime_of_the_file(spool):
    for option, value in (("--delay", "10m"), ("--at", "in 10 minutes")):
        id = queuectl("enqueue", "true", option, value, spool=spool, check=True).stdout.strip()
        assert 595 < os.stat(spool.path("pending", id)).st_mtime - time.time() < 601
    assert queuectl("enqueue", "true", "--delay", "0.1", spool=spool, check=True)
    with pool(spool):
        until(lambda: spool.count("done") == 1, "the one whose time came")
        assert spool.count("pending") == 2


def test_what_expires_goes_to_dead_with_the_reason_and_never_runs(spool, tmp_path):
    drop(spool, "late", {"command": f"touch {tmp_path}/ran", "expires": "2020-01-01T00:00:00Z"})
    drop(spool, "soon", {"command": f"touch {tmp_path}/ran", "expires": iso(time.time() + 0.3), "hold": "so that it waits"})
    with pool(spool):
        for id in ("late", "soon"):
            assert comes_to(spool, id, "dead").record["cancelled"].startswith("too late: it expired at 20")
    assert not (tmp_path / "ran").exists()
    assert "too late: it expired at 2020" in queuectl("why", "late", spool=spool).stdout
    assert queuectl("dlq", "list", spool=spool).stdout.count("too late") == 2


def test_what_could_never_run_is_refused(spool):
    ran = queuectl("enqueue", "true", "--delay", "2h", "--expires", "1h", spool=spool)
    assert (ran.returncode, "it could never run" in ran.stderr, spool.count("pending")) == (2, True, 0)


def test_what_expired_while_nobody_looked_is_not_run_when_its_time_comes_again(spool, tmp_path):
    drop(spool, "x", {"command": f"touch {tmp_path}/ran; exit 1", "expires": iso(time.time() + 0.2), "backoff": [0.5]})
    with pool(spool):
        assert len(comes_to(spool, "x", "dead").attempts) <= 1


@pytest.mark.parametrize("command", [["run", "--now"], ["start", "--drain"]])
def test_nobody_runs_what_is_too_late(spool, tmp_path, command):
    if command[0] == "run":
        ran = queuectl("run", "--now", "--at", "2s", "--expires", "0.5", f"touch {tmp_path}/ran", spool=spool)
        assert ran.returncode == 1
    else:
        drop(spool, "x", {"command": f"touch {tmp_path}/ran", "deadline": "2020-01-01T00:00:00Z"})
        queuectl("start", "--drain", spool=spool, check=True)
    assert (spool.count("dead"), (tmp_path / "ran").exists()) == (1, False)


def test_a_retry_of_what_was_too_late_runs(spool):
    drop(spool, "x", {"command": "true", "expires": "2020-01-01T00:00:00Z"})
    queuectl("start", "--drain", spool=spool, check=True)
    queuectl("retry", "x", spool=spool, check=True)
    queuectl("start", "--drain", spool=spool, check=True)
    assert where(spool, "x") == ["done"]
    assert "expires" not in spool.read("done", "x").record


def test_an_attempt_is_ended_at_its_deadline_and_not_tried_again(spool):
    drop(spool, "x", {"command": "sleep 1032", "deadline": (when := iso(time.time() + 0.5)), "timeout": 1000})
    with pool(spool):
        [attempt] = comes_to(spool, "x", "dead").attempts
    assert attempt["reason"] == f"deadline {when}"


def test_a_job_is_tried_again_until_a_time(spool):
    queuectl("config", "set", "max_retries", "0", spool=spool, check=True)
    with pool(spool):
        drop(spool, "x", {"command": "false", "retry_until": iso(time.time() + 1), "backoff": [0.1]})
        job = comes_to(spool, "x", "dead")
    assert len(job.attempts) > 1
    assert "/" not in queuectl("list", spool=spool).stdout.splitlines()[1].split("exit")[0].split()[2]


def test_each_way_to_wait_before_retries(spool):
    words = ["enqueue", "false", "--backoff", "0.01,0.02s", "--max-retries", "2", "--id", "x"]
    queuectl(*words, spool=spool, check=True)
    with pool(spool):
        assert len(comes_to(spool, "x", "dead").attempts) == 3
    assert spool.read("dead", "x").record["backoff"] == [0.01, 0.02]


def test_times_with_units_are_seconds_in_the_file(spool):
    words = ["--timeout", "1h30m", "--grace", "5s", "--snooze", "10m", "--exits", "3=done,64=dead", "--backoff", "linear"]
    id = queuectl("enqueue", "true", *words, spool=spool, check=True).stdout.strip()
    record = spool.read("pending", id).record
    assert {word: record[word] for word in ("timeout", "grace", "snooze", "exits", "backoff")} == {
        "timeout": 5400,
        "grace": 5,
        "snooze": 600,
        "exits": {"3": "done", "64": "dead"},
        "backoff": "linear",
    }


def test_the_grace_of_a_job_is_its_own(spool):
    drop(spool, "x", {"command": "trap '' TERM; sleep 1033 & wait; wait", "timeout": 0.2, "grace": 0.1, "max_retries": 0})
    with pool(spool):
        begun = time.monotonic()
        comes_to(spool, "x", "dead")
        assert time.monotonic() - begun < 9
