"""Whoever starts next puts right what a crash left."""

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit import Clock, drop, everyone, log, mv, new_spool, until, where

from jobspool import Spool, config, durable, logs, process, recovery, roster
from jobspool import claim as claims
from jobspool.retry import Outcome, Verdict

A_DAY = 86_400


@pytest.fixture
def clock():
    return Clock(time.time() + 1)  # behind the mtime of what is written meanwhile


@pytest.fixture
def spool(tmp_path, clock):
    return Spool(new_spool(tmp_path).root, now=clock)


def mend(spool):
    """Plan, mend, and return what became of the orphans as {id: (state, why)}."""
    steps = recovery.plan(spool)
    return {mended.id: (mended.state, mended.why) for mended in recovery.mend(spool, steps, spool.settings(), 0.0)}


def crashed(spool, id="x", record=None):
    """A job whose worker was killed while it ran."""
    drop(spool, id, record or {"command": "make"})
    claims.take(spool, id, spool.settings()).release()


def last(spool, state, id="x"):
    return spool.read(state, id).attempts[-1]


def test_in_a_spool_that_is_in_order_there_is_nothing_to_do(spool):
    for state in ("pending", "failed", "done", "dead"):
        drop(spool, "x", {"command": "x"}, state)
    assert recovery.plan(spool) == []


def test_a_job_whose_worker_was_lost_is_tried_again_later(spool, clock):
    crashed(spool)
    began = os.stat(spool.path("processing", "x")).st_ctime
    clock.time = began + 60
    assert mend(spool) == {"x": ("failed", "worker lost")}
    attempt = last(spool, "failed")
    assert (attempt["number"], attempt["reason"], attempt["verdict"], attempt["worker"]) == (1, "worker lost", "failed", "?")
    assert abs(attempt["duration"] - 60) < 0.001
    assert abs(os.stat(spool.path("failed", "x")).st_mtime - (clock.time + 2)) < 0.001
    assert began < clock.time


def test_a_lost_attempt_is_counted(spool):
    crashed(spool, record={"command": "kill -9 $PPID", "max_retries": 1})
    assert mend(spool) == {"x": ("failed", "worker lost")}
    mv(spool, "x", "failed", "pending")
    claims.take(spool, "x", spool.settings()).release()
    assert mend(spool) == {"x": ("dead", "worker lost")}
    assert [attempt["verdict"] for attempt in spool.read("dead", "x").attempts] == ["failed", "dead"]


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome(1.0, 2.0, 0), Verdict("done", "done", None)),
        (Outcome(1.0, 2.0, 1), Verdict("failed", "failed", 3.5)),
        (Outcome(1.0, 2.0, 1), Verdict("dead", "dead", None)),
        (Outcome(1.0, 2.0, interrupted=True), Verdict("interrupted", "pending", None)),
    ],
)
def test_a_recorded_outcome_is_finished_not_judged_again(spool, outcome, verdict):
    drop(spool, "x", {"command": "make"})
    claim = claims.take(spool, "x", spool.settings())
    recorded = claim.write(claims.entry_for(claim, outcome, verdict, "here:1"), spool.settings())
    recorded.change_places()
    recorded.drop()
    content = Path(spool.path("processing", "x")).read_bytes()
    assert mend(spool) == {"x": (verdict.state, "its recorded outcome was moved to its place")}
    assert (where(spool, "x"), Path(spool.path(verdict.state, "x")).read_bytes()) == ([verdict.state], content)


def test_a_job_that_runs_is_left_alone(spool):
    drop(spool, "x", {"command": "make"})
    claim = claims.take(spool, "x", spool.settings())
    assert (mend(spool), where(spool, "x")) == ({}, ["processing"])
    claim.release()


def test_a_job_whose_worker_is_dead_and_whose_process_holds_its_lock_is_left_alone(spool):
    drop(spool, "x", {"command": "make"})
    claim = claims.take(spool, "x", spool.settings())
    job = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[claim.descriptor])
    claim.release()
    assert (mend(spool), where(spool, "x")) == ({}, ["processing"])
    job.communicate()
    assert mend(spool) == {"x": ("failed", "worker lost")}


def test_what_our_own_workers_run_is_not_even_looked_at(spool):
    drop(spool, "x", {"command": "make"}, "processing")
    assert recovery.plan(spool, running=frozenset(["x"])) == []


def test_mending_twice_changes_nothing_more(spool):
    for id in "abc":
        crashed(spool, id)
    steps = recovery.plan(spool)
    assert len(recovery.mend(spool, steps, spool.settings(), 0.0)) == 3
    assert recovery.mend(spool, steps, spool.settings(), 0.0) == []
    assert [len(job.attempts) for job in spool.jobs("failed")] == [1, 1, 1]


