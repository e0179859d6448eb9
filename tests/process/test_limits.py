"""Groups, locks, slots and rates: with real workers of several supervisors, and whoever is killed."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from kit import comes_to, drop, gone, pool, queuectl, until, where

from jobspool import roster


def beside(tmp_path, most, seconds=0.03):
    """A command that notes whether more than `most` of its kind run at once."""
    return (
        f"mkdir -p {tmp_path}/now; touch {tmp_path}/now/$QUEUECTL_JOB_ID; test $(ls {tmp_path}/now | wc -l) -le {most} || "
        f"touch {tmp_path}/too-many; sleep {seconds}; rm {tmp_path}/now/$QUEUECTL_JOB_ID"
    )


def setting(spool, name, value):
    queuectl("config", "--key", name, "--value", value, spool=spool, check=True)


def all_done(spool, count):
    until(lambda: spool.count("done") == count, f"{count} jobs done")


def loses_its_worker(spool, id, runs):
    """Kill the job's worker, once there is the file that the job makes: the job itself runs on."""
    until(runs.exists, "the job")
    [worker] = [entry.pid for entry in roster.entries(spool, id)]
    os.kill(worker, signal.SIGKILL)
    until(lambda: gone(worker), "its end")


@pytest.mark.parametrize(
    ("words", "most"),
    [({"group": "g"}, 2), ({"locks": ["db"]}, 1), ({"slots": {"gpu": 1}}, 2), ({"slots": {"gpu": 2}}, 1)],
    ids=str,
)
def test_no_more_run_at_once_than_may_whoever_runs_them(spool, tmp_path, words, most):
    setting(spool, "groups", '{"g": {"concurrency": 2}}')
    setting(spool, "slots", "gpu=2")
    for i in range(12):
        drop(spool, f"x{i:02}", {"command": beside(tmp_path, most), **words})
    with pool(spool, 3), pool(spool, 3):
        all_done(spool, 12)
    assert not (tmp_path / "too-many").exists()


def test_a_head_that_must_wait_blocks_nobody(spool, tmp_path):
    drop(spool, "a-holds", {"command": f"until test -e {tmp_path}/end; do sleep 0.01; done", "locks": ["db"]})
    with pool(spool, 2):
        until(lambda: where(spool, "a-holds") == ["processing"], "the one that holds the lock")
        for i in range(30):
            drop(spool, f"b{i:02}", {"command": "true", "locks": ["db"], "priority": 9})
        drop(spool, "c", {"command": "true"})
        comes_to(spool, "c", "done")
        assert spool.count("pending") == 30
        assert queuectl("why", "b07", spool=spool).stdout.startswith("the lock db is taken by a-holds")
        (tmp_path / "end").touch()
        all_done(spool, 32)


def test_a_job_keeps_its_lock_when_its_worker_is_killed_and_until_its_last_process_ends(spool, tmp_path):
    drop(spool, "x", {"command": f"touch {tmp_path}/runs; until test -e {tmp_path}/end; do sleep 0.01; done", "locks": ["db"]})
    with pool(spool, 2):
        loses_its_worker(spool, "x", tmp_path / "runs")
        drop(spool, "y", {"command": "true", "locks": ["db"]})
        drop(spool, "z", {"command": "true"})
        comes_to(spool, "z", "done")
        assert where(spool, "y") == ["pending"]
        (tmp_path / "end").touch()
        comes_to(spool, "y", "done")


def test_a_job_that_closed_its_descriptors_keeps_its_lock_when_its_worker_is_killed(spool, tmp_path):
    code = f"import os, time; os.closerange(3, 400); open({str(tmp_path / 'runs')!r}, 'w')\nwhile not os.path.exists({str(tmp_path / 'end')!r}): time.sleep(0.01)"
    queuectl("group", "g", "--concurrency", "1", spool=spool, check=True)
    drop(spool, "x", {"argv": [sys.executable, "-c", code], "locks": ["db"], "group": "g", "max_retries": 0})
    with pool(spool, 2):
        loses_its_worker(spool, "x", tmp_path / "runs")
        drop(spool, "y", {"command": "true", "locks": ["db"]})
        drop(spool, "z", {"command": "true", "group": "g"})
        drop(spool, "free", {"command": "true", "locks": ["other"]})
        comes_to(spool, "free", "done")
        assert (where(spool, "y"), where(spool, "z")) == (["pending"], ["pending"])
        (tmp_path / "end").touch()
        comes_to(spool, "y", "done")
        comes_to(spool, "z", "done")


def test_jobs_are_told_which_slots_they_have(spool):
    setting(spool, "slots", "gpu=2,license=1")
    for i in range(2):
        drop(spool, f"x{i}", {"command": "echo $QUEUECTL_SLOT_gpu; sleep 0.2", "slots": {"gpu": 1}})
    drop(
        spool,
        "y",
        {"command": "echo $QUEUECTL_SLOT_gpu/$QUEUECTL_SLOT_license", "slots": {"gpu": 2, "license": 1}, "priority": -1},
    )
    with pool(spool, 3):
        all_done(spool, 3)
    said = [Path(spool.log_path(id, 1, "out")).read_text().strip() for id in ("x0", "x1", "y")]
    assert (sorted(said[:2]), said[2]) == (["0", "1"], "0,1/0")


