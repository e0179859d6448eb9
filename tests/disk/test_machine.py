"""A machine that is short of something: descriptors, processes or memory. No job is to blame, so none has failed."""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
from disk.bad import at_once, failing, go, missing_strace, noter, ran, the_message, waiter
from kit import children, comes_to, log, new_spool, pool, until, workers

from jobspool import claim as claims
from jobspool import config, recorder
from jobspool.logs import Pair
from jobspool.retry import Outcome, Verdict
from jobspool.run import Attempt

SOMEBODY = 54321
LATER = [f"later{number}" for number in range(5)]
FORKS = "clone,clone3,vfork,fork"

# Another user may not be able to read this Python: what is imported late is imported first.
AS_SOMEBODY = """
import os, sys
user, _, sys.argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
import ctypes, datetime, difflib, docopt, grp, logging, pwd, shlex, watchdog.observers.inotify
import jobspool.config, jobspool.doctor, jobspool.filesystem, jobspool.supervisor, jobspool.trouble, queuectl
os.setgroups([]); os.setgid(user); os.setuid(user)
sys.exit(queuectl.main())
"""

BECOME_SOMEBODY = "import os, resource; os.setgroups([]); os.setgid({0}); os.setuid({0})"


@contextlib.contextmanager
def limited(pids, what, most):
    """Let the processes, which are somebody's, have no more than that."""
    soft, hard = resource.getrlimit(what)
    limit(pids, what, (most, hard))
    try:
        yield
    finally:
        limit(pids, what, (soft, hard))


def limit(pids, what, limits):
    """As their user: not every root may do it."""
    code = f"[resource.prlimit(pid, {what}, {limits}) for pid in {pids}]"
    subprocess.run([sys.executable, "-c", f"{BECOME_SOMEBODY.format(SOMEBODY)}; {code}"], check=True)


def few_files(pids):
    return limited(pids, resource.RLIMIT_NOFILE, 4)


def few_processes(pids):
    return limited(pids, resource.RLIMIT_NPROC, 1)


def little_memory(pids):
    return failing(pids, FORKS, "ENOMEM")


SHORT_OF = {
    "files": (few_files, "Too many open files: raise the limit: ulimit -n"),
    "processes": (few_processes, "Resource temporarily unavailable: too many processes run: ulimit -u shows the limit"),
    "memory": (little_memory, "Cannot allocate memory: the machine has no memory left"),
}


def cases():
    if os.geteuid():
        pytest.skip("only root can become another user, whose processes can be limited")
    if why := missing_strace():
        pytest.skip(why)
    return SHORT_OF


@contextlib.contextmanager
def somebodys_pool(folder, count):
    """A pool of another user's: root has as many processes as it likes."""
    spool = new_spool(folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    with pool(spool, count, within=[sys.executable, "-c", AS_SOMEBODY, str(SOMEBODY)]) as supervisor:
        yield spool, supervisor


def test_a_job_that_cannot_be_started_for_want_of_something_is_put_back_and_tried_later():
    at_once(start_no_job, cases())


def start_no_job(folder, short_of, said):
    with somebodys_pool(folder, 1) as (spool, supervisor):
        give(spool, "first", "true")
        comes_to(spool, "first", "done")
        with short_of(workers(spool)):
            for id in LATER:
                give(spool, id, noter(folder, id))
            assert the_message(supervisor).startswith(said)
            assert (spool.count("pending"), spool.count("failed"), ran(folder)) == (5, 0, [])
        for id in LATER:
            comes_to(spool, id, "done")
        assert ran(folder) == LATER
        assert {len(job.attempts) for job in spool.jobs()} == {1}
    assert [os.listdir(f"{spool.root}/{name}") for name in ("tmp", "logs")] == [[], []]


def test_a_worker_that_cannot_be_replaced_for_want_of_something_is_replaced_later():
    at_once(replace_no_worker, cases())


def replace_no_worker(folder, short_of, said):
    with somebodys_pool(folder, 2) as (spool, supervisor):
        give(spool, "one", waiter(folder, "one"))
        until(lambda: ran(folder) == ["one"], "it to run")
        files = len(os.listdir(f"/proc/{supervisor.pid}/fd"))
        with short_of([supervisor.pid]):
            worker = next(pid for pid in workers(spool) if not children(pid))
            os.kill(worker, signal.SIGKILL)
            assert the_message(supervisor).startswith(said)
            assert len(workers(spool, supervisor.pid)) == 1
            go(folder, "one")
            comes_to(spool, "one", "done")
        until(lambda: len(workers(spool, supervisor.pid)) == 2, "another worker")
        until(
            lambda: len(os.listdir(f"/proc/{supervisor.pid}/fd")) <= files, "no more open files than before", 10
        )  # a leak stays
        give(spool, "last", "true")
        comes_to(spool, "last", "done")


def give(spool, id, command):
    """Add a job that is somebody's own."""
    path = f"{spool.root}/../{id}.json"
    with open(path, "w") as file:
        json.dump({"command": command}, file)
    os.chown(path, SOMEBODY, SOMEBODY)
    os.rename(path, spool.path("pending", id))


def test_a_pool_that_may_open_few_files_runs_all_the_same(spool):
    ids = [job.id for job in spool.add_many([{"command": "echo said"}] * 60)]
    with pool(spool, 2, "--drain", within=["prlimit", "--nofile=32"]) as supervisor:
        assert supervisor.wait(60) == 0
    assert sorted(spool.names("done")) == sorted(ids)
    assert {len(job.attempts) for job in spool.jobs()} == {1}
    assert {log(spool, id) for id in ids} == {b"said\n"}


def test_a_job_that_runs_when_no_more_files_may_be_open_is_recorded_and_ended_in_time(spool):
    if why := missing_strace():
        pytest.skip(why)
    with pool(spool, 1), failing(workers(spool), "pidfd_open", "EMFILE"):
        spool.add("exit 3", id="x", max_retries=0)
        spool.add("trap '' TERM; sleep 1000 & wait; wait", id="slow", max_retries=0, timeout=0.2)
        config.change(spool.root, "grace", 0.2, spool.spare(), 0o600)
        assert comes_to(spool, "x", "dead").attempts[0]["exit"] == 3
        assert comes_to(spool, "slow", "dead").attempts[0]["signal"] == "SIGKILL"


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_what_the_machine_lacks_is_not_the_jobs_fault(spool, monkeypatch, code):
    def spawn(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_spawn", spawn)
    spool.add("true", id="x")
    claim = claims.take(spool, "x", spool.settings())
    with pytest.raises(OSError, match=os.strerror(code)):
        Attempt(claim, spool.settings(), Pair(spool, os.getpid(), 0o600)).start({"PATH": os.defpath})
    claims.give_back(claim)
    assert spool.read("pending", "x").attempts == []


def test_where_no_thread_can_be_had_outcomes_are_recorded_all_the_same(spool, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    spool.add("true", id="x")
    claim = claims.take(spool, "x", spool.settings())
    entry = claims.entry_for(claim, Outcome(1.0, 2.0, 0), Verdict("done", "done", None), "here:1")
    told = []
    one = recorder.Recorder(told.append)
    one.record(recorder.Outcome(claim, lambda: entry, spool.settings(), lambda _, stayed: told.append(stayed)))
    one.finish()
    assert (told, spool.names("done")) == ([True], ["x"])
