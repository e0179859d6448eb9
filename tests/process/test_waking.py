"""How soon workers wake, and that they sleep."""

import os
import subprocess
import time

import pytest
from kit import comes_to, drop, let_pass, pool, ticks, until, where, workers

# A user namespace of its own, in which no inotify instance may be made: the limit of everybody else stays as it is.
NONE = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
NO_INOTIFY = ["unshare", "--user", "--map-root-user", "sh", "-c", NONE, "sh"]


def test_a_file_that_comes_right_after_a_claim_is_not_held_back(spool):
    """watchdog's default event mask holds it back 500 ms. Half of several count: a busy machine is no defect."""
    waits = []
    with pool(spool, 2):
        for i in range(4):
            spool.add("true", id=f"claimed{i}")
            until(lambda i=i: where(spool, f"claimed{i}") != ["pending"], "the claim")
            let_pass(0.01)
            began = time.monotonic()
            drop(spool, f"next{i}", {"command": "true"})
            until(lambda i=i: where(spool, f"next{i}") != ["pending"], "the next claim")
            waits.append(time.monotonic() - began)
    assert sorted(waits)[1] < 0.25


def test_without_inotify_what_comes_is_found_by_looking(spool):
    if subprocess.run([*NO_INOTIFY, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("takes unshare(1) and the right to make a user namespace")
    with pool(spool, within=NO_INOTIFY):
        began = time.monotonic()
        drop(spool, "x", {"command": "true"})
        comes_to(spool, "x", "done")
        os.utime(drop(spool, "later", {"command": "true"}), (time.time() + 3600,) * 2)
        comes_to(spool, spool.add("true").id, "done")
        os.utime(spool.path("pending", "later"))
        comes_to(spool, "later", "done")
        assert time.monotonic() - began < 10


def test_a_directory_that_is_replaced_is_watched_again(spool):
    with pool(spool):
        os.rename(spool.folder("pending"), f"{spool.root}/old")
        os.mkdir(spool.folder("pending"), 0o700)
        drop(spool, "x", {"command": "true"})
        comes_to(spool, "x", "done")


def test_an_idle_pool_uses_no_processor_time(spool):
    with pool(spool, 2) as supervisor:
        comes_to(spool, spool.add("true").id, "done")
        processes = [supervisor.pid, *workers(spool)]
        until(lambda: is_still(processes), "what follows on the record to be over")
        before = [ticks(pid) for pid in processes]
        let_pass(4)
        assert [ticks(pid) - then for pid, then in zip(processes, before, strict=True)][1:] == [0, 0]
        assert ticks(supervisor.pid) - before[0] <= 1


def is_still(processes):
    """Tell whether they use no processor time for half a second."""
    before = [ticks(pid) for pid in processes]
    let_pass(0.5)
    return [ticks(pid) for pid in processes] == before