def test_an_orphan_that_is_no_job_is_shown_in_dead_untouched(spool):
    drop(spool, "x", b"no job", "processing")
    assert mend(spool)["x"][0] == "dead"
    assert Path(spool.path("dead", "x")).read_bytes() == b"no job"


def test_an_orphan_that_is_not_to_be_trusted_is_left_alone(spool):
    path = drop(spool, "x", {"command": "x"}, "processing")
    path.chmod(0o666)
    before = path.stat().st_ctime_ns
    assert (mend(spool), path.stat().st_ctime_ns) == ({}, before)


def test_an_orphan_replaces_nothing(spool):
    crashed(spool)
    drop(spool, "x", {"command": "older"}, "failed")
    mend(spool)
    assert {job.id: job.command for job in spool.jobs("failed")} == {"x": "make", "x~1": "older"}


def test_trouble_while_mending_keeps_nobody_from_trying_again(spool):
    crashed(spool)
    os.rmdir(f"{spool.root}/tmp")
    assert mend(spool) == {"x": (None, f"{spool.root}/tmp is gone: it is made anew")}
    os.mkdir(f"{spool.root}/tmp")
    assert mend(spool) == {"x": ("failed", "worker lost")}


def test_a_step_that_the_disk_refuses_keeps_nobody_from_the_others(spool, monkeypatch):
    """What is forgotten, and a log that is shortened, too."""

    def fail(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), f"{spool.root}/logs/x")

    crashed(spool)
    monkeypatch.setattr(roster, "forget", fail)
    monkeypatch.setattr(logs, "end", fail)
    steps = [recovery.Step("forget", None), *recovery.plan(spool)]
    refused, mended = recovery.mend(spool, steps, spool.settings(), 0.0)
    trouble = f"Read-only file system: {spool.root}/logs: mount it for writing"
    assert refused == (None, None, trouble)
    assert mended == ("x", "failed", f"worker lost, and its log stays as it is: {trouble}")


def test_mending_lets_go_of_everything(spool):
    crashed(spool)
    before = len(os.listdir("/proc/self/fd"))
    mend(spool)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_logs_of_a_lost_attempt_are_left_as_its_worker_would_have_left_them(spool):
    config.change(spool.root, "log_max_bytes", 4096, spool.spare(), 0o600)
    crashed(spool)
    Path(spool.log_path("x", 1, "out")).write_bytes(b"begin" + bytes(10_000) + b"end")
    Path(spool.log_path("x", 1, "err")).touch()
    mend(spool)
    kept = log(spool, "x")
    assert (kept[:5], kept[-3:], len(kept) < 4200) == (b"begin", b"end", True)
    assert os.listdir(f"{spool.root}/logs") == ["x.1.out"]


# ---- workers that died

WORKER = """
import sys, time
from jobspool import Spool, roster
import subprocess
spool = Spool(sys.argv[1])
place = roster.Place(spool, "worker", 0o600, 1)
job = subprocess.Popen(["sh", "-c", sys.argv[2]], process_group=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
job.stdout.readline()
place.says(roster.running("x", 1, job.pid))
print(job.pid, flush=True)
time.sleep(1000)
"""


@contextlib.contextmanager
def left_by_a_dead_worker(spool, script):
    """A worker killed with -9 whose job x closed its descriptors and lives on: yields the job's process group."""
    crashed(spool)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, spool.root, script], stdout=subprocess.PIPE, env=environment())
    group = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    try:
        yield group
    finally:
        process.end_group(group, 9)


@pytest.fixture
def dead_worker(spool):
    with left_by_a_dead_worker(spool, "echo runs; exec sleep 1000") as group:
        yield group


@pytest.fixture
def deaf_job(spool):
    with left_by_a_dead_worker(spool, "trap '' TERM; echo runs; while :; do sleep 1; done") as group:
        yield group


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(roster.__file__).parent.parent)}


def killed(group):
    process.end_group(group, 9)
    until(lambda: not process.members(group), "the job's end")


def test_a_job_that_dropped_its_lock_and_lives_on_is_left_alone(spool, dead_worker):
    assert (mend(spool), where(spool, "x"), len(everyone(spool))) == ({}, ["processing"], 1)


def test_once_the_last_process_of_a_dead_workers_job_has_ended_it_is_tried_again(spool, dead_worker):
    name = everyone(spool)[0]["name"]
    killed(dead_worker)
    assert mend(spool) == {"x": ("failed", "worker lost")}
    assert (last(spool, "failed")["worker"], everyone(spool)) == (name, [])


