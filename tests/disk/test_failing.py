"""A disk that refuses: each call of a worker, or of its supervisor, that it may refuse, for a while."""

import errno
import os
import re
import time

import mounts
import pytest
from disk.bad import at_once, failing, go, missing_strace, noter, ran, the_message, troubles, waiter
from kit import comes_to, drop, let_pass, mv, new_spool, pool, until, workers

from jobspool import Spool, config, filesystem, recorder
from jobspool import claim as claims
from jobspool.retry import Outcome, Verdict

LATER = [f"later{number}" for number in range(5)]
FAILS = "Input/output error: {root}{place}: the disk fails: dmesg says more; {comes}"
WAIT = "outcomes wait, and nothing new is claimed"


@pytest.fixture
def tracing():
    if why := missing_strace():
        pytest.skip(why)


def test_while_the_disk_fails_nothing_new_is_run_and_nothing_is_lost(tracing, tmp_path):
    calls = {  # of the worker, that fail: what is said of it
        "fsync": FAILS.format(root="{root}", place="(/processing)?", comes=WAIT),
        "renameat2": FAILS.format(root="{root}", place="/tmp", comes=WAIT),
        "pwrite64": FAILS.format(root="{root}", place="", comes=WAIT),
        "utimensat": FAILS.format(root="{root}", place="", comes=WAIT),
        "pread64": "pending/later0.json can't be read, so it waits: Input/output error",
    }
    if filesystem.keeps_order(tmp_path):
        calls["sync_file_range"] = calls["pwrite64"]
    at_once(fail_for_a_while, {call: (call, said) for call, said in calls.items()})


def fail_for_a_while(folder, calls, said):
    spool = new_spool(folder)
    config.change(spool.root, "fsync", "always", spool.spare(), 0o600)
    with pool(spool, 1) as supervisor:
        spool.add(waiter(folder, "one"), id="one")
        until(lambda: ran(folder) == ["one"], "it to run")
        until(lambda: os.path.exists(spool.log_path("one", 1, "out")), "its logs to have their names")
        for id in LATER:
            spool.add(noter(folder, id), id=id)
        with failing(workers(spool), calls, "EIO"):
            go(folder, "one")
            assert re.fullmatch(said.format(root=spool.root), the_message(supervisor))
            assert (ran(folder), spool.count("pending")) == (["one"], 5)
        for id in ("one", *LATER):
            comes_to(spool, id, "done")
    assert ran(folder) == sorted(["one", *LATER])
    assert {len(job.attempts) for job in spool.jobs()} == {1}
    assert os.listdir(f"{spool.root}/tmp") == []


def test_an_outcome_that_could_not_be_synced_is_written_anew(spool, monkeypatch):
    """The kernel takes what it couldn't write for written, so that a second sync of the same file succeeds: fsync(2)."""
    synced = []

    def sync(spool, descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Spool, "sync_content", sync)
    monkeypatch.setattr(recorder, "RETRY_AFTER", 0)
    spool.add("true", id="x")
    claim = claims.take(spool, "x", spool.settings())
    other = os.open(claim.room.path, os.O_RDONLY)  # so that its inode is not used again
    entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
    told = []
    outcome = recorder.Outcome(claim, lambda: entry, config.Settings({"fsync": "always"}), lambda _, stayed: told.append(stayed))
    recorder.Recorder(told.append).record(outcome)
    os.close(other)
    assert [type(word) for word in told] == [OSError, bool]
    assert (len(synced), os.stat(spool.path("done", "x")).st_ino) == (2, synced[1])
    assert synced[0] != synced[1]
    assert os.listdir(f"{spool.root}/tmp") == []


def roster_file(spool):
    (pid,) = workers(spool)
    return f"{spool.root}/workers/worker-{pid}.json"


def test_what_is_beside_a_job_keeps_no_job_from_running(spool, tmp_path, tracing):
    """Who runs what can't be noted: recovery has the lock, and the environment, to know a job by."""
    with pool(spool, 1) as supervisor, failing(workers(spool), "pwrite64", "EIO", "-P", roster_file(spool)):
        for id in LATER:
            spool.add(noter(tmp_path, id), id=id)
        for id in LATER:
            comes_to(spool, id, "done")
        (said,) = troubles(supervisor)
    assert said.endswith("; it is not noted what is run")


def test_where_a_file_system_turns_read_only_nothing_new_is_run_and_nothing_is_lost(spool, tmp_path, mounts_of_ones_own):
    if mounts_of_ones_own:
        pytest.skip(mounts_of_ones_own)
    with pool(spool, 2) as supervisor:
        for id in ("one", "two"):
            spool.add(waiter(tmp_path, id), id=id)
        until(lambda: ran(tmp_path) == ["one", "two"], "both to run")
        for id in LATER:
            spool.add(noter(tmp_path, id), id=id)
        with mounts.read_only(spool.root):
            go(tmp_path, "one")
            said = the_message(supervisor)
            go(tmp_path, "two")
            let_pass(0.2)
            assert (ran(tmp_path), spool.count("pending"), spool.count("done")) == (["one", "two"], 5, 0)
        for id in ("one", "two", *LATER):
            comes_to(spool, id, "done")
    assert re.fullmatch(f"Read-only file system: {spool.root}/(tmp|logs): mount it for writing; .*", said)
    assert {len(job.attempts) for job in spool.jobs()} == {1}


def test_what_a_supervisor_could_not_do_on_a_failing_disk_it_does_afterwards(tracing):
    """What is due again, what is no job, what hands gave up, and what a crash left."""
    at_once(supervise_for_a_while, {calls: (calls,) for calls in ("renameat2,rename", "openat", "newfstatat", "getdents64")})


def supervise_for_a_while(folder, calls):
    spool = new_spool(folder)
    with pool(spool, 1) as supervisor:
        spool.add("test $QUEUECTL_ATTEMPT = 2", id="due", backoff_base=1)
        spool.add("exit 1", id="given-up", backoff_base=1000)
        comes_to(spool, "due", "failed")
        comes_to(spool, "given-up", "failed")
        due = os.stat(spool.path("failed", "due")).st_mtime
        os.utime(spool.path("failed", "due"), (time.time() + 3600,) * 2)
        with failing([supervisor.pid], calls, "EIO"):
            os.utime(spool.path("failed", "due"), (due, due))
            mv(spool, "given-up", "failed", "dead")
            drop(spool, "lost", {"command": "true"}, "processing")
            the_message(supervisor)
        comes_to(spool, "due", "done")
        until(lambda: spool.read("dead", "given-up").attempts[-1]["verdict"] == "dead", "the note that it is dead")
        comes_to(spool, "lost", "failed")
