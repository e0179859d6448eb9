"""The clock is set back or forward by a day while jobs wait and run: what CAVEATS of queuectl-spool(5) says of it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from kit import Clock, drop, new_spool, until

from jobspool import Spool, process, recovery, retention, roster
from jobspool import claim as claims
from jobspool.channel import Ears
from jobspool.claim import Refused
from jobspool.config import Settings
from jobspool.job import new_id, seconds
from jobspool.logs import Pair
from jobspool.retry import judge
from jobspool.run import Attempt
from jobspool.sight import SCAN_EVERY, Sight

A_DAY = 86_400.0
NOON = 1_800_000_000.0
TRIED = {"number": 1, "ended": "2026-01-01T00:00:00.000000Z", "verdict": "dead"}


@pytest.fixture
def clock():
    return Clock(NOON)


@pytest.fixture
def spool(tmp_path, clock):
    return Spool(new_spool(tmp_path).root, now=clock)


def put(spool, id, mtime, state="pending", **words):
    """A job's file of that time."""
    os.utime(drop(spool, id, {"command": "true", **words}, state), (mtime, mtime))


def sees(spool):
    """What a supervisor hands out now, in its order."""
    sight = Sight(spool, lambda id: False, print, print)
    with sight.watch:
        sight.look_around(time.monotonic())
        assert sight.seconds_to_sleep(time.monotonic()) <= SCAN_EVERY  # a clock that is set is noticed
        return sight.next(10)


def test_set_back_what_waits_waits_until_the_clock_is_there_again_and_newcomers_run_before_it(spool, clock):
    put(spool, "before", NOON)
    clock.time -= A_DAY
    put(spool, "after", clock.time)
    assert sees(spool) == ["after"]
    assert claims.take(spool, "before", Settings()) == Refused("early")
    clock.time += A_DAY
    assert sees(spool) == ["after", "before"]


def test_set_forward_what_was_put_off_or_is_to_be_tried_again_may_run_at_once_in_its_order(spool, clock):
    put(spool, "put-off", NOON + 3600)
    put(spool, "old", NOON - 3600)
    put(spool, "failed", NOON + 60, "failed")
    assert sees(spool) == ["old"]
    clock.time += A_DAY
    assert sees(spool) == ["old", "failed", "put-off"]


def test_set_back_a_failed_job_is_due_when_the_clock_is_there_again(spool, clock):
    put(spool, "x", NOON + 60, "failed")
    clock.time -= A_DAY
    assert claims.due_again(spool, "x", clock.time) == NOON + 60
    clock.time = NOON + 60
    assert (claims.due_again(spool, "x", clock.time), spool.names("pending")) == (None, ["x"])


def test_ids_are_in_the_order_of_the_clock():
    assert new_id(NOON - A_DAY, 0) < new_id(NOON, 0) < new_id(NOON + A_DAY, 0)


def test_what_was_done_is_kept_by_the_clock(spool, clock):
    put(spool, "x", NOON - 60, "done")
    for step, left in ((-A_DAY, ["x"]), (A_DAY - 120, ["x"]), (A_DAY, [])):
        clock.time = NOON + step
        list(retention.prune_state(spool, "done", "1d", Settings(), []))
        assert spool.names("done") == left


@pytest.mark.parametrize("step", [-A_DAY, A_DAY])
def test_an_attempt_takes_as_long_as_it_takes_and_its_timeout_comes_in_time(spool, clock, step):
    put(spool, "x", NOON - 1, command="sleep 1000")
    claim = claims.take(spool, "x", Settings())
    attempt = Attempt(claim, Settings({"timeout": 0.2, "grace": 0}), Pair(spool, os.getpid(), 0o600))
    attempt.start({"PATH": os.defpath})
    clock.time += step
    until(lambda: attempt.ended(Ears([])) or attempt.overdue(), "the timeout")
    assert attempt.overdue()
    attempt.end("timeout")
    outcome = attempt.outcome()
    attempt.logs.close()
    entry = claims.entry_for(claim, outcome, judge([], outcome, Settings({"backoff_jitter": 0}), 0), "here:1")
    assert 0.2 <= entry["duration"] < 20
    assert (outcome.started, outcome.ended, seconds(entry["due"])) == (NOON, NOON + step, NOON + step + 2)
    claim.release()


@pytest.mark.parametrize(("step", "took"), [(-A_DAY, 0), (A_DAY, A_DAY)])
def test_a_lost_attempt_is_as_long_as_the_clock_says_and_never_negative(spool, clock, step, took):
    began = clock.time = time.time()  # the kernel's clock, which says when a file that has no record yet came to processing/
    for id, words in (("new", {}), ("tried", {"attempts": [TRIED]})):
        put(spool, id, began - 1, **words)
        claims.take(spool, id, Settings()).release()
    clock.time += step
    recovery.mend(spool, recovery.plan(spool), Settings(), 0.0)
    for id in ("new", "tried"):
        assert spool.read("failed", id).attempts[-1]["duration"] == pytest.approx(took, abs=2)


@pytest.mark.parametrize("step", [-A_DAY, A_DAY])
def test_a_job_whose_worker_died_is_not_ended_before_its_timeout(spool, clock, step):
    put(spool, "x", NOON - 1, timeout=60)
    claim = claims.take(spool, "x", Settings())
    job = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        said = {
            "role": "worker",
            "name": "here:1",
            "pid": 1 << 30,
            "start": 1,
            "boot": process.boot(),
            "spool": roster.identity(spool),
            **json.loads(f"{{{roster.running('x', 1, job.pid)}}}"),
        }
        Path(spool.root, "workers", "worker-1.json").write_text(json.dumps(said))
        clock.time += step
        assert recovery.leftovers(spool, Settings(), process.age) == []
        assert len(recovery.leftovers(spool, Settings(), lambda start: process.age(start) + 61)) == 1
    finally:
        job.kill()
        job.wait()
        claim.release()