def test_what_the_attempt_of_a_killed_worker_has_printed_gets_its_name(spool, dead_worker):
    out, err = map(Path, logs.own_paths(spool, everyone(spool)[0]["pid"]))
    out.write_text("said")
    err.touch()
    killed(dead_worker)
    mend(spool)
    assert (log(spool, "x"), os.listdir(f"{spool.root}/logs")) == (b"said", ["x.1.out"])


def started_with(spool, job="x", attempt=1):
    """A process that closed its lock and that nobody noted, but for its environment."""
    names = {"QUEUECTL_SPOOL": spool.root, "QUEUECTL_JOB_ID": job, "QUEUECTL_ATTEMPT": str(attempt)}
    return subprocess.Popen(["sleep", "1000"], env={**os.environ, **names}, process_group=0)


def test_a_job_that_nobody_noted_is_known_by_its_environment(spool, tmp_path):
    crashed(spool)
    by_another_name = tmp_path / "link"
    by_another_name.symlink_to(spool.root)
    job = started_with(Spool(by_another_name))
    try:
        assert (mend(spool), where(spool, "x")) == ({}, ["processing"])
    finally:
        job.kill()
        job.wait()
    assert mend(spool) == {"x": ("failed", "worker lost")}


def test_a_job_whose_worker_was_killed_while_it_started_it_is_known_as_its_job(spool, tmp_path):
    """The worker had said which attempt it would start, and not yet as which process group."""
    crashed(spool)
    roster.Place(spool, roster.WORKER, 0o600).says(roster.running("x", 1))
    assert roster.runs(spool, "x")  # so far its worker lives, and is about to start it
    worker_is_dead(spool)
    assert not roster.runs(spool, "x")
    earlier, job = started_with(spool, attempt=0), started_with(spool)
    try:
        assert (roster.runs(spool, "x"), mend(spool)) == (True, {})
        mv(spool, "x", "processing", "dead")
        recovery.Leftovers(spool).end(spool.settings())
        assert (job.wait(30), earlier.poll()) == (-15, None)
    finally:
        for each in (earlier, job):
            each.kill()
            each.wait()


def test_a_job_whose_worker_dies_between_plan_and_mending_is_left_alone(spool):
    """It has closed its lock and cleared its environment."""
    crashed(spool)
    job = subprocess.Popen(["sleep", "1000"], process_group=0)
    try:
        roster.Place(spool, roster.WORKER, 0o600).says(roster.running("x", 1, job.pid))
        steps = recovery.plan(spool)
        worker_is_dead(spool)
        assert (recovery.mend(spool, steps, spool.settings(), 0.0), where(spool, "x")) == ([], ["processing"])
    finally:
        job.kill()
        job.wait()


def test_a_job_whose_worker_dies_while_another_is_mended_is_left_alone(spool, monkeypatch):
    """It starts, and closes its lock, when it was already looked which processes live."""
    crashed(spool, "other")
    drop(spool, "x", {"command": "x"})
    claim = claims.take(spool, "x", spool.settings())
    roster.Place(spool, roster.WORKER, 0o600).says(roster.running("x", 1))
    steps = sorted(recovery.plan(spool), key=lambda step: step.what)
    jobs = []

    def meanwhile(*_):
        if not jobs:
            jobs.append(started_with(spool))
            worker_is_dead(spool)
            claim.release()

    monkeypatch.setattr(Spool, "sync_content", meanwhile)
    try:
        mended = recovery.mend(spool, steps, spool.settings(), 0.0)
        assert ([each.id for each in mended], where(spool, "x")) == (["other"], ["processing"])
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def worker_is_dead(spool):
    """Let the only file in workers/ be of a process that is no more."""
    (path,) = Path(spool.root, "workers").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": 1}))


@pytest.mark.parametrize("other", [{"job": "y"}, {"attempt": 2}, {"spool": "elsewhere"}], ids=str)
def test_processes_of_other_attempts_hold_up_nothing(spool, tmp_path, other):
    crashed(spool)
    job = started_with(**{"spool": spool, **other, **({"spool": Spool(tmp_path)} if "spool" in other else {})})
    try:
        assert mend(spool) == {"x": ("failed", "worker lost")}
    finally:
        job.kill()
        job.wait()


def test_a_dead_workers_job_beyond_its_time_is_ended(spool, dead_worker):
    path = Path(spool.path("processing", "x"))
    path.write_text(json.dumps({"command": "sleep 1000", "timeout": 60}))
    left = recovery.Leftovers(spool, age=lambda start: ages[0])
    ages = [59]
    assert not left.end(spool.settings())
    assert process.members(dead_worker)
    ages = [61]
    assert left.end(spool.settings())
    until(lambda: not process.members(dead_worker), "the job's end")
    assert not left.end(spool.settings())


