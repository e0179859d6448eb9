"""How attempts and workers are ended."""

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kit import (
    QUEUECTL,
    comes_to,
    drop,
    end,
    everyone,
    gone,
    let_pass,
    log,
    mv,
    new_spool,
    pool,
    queuectl,
    until,
    until_it_runs,
    where,
    workers,
)
from nobody import NOBODY, as_nobody, spool_of_nobody

from jobspool import Spool, config, process


def pids(path):
    """The process ids that a job wrote to a file, once it has written that many lines."""
    return [int(word) for word in path.read_text().split()]


def start_long(spool, tmp_path, id="long", trap=""):
    """Let a job run that waits for ever, with a child; return the ids of both processes."""
    file = tmp_path / f"{id}.pids"
    spool.add(f"{trap} sh -c 'sleep 1000' & echo $$ $! > {file}.new; mv {file}.new {file}; while :; do sleep 0.1; done", id=id)
    until(file.exists, "the job to run")
    return pids(file)


def test_a_timeout_ends_the_whole_group(spool, tmp_path):
    file = tmp_path / "pids"
    with pool(spool):
        spool.add(f"sleep 1000 & echo $$ $! > {file}; wait", id="x", timeout=0.5, max_retries=0)
        (attempt,) = comes_to(spool, "x", "dead").attempts
        assert (attempt["reason"], attempt["signal"]) == ("timeout after 0.5 s", "SIGTERM")
        assert all(map(gone, pids(file)))


def test_what_ignores_term_is_killed_after_the_grace(spool, tmp_path):
    config.change(spool.root, "grace", 0.5, spool.spare(), 0o600)
    file = tmp_path / "pids"
    with pool(spool):
        deaf = f"trap '' TERM; (while :; do sleep 1; done) & echo $$ $! > {file}; while :; do sleep 1; done"
        spool.add(deaf, id="x", timeout=0.5, max_retries=0)
        (attempt,) = comes_to(spool, "x", "dead").attempts
        assert (attempt["reason"], attempt["signal"]) == ("timeout after 0.5 s", "SIGKILL")
        assert 1 <= attempt["duration"] < 5
        assert all(map(gone, pids(file)))


@pytest.fixture
def becomes_root():
    """A spool of nobody's, and a command that lets his jobs become root's, as sudo does."""
    if os.geteuid():
        pytest.skip("takes root, to make a program that becomes root's")
    with spool_of_nobody() as spool:
        program = Path(spool.root).with_name("sudo")
        shutil.copy(shutil.which("setpriv"), program)
        program.chmod(0o4755)
        if os.statvfs(program).f_flag & os.ST_NOSUID:
            pytest.skip("programs on this file system become nobody else's")
        yield spool, f"{program} --reuid 0 --regid 0 --clear-groups"


@pytest.mark.parametrize("which", ["all of it", "its main process", "a part of it"])
def test_what_the_worker_may_not_end_is_waited_for_and_not_run_beside_itself(becomes_root, which):
    spool, sudo = becomes_root
    argv = [*sudo.split(), "sh", "-c", "echo $$; exec sleep 1000"]
    command = shlex.join(argv) + ("; true" if which == "a part of it" else "")
    what = {"argv": argv} if which == "its main process" else {"command": command}
    theirs = [drop(spool, "x", {**what, "timeout": 0.5, "max_retries": 1, "backoff_base": 100})]
    config.change(spool.root, "grace", 0.2, spool.spare(), 0o600)
    for path in (*theirs, f"{spool.root}/config.json"):
        os.chown(path, NOBODY, NOBODY)
    with pool(spool, 2, within=as_nobody()) as supervisor:
        until(lambda: b"its worker waits for them" in supervisor.log.read_bytes(), "word of it")
        let_pass(1.2)
        assert where(spool, "x") == ["processing"]
        assert queuectl("stop", "--now", "--timeout", "1", spool=spool).returncode == 75
        os.kill(int(log(spool, "x")), signal.SIGKILL)
        supervisor.wait(30)
    (attempt,) = spool.read("failed", "x").attempts
    assert (attempt["reason"], attempt["verdict"]) == ("timeout after 0.5 s", "failed")


