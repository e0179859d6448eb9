"""Workers get several ids at one go; what one doesn't come to is another's."""

import contextlib
import os
import signal

from kit import comes_to, let_pass, log, pool, until, workers

from jobspool import process, recorder, run, supervisor

QUICK = 400


def test_what_waits_behind_a_job_that_takes_its_time_is_run_by_others(spool, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    quick = [job.id for job in spool.add_many([{"command": "true"}] * QUICK)]
    slow = spool.add(f"read word < {tmp_path}/fifo", id="20200101T000000.000000-slowly")
    behind = [job.id for job in spool.add_many([{"command": "true"}] * QUICK)]
    with pool(spool, 2):
        until(lambda: set(spool.names("done")) >= {*quick, *behind}, "all others to be done")
        assert spool.names("processing") == [slow.id]
        with open(tmp_path / "fifo", "w") as fifo:
            fifo.write("go\n")
        comes_to(spool, slow.id, "done")


@contextlib.contextmanager
def patient_pool(spool):
    """Two workers, to whom no job is slow, so that each has many ids, however busy the machine is."""
    pid = os.fork()
    if pid == 0:
        try:
            supervisor.QUICK = run.AN_INSTANT = 1e5
            supervisor.Supervisor(spool, 2, False, lambda events: None).serve()
        finally:
            os._exit(0)
    try:
        until(lambda: len(workers(spool)) == 2, "the workers")
        yield
    finally:
        for worker in workers(spool):
            os.kill(worker, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)
        os.waitpid(pid, 0)


def test_what_a_worker_that_is_held_still_has_not_come_to_is_run_by_others(spool):
    """A job stops the worker that runs it, once that has got more."""
    commands = ["true"] * QUICK
    commands[QUICK // 2] = "sleep 0.3; kill -STOP $PPID"
    ids = [job.id for job in spool.add_many([{"command": command} for command in commands])]
    with patient_pool(spool):
        held = until(lambda: [worker for worker in workers(spool) if process.stopped(worker)], "the one that is held still")
        until(lambda: spool.count("pending") <= 1, "all to be claimed but the one that it may have just locked")
        left = len(spool.names("processing"))
        os.kill(held[0], signal.SIGCONT)
        for id in ids:
            comes_to(spool, id, "done")
    assert left <= 1 + recorder.MOST  # what it runs, and whose outcome it has not recorded
    assert {len(job.attempts) for job in spool.jobs()} == {1}


def test_once_paused_nothing_that_a_worker_has_got_is_started(spool):
    """At most what each has begun by then, and what it comes to before it hears of it."""
    spool.add_many([{"command": "sleep 0.01; date +%s.%N"}] * QUICK)
    with pool(spool, 2):
        until(lambda: spool.count("done") > 20, "the first to be done")
        open(f"{spool.root}/paused", "w").close()
        paused = os.stat(f"{spool.root}/paused").st_mtime
        until(lambda: spool.count("processing") == 0, "what runs to be over")
        done = spool.count("done")
        let_pass(0.5)
        assert spool.count("done") == done < QUICK
        began = [float(log(spool, id)) for id in spool.names("done")]
        assert max(began) < paused + 1
        os.unlink(f"{spool.root}/paused")
        until(lambda: spool.count("done") == QUICK, "the rest")