@pytest.mark.parametrize("target", ["dead", "pending"])
def test_a_dead_workers_job_that_is_moved_away_is_ended(spool, dead_worker, target):
    mv(spool, "x", "processing", target)
    recovery.Leftovers(spool).end(spool.settings())
    until(lambda: not process.members(dead_worker), "the job's end")


def test_a_dead_workers_job_whose_directory_is_gone_is_not_ended(spool, tmp_path, dead_worker):
    os.rename(spool.folder("processing"), tmp_path / "away")
    with pytest.raises(durable.DirectoryGone):
        recovery.Leftovers(spool).end(spool.settings())
    assert process.members(dead_worker)
    os.rename(tmp_path / "away", spool.folder("processing"))
    assert not recovery.Leftovers(spool).end(spool.settings())


def test_a_dead_workers_job_that_ignores_term_is_killed_after_the_grace(spool, clock, deaf_job):
    mv(spool, "x", "processing", "dead")
    left = recovery.Leftovers(spool, clock=clock)
    left.end(spool.settings())
    clock.time += 9
    assert left.end(spool.settings())
    assert process.members(deaf_job)
    clock.time += 2
    left.end(spool.settings())
    until(lambda: not process.members(deaf_job), "the job's end")


def test_a_dead_workers_job_that_is_brought_back_does_not_run_beside_itself(spool, clock, dead_worker):
    mv(spool, "x", "processing", "pending")
    clock.time += 1
    refused = claims.take(spool, "x", spool.settings())
    assert (refused.kind, where(spool, "x")) == ("held", ["pending"])
    killed(dead_worker)
    claims.take(spool, "x", spool.settings()).release()
    assert where(spool, "x") == ["processing"]


def test_a_living_worker_is_not_forgotten(spool):
    place = roster.Place(spool, roster.WORKER, 0o600)
    assert (recovery.plan(spool), len(roster.living(spool))) == ([], 1)
    place.leave()
    assert everyone(spool) == []


def test_a_worker_of_an_earlier_boot_is_forgotten(spool):
    place = roster.Place(spool, roster.WORKER, 0o600)
    said = json.loads(Path(place.path).read_text())
    Path(place.path).write_text(json.dumps({**said, "boot": "another", "job": "x", "group": os.getpgrp()}))
    assert mend(spool) == {}
    assert everyone(spool) == []


# ---- leftovers


def leftover(spool, name="left"):
    path = Path(spool.root, "tmp", name)
    path.write_text("half")
    os.utime(path, (0, 0))  # it goes by the ctime, which nobody can set
    return path


def test_what_was_left_in_tmp_a_day_ago_goes(spool, clock):
    path = leftover(spool)
    clock.time += A_DAY + 1
    mend(spool)
    assert not path.exists()


def test_what_was_just_written_to_tmp_stays(spool, clock):
    path = leftover(spool)
    clock.time += A_DAY - 60
    mend(spool)
    assert path.exists()


def test_the_room_for_an_outcome_goes_a_minute_after_its_worker_was_killed(spool, clock):
    drop(spool, "x", {"command": "make"})
    claim = claims.take(spool, "x", spool.settings())
    clock.time += 61
    mend(spool)
    assert os.path.exists(claim.room.path)
    os.close(claim.room.descriptor)
    clock.time -= 5
    mend(spool)
    assert os.path.exists(claim.room.path)
    clock.time += 5
    mend(spool)
    assert os.listdir(f"{spool.root}/tmp") == []
    os.close(claim.descriptor)


def test_an_outcome_that_a_living_worker_cant_record_for_days_stays(spool, clock):
    drop(spool, "x", {"command": "make"})
    claim = claims.take(spool, "x", spool.settings())
    verdict = Verdict("done", "done", None)
    recorded = claim.write(claims.entry_for(claim, Outcome(1.0, 2.0, 0), verdict, "here:1"), spool.settings())
    clock.time += A_DAY * 3
    mend(spool)
    assert (recorded.settle(), where(spool, "x")) == (True, ["done"])


def test_what_is_no_file_in_tmp_stays(spool, clock):
    Path(spool.root, "tmp", "folder").mkdir()
    os.symlink("/", f"{spool.root}/tmp/link")
    clock.time += A_DAY * 2
    mend(spool)
    assert sorted(os.listdir(f"{spool.root}/tmp")) == ["folder", "link"]


def test_without_tmp_and_workers_there_is_nothing_left_over(spool):
    os.rmdir(f"{spool.root}/tmp")
    os.rmdir(f"{spool.root}/workers")
    assert recovery.plan(spool) == []


def test_planning_takes_no_lock(spool):
    path = drop(spool, "x", {"command": "x"}, "processing")
    recovery.plan(spool)
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