def test_a_job_that_exits_0_at_the_timeouts_term_has_failed_all_the_same(spool):
    with pool(spool):
        spool.add("trap 'exit 0' TERM; sleep 1000 & wait", id="x", timeout=0.5, max_retries=0)
        (attempt,) = comes_to(spool, "x", "dead").attempts
    assert attempt["reason"] == "timeout after 0.5 s"


def test_stop_lets_jobs_finish(spool, tmp_path):
    go = tmp_path / "go"
    spool.add(f"until test -e {go}; do sleep 0.01; done", id="x")
    with pool(spool) as supervisor:
        comes_to(spool, "x", "processing")
        stopping = subprocess.Popen([*QUEUECTL, "--spool", spool.root, "stop"], stderr=subprocess.PIPE, text=True)
        until(lambda: b"stopping" in supervisor.log.read_bytes(), "the supervisor to stop")
        assert (stopping.poll(), where(spool, "x")) == (None, ["processing"])
        go.touch()
        assert stopping.communicate(timeout=30)[1] == "queuectl: stopped: 1 worker gone\n"
        assert (supervisor.wait(10), where(spool, "x")) == (0, ["done"])


def test_stop_now_puts_jobs_back_uncounted_with_their_place_in_line(spool, tmp_path):
    with pool(spool) as supervisor:
        spool.add("true", id="first")
        comes_to(spool, "first", "done")
        processes = start_long(spool, tmp_path)
        os.utime(spool.path("done", "first"))
        subprocess.run([*QUEUECTL, "--spool", spool.root, "stop", "--now", "-q"], timeout=60, check=True)
        supervisor.wait(10)
    assert all(map(gone, processes))
    job = spool.read("pending", "long")
    (attempt,) = job.attempts
    assert (attempt["verdict"], attempt["reason"]) == ("interrupted", "interrupted")
    assert job.mtime < spool.read("done", "first").mtime
    assert os.listdir(f"{spool.root}/workers") == []


def test_one_interrupt_from_the_terminal_finishes_and_the_second_interrupts(spool, tmp_path):
    with pool(spool) as supervisor:
        processes = start_long(spool, tmp_path)
        supervisor.send_signal(signal.SIGINT)
        until(lambda: b"stopping" in supervisor.log.read_bytes())
        assert where(spool, "long") == ["processing"]
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(30) == 0
    assert (where(spool, "long"), all(map(gone, processes))) == (["pending"], True)


def test_workers_whose_supervisor_is_killed_finish_and_end(spool, tmp_path):
    go = tmp_path / "go"
    spool.add(f"until test -e {go}; do sleep 0.01; done; echo finished", id="x")
    with pool(spool, 2) as supervisor:
        comes_to(spool, "x", "processing")
        ids = workers(spool, supervisor.pid)
        supervisor.kill()
        supervisor.wait()
        go.touch()
        comes_to(spool, "x", "done")
        until(lambda: all(map(gone, ids)), "the workers to end")
    assert log(spool, "x") == b"finished\n"


def test_stop_also_ends_workers_without_a_supervisor(spool, tmp_path):
    with pool(spool) as supervisor:
        processes = start_long(spool, tmp_path)
        supervisor.kill()
        supervisor.wait()
        subprocess.run([*QUEUECTL, "--spool", spool.root, "stop", "--now", "-q"], timeout=60, check=True)
        assert (where(spool, "long"), all(map(gone, processes))) == (["pending"], True)


def test_a_worker_that_is_told_to_end_finishes_its_job_and_is_replaced(spool, tmp_path):
    go = tmp_path / "go"
    spool.add(f"until test -e {go}; do sleep 0.01; done", id="x")
    with pool(spool) as supervisor:
        comes_to(spool, "x", "processing")
        (worker,) = workers(spool)
        os.kill(worker, signal.SIGTERM)
        go.touch()
        comes_to(spool, "x", "done")
        until(lambda: (now := workers(spool, supervisor.pid)) and now != [worker], "another worker")


