"""kill -9 of anything: nothing is lost, and nothing runs twice at once."""

import os
import signal
import sys

from kit import comes_to, everyone, gone, pool, until, where, workers

from jobspool import config

SHORT = "echo start $$ >> {0}; until test -e {1}; do sleep 0.01; done; echo end $$ >> {0}"


def witness(spool, tmp_path, id="x", **options):
    """Add a job that writes down its start and end, and ends when told; return both files."""
    file, go = tmp_path / f"{id}.witness", tmp_path / f"{id}.go"
    spool.add(SHORT.format(file, go), id=id, backoff_base=0, **options)
    until(lambda: file.exists() and file.read_text(), "the job to start")
    return file, go


def kill_worker_of(spool, id):
    (pid,) = until(lambda: [entry["pid"] for entry in everyone(spool) if entry.get("job") == id], "the worker's word")
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))


def test_a_job_whose_worker_dies_runs_again_only_when_its_processes_have_ended(spool, tmp_path):
    with pool(spool, 2) as supervisor:
        file, go = witness(spool, tmp_path)
        kill_worker_of(spool, "x")
        until(lambda: len(workers(spool, supervisor.pid)) == 2, "another worker")
        comes_to(spool, spool.add("true").id, "done")
        assert (where(spool, "x"), file.read_text().count("start")) == (["processing"], 1)
        go.touch()
        job = comes_to(spool, "x", "done")
    assert [attempt["verdict"] for attempt in job.attempts] == ["failed", "done"]
    assert job.attempts[0]["reason"] == "worker lost"
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["start", "end", "start", "end"]


def test_a_job_that_dropped_its_lock_does_not_run_twice_at_once_either(spool, tmp_path):
    """sudo closes the descriptors that it doesn't know; the worker's file names the process group."""
    file, go = tmp_path / "witness", tmp_path / "go"
    code = f"import os; os.closerange(3, 200); os.execv('/bin/sh', ['sh', '-c', '{SHORT.format(file, go)}'])"
    with pool(spool, 2) as supervisor:
        spool.add(argv=[sys.executable, "-c", code], id="x", backoff_base=0)
        until(file.exists, "the job to start")
        kill_worker_of(spool, "x")
        until(lambda: len(workers(spool, supervisor.pid)) == 2, "another worker")
        until(lambda: b"ended (-9)" in supervisor.log.read_bytes())
        comes_to(spool, spool.add("true").id, "done")
        assert (where(spool, "x"), file.read_text().count("start")) == (["processing"], 1)
        go.touch()
        comes_to(spool, "x", "done")
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["start", "end", "start", "end"]


def test_the_next_start_puts_right_what_kill_9_of_everything_left(spool, tmp_path):
    with pool(spool, 2) as supervisor:
        file, _ = witness(spool, tmp_path)
        (group,) = until(lambda: [entry["group"] for entry in everyone(spool) if entry.get("group")], "the worker's word")
        supervisor.kill()
        for pid in workers(spool):
            os.kill(pid, signal.SIGKILL)
        os.killpg(group, signal.SIGKILL)
        supervisor.wait()
    (tmp_path / "x.go").touch()
    with pool(spool, 1, "--drain") as second:
        second.wait(30)
    job = spool.read("done", "x")
    assert [attempt["verdict"] for attempt in job.attempts] == ["failed", "done"]
    assert (file.read_text().count("start"), os.listdir(f"{spool.root}/workers")) == (2, [])


def test_a_job_that_kills_its_worker_ends_in_dead_and_does_not_circle(spool):
    config.change(spool.root, "backoff_base", 0, spool.spare(), 0o600)
    with pool(spool):
        spool.add("kill -9 $PPID", id="x", max_retries=1)
        job = comes_to(spool, "x", "dead")
        comes_to(spool, spool.add("true").id, "done")
    assert [(attempt["verdict"], attempt["reason"]) for attempt in job.attempts] == [
        ("failed", "worker lost"),
        ("dead", "worker lost"),
    ]


def test_a_hung_job_whose_worker_is_dead_is_ended_when_its_timeout_is_over(spool, tmp_path):
    config.change(spool.root, "grace", 0, spool.spare(), 0o600)
    with pool(spool):
        witness(spool, tmp_path, timeout=1, max_retries=0)
        kill_worker_of(spool, "x")
        (attempt,) = comes_to(spool, "x", "dead").attempts
    assert attempt["reason"] == "worker lost"


def test_two_supervisors_run_each_job_once(spool, tmp_path):
    file = tmp_path / "ran"
    ids = [job.id for job in spool.add_many([{"command": f"echo $QUEUECTL_JOB_ID >> {file}"}] * 200)]
    with pool(spool, 2, "--drain") as one, pool(spool, 2, "--drain") as two:
        assert (one.wait(60), two.wait(60)) == (0, 0)
    assert sorted(file.read_text().split()) == sorted(ids)
    assert {len(job.attempts) for job in spool.jobs("done")} == {1}