def test_what_needs_more_than_there_is_waits_and_why_says_so(spool):
    drop(spool, "x", {"command": "true", "slots": {"gpu": 1}})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert where(spool, "x") == ["pending"]
    assert (
        "it needs 1 of the slots gpu, and there are 0: queuectl config set slots gpu=N"
        in queuectl("why", "x", spool=spool).stdout
    )
    with pool(spool):
        setting(spool, "slots", "gpu=1")
        comes_to(spool, "x", "done")


def test_who_needs_more_than_there_is_keeps_nobody_from_the_rest(spool):
    setting(spool, "slots", "gpu=2")
    with pool(spool, 2):
        drop(spool, "a-big", {"command": "true", "slots": {"gpu": 3}})
        drop(spool, "one", {"command": "true", "slots": {"gpu": 1}})
        comes_to(spool, "one", "done")
        drop(spool, "two", {"command": "true", "slots": {"gpu": 2}})
        comes_to(spool, "two", "done")
        assert where(spool, "a-big") == ["pending"]
    ran = queuectl("enqueue", "true", "--slots", "gpu=9", spool=spool, check=True)
    assert "it will wait: it needs 9 of the slots gpu, and there are 2" in ran.stderr


def test_a_paused_group_waits_until_it_is_resumed_and_others_do_not(spool):
    queuectl("group", "g", "--pause", spool=spool, check=True)
    drop(spool, "x", {"command": "true", "group": "g"})
    drop(spool, "y", {"command": "true"})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert (where(spool, "x"), where(spool, "y")) == (["pending"], ["done"])
    assert "the group g is paused: queuectl group g --resume" in queuectl("why", "x", spool=spool).stdout
    assert queuectl("wait", "--timeout", "10", spool=spool).returncode == 0
    with pool(spool):
        queuectl("group", "g", "--resume", spool=spool, check=True)
        comes_to(spool, "x", "done")


def test_a_rate_is_kept_by_several_supervisors(spool):
    queuectl("group", "g", "--rate", "4/2s", spool=spool, check=True)
    for i in range(8):
        drop(spool, f"x{i}", {"command": "date +%s.%N", "group": "g"})
    with pool(spool, 2), pool(spool, 2):
        until(lambda: spool.count("done") >= 4, "the full bucket")
        assert (
            "the rate of its group lets the next one begin in" in queuectl("why", spool.names("pending")[0], spool=spool).stdout
        )
        all_done(spool, 8)
    begun = sorted(float(Path(spool.log_path(f"x{i}", 1, "out")).read_text()) for i in range(8))
    assert all(begun[i + 4] - begun[i] > 0.4 for i in range(4))
    assert begun[7] - begun[0] > 1.9


def test_groups_are_shown_with_their_limits(spool):
    queuectl("group", "g", "--concurrency", "3", "--weight", "2.5", spool=spool, check=True)
    drop(spool, "x", {"command": "true", "group": "g"})
    drop(spool, "y", {"command": "true", "group": "other"})
    rows = [json.loads(line) for line in queuectl("group", "--json", spool=spool).stdout.splitlines()]
    assert rows == [
        {"group": "g", "pending": 1, "failed": 0, "processing": 0, "concurrency": 3, "weight": 2.5},
        {"group": "other", "pending": 1, "failed": 0, "processing": 0},
    ]
    assert queuectl("list", "--group", "g", "-q", spool=spool).stdout == "x\n"
    queuectl("group", "g", "--concurrency", "none", "--weight", "none", spool=spool, check=True)
    assert spool.settings().groups == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--concurrency", "0"], "--concurrency can't be '0': it takes a whole number from 1 to 1024, or none"),
        (["--rate", "often"], "--rate can't be 'often': it takes 10/m"),
        (["--weight", "x"], "--weight can't be 'x'"),
    ],
)
def test_a_wrong_limit_is_named(spool, words, said):
    ran = queuectl("group", "g", *words, spool=spool)
    assert (ran.returncode, said in ran.stderr, spool.settings().groups) == (2, True, {})


def test_run_here_heeds_limits_too(spool, tmp_path):
    drop(spool, "x", {"command": f"until test -e {tmp_path}/end; do sleep 0.01; done", "locks": ["db"]})
    with pool(spool):
        until(lambda: where(spool, "x") == ["processing"], "the one that holds the lock")
        ran = queuectl("enqueue", "--lock", "db", "echo here", "--id", "y", spool=spool, check=True)
        assert ran.returncode == 0
        (tmp_path / "end").touch()
        assert queuectl("run", "--now", "--lock", "db", "echo here", spool=spool).stdout == "here\n"