def test_a_shutdown_that_ends_job_and_worker_together_is_no_failed_attempt(spool, tmp_path):
    """As systemd and init do: TERM to every process."""
    with pool(spool) as supervisor:
        processes = start_long(spool, tmp_path)
        for pid in (*workers(spool), supervisor.pid):
            os.kill(pid, signal.SIGTERM)
        os.killpg(processes[0], signal.SIGTERM)
        supervisor.wait(30)
    (attempt,) = spool.read("pending", "long").attempts
    assert (attempt["verdict"], attempt["reason"]) == ("interrupted", "shutdown")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_a_signal_while_workers_are_being_forked_ends_them_all(spool, number):
    for _ in range(3):
        started = subprocess.Popen([*QUEUECTL, "--spool", spool.root, "start", "--count", "20"], stdout=subprocess.DEVNULL)
        try:
            until(lambda: len(list(Path(spool.root, "workers").glob("worker-*"))) > 1, "the first workers")
            started.send_signal(number)
            assert started.wait(30) == 0
            assert os.listdir(f"{spool.root}/workers") == []
        finally:
            end(spool, started)


def test_a_signal_while_nobody_reads_what_is_told_ends_the_pool_when_somebody_does(spool):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    spool.add_many({"command": "true"} for _ in range(200))
    started = subprocess.Popen([*QUEUECTL, "--spool", spool.root, "start"], stdout=writer)
    try:
        os.close(writer)
        until(lambda: "pipe" in Path(f"/proc/{started.pid}/wchan").read_text(), "a full pipe")
        started.terminate()
        with open(reader, "rb") as told:
            assert b"stopped" in told.read()
        assert started.wait(30) == 0
        assert os.listdir(f"{spool.root}/workers") == []
    finally:
        end(spool, started)


def test_a_pool_that_was_started_where_children_are_ignored_hears_of_its_own(spool):
    with pool(spool, 1, within=["env", "--ignore-signal=CHLD"]) as supervisor:
        assert comes_to(spool, spool.add("exit 3", max_retries=0).id, "dead").attempts[0]["exit"] == 3
    assert supervisor.returncode == 0


def test_a_paused_spool_is_drained_when_nothing_waits_in_it(spool):
    paused = Path(spool.root, "paused")
    paused.touch()
    with pool(spool, 1, "--drain") as supervisor:
        assert supervisor.wait(30) == 0
    spool.add("true", id="x")
    with pool(spool, 1, "--drain") as supervisor:
        let_pass(1)
        assert (supervisor.poll(), where(spool, "x")) == (None, ["pending"])
        paused.unlink()
        assert (supervisor.wait(30), where(spool, "x")) == (0, ["done"])


def test_what_hands_stop_while_it_runs_again_has_its_tries_again(spool, tmp_path):
    """It failed before, and nobody could write that it is dead as long as it was held."""
    spool.add(
        f"test -e {tmp_path}/pids || {{ touch {tmp_path}/pids; exit 1; }}; echo > {tmp_path}/again; sleep 1000",
        id="x",
        backoff_base=0,
    )
    with pool(spool):
        until((tmp_path / "again").exists, "its second try")
        mv(spool, "x", "processing", "dead")
        until(lambda: spool.read("dead", "x").attempts[-1]["verdict"] == "dead", "word in its file")


LEAVES = """
import os, time
if os.fork() == 0:
    os.setpgid(0, 0)
    time.sleep(1000)
child = int(open(f"/proc/self/task/{os.getpid()}/children").read())
while os.getpgid(child) != child:
    time.sleep(0.01)
os.setpgid(0, child)
open(PLACE, "w").close()
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["timeout", "mv", "stop --now"])
def test_a_main_process_that_leaves_its_group_is_ended_all_the_same(spool, tmp_path, how):
    """What it left that for lives on, as what a job puts into the background does: so the test ends that."""
    place = tmp_path / "left"
    argv = [sys.executable, "-c", LEAVES.replace("PLACE", repr(str(place)))]
    spool.add(argv=argv, id="x", max_retries=0, timeout=1 if how == "timeout" else None)
    with pool(spool) as supervisor:
        until(place.exists, "it to leave")
        (main,) = (entry["group"] for entry in everyone(spool) if entry.get("group"))
        child = int(Path(f"/proc/{main}/task/{main}/children").read_text())
        try:
            if how == "mv":
                mv(spool, "x", "processing", "dead")
            if how == "stop --now":
                assert queuectl("stop", "--now", spool=spool).returncode == 0
            until(lambda: gone(main), "its end")
            state = "pending" if how == "stop --now" else "dead"
            until(lambda: where(spool, "x") == [state], state)
            until(lambda: supervisor.poll() is not None or not any(entry.get("job") for entry in everyone(spool)), "rest")
        finally:
            for pid in (child, main):
                if not gone(pid):
                    os.kill(pid, signal.SIGKILL)


def test_stopping_a_copy_of_a_spool_leaves_the_original_alone(spool, tmp_path):
    spool.add("sleep 1000", id="x")
    with pool(spool) as supervisor:
        until_it_runs(spool)
        shutil.copytree(spool.root, tmp_path / "copy", symlinks=True)
        copy = Spool(str(tmp_path / "copy"))
        assert "workers     none is running" in queuectl("status", spool=copy).stdout
        assert queuectl("stop", "--now", spool=copy).returncode == 1
        Path(copy.path("processing", "x")).unlink()
        with pool(copy):
            let_pass(1)
            assert sorted(os.listdir(f"{copy.root}/workers")) == sorted(f"{e['role']}-{e['pid']}.json" for e in everyone(copy))
        assert (supervisor.poll(), where(spool, "x")) == (None, ["processing"])
        assert not gone(next(entry["group"] for entry in everyone(spool) if entry.get("group")))


def test_a_long_wrong_key_in_config_json_is_told_in_few_words(spool):
    with pool(spool) as supervisor:
        Path(spool.root, "config.json").write_text(json.dumps({"k" * 200_000: 1}))
        for id in ("x", "y"):
            drop(spool, id, {"command": "true"})
            comes_to(spool, id, "done")
    assert b"last good settings" in supervisor.log.read_bytes()
    assert (supervisor.returncode, len(supervisor.log.read_bytes()) < 5000) == (0, True)


def test_a_pool_that_a_job_starts_is_no_part_of_the_job(spool, tmp_path):
    """It holds neither the job's lock nor its name, so the job can be run again while the pool serves."""
    other = new_spool(tmp_path / "other")
    start = f"{shlex.join([*QUEUECTL, '--spool', other.root])} start --detach"
    spool.add(
        f"{start}; touch {tmp_path}/started-$QUEUECTL_ATTEMPT; test $QUEUECTL_ATTEMPT = 2 || sleep 1000", id="x", backoff_base=0
    )
    try:
        with pool(spool, 2):
            until((tmp_path / "started-1").exists, "the pool")
            (worker,) = (entry["pid"] for entry in everyone(spool) if entry.get("group"))
            group = next(entry["group"] for entry in everyone(spool) if entry.get("group"))
            os.kill(worker, signal.SIGKILL)
            os.killpg(group, signal.SIGKILL)
            comes_to(spool, "x", "done")
    finally:
        queuectl("stop", "--now", spool=other)


def test_a_pool_whose_spool_is_made_anew_serves_that_and_can_be_stopped(spool, tmp_path):
    with pool(spool) as supervisor:
        os.rename(spool.root, tmp_path / "away")
        Spool.init(spool.root)
        comes_to(spool, spool.add("true").id, "done")
        until(lambda: "workers     1" in queuectl("status", spool=spool).stdout, "them to say where they are")
        assert queuectl("stop", spool=spool).returncode == 0
        assert supervisor.wait(30) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another")
def test_a_job_of_root_that_became_nobody_is_ended_though_its_worker_is_dead(spool):
    sleep = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups sleep 1000"
    spool.add(sleep, id="x")
    with pool(spool):
        until_it_runs(spool)
        (entry,) = (entry for entry in everyone(spool) if entry.get("group"))
        until(lambda: process.user(entry["group"]) == NOBODY, "it to be nobody's")
        os.kill(entry["pid"], signal.SIGKILL)
        mv(spool, "x", "processing", "dead")
        until(lambda: gone(entry["group"]), "its end")


def test_a_job_that_hands_take_while_tmp_is_no_directory_ends_no_worker(spool, tmp_path):
    spool.add("sleep 1000", id="x")
    with pool(spool) as supervisor:
        until_it_runs(spool)
        before = workers(spool)
        os.rename(f"{spool.root}/tmp", tmp_path / "away")
        Path(spool.root, "tmp").touch()
        mv(spool, "x", "processing", "dead")
        until(lambda: b"moved away by hand" in supervisor.log.read_bytes(), "its end")
        Path(spool.root, "tmp").unlink()
        os.rename(tmp_path / "away", f"{spool.root}/tmp")
        comes_to(spool, spool.add("true").id, "done")
        assert workers(spool) == before
