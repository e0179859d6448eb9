"""What a person does with mv, cp, rm, touch, echo and an editor, while workers run."""

import os
import socket
import stat
import subprocess
import time

import pytest
from kit import comes_to, drop, everyone, gone, log, mv, pool, queuectl, until, where

from jobspool.job import parse


def running(spool, tmp_path, id="x"):
    """Let a job run for ever; return its processes and its file's content."""
    file = tmp_path / f"{id}.pids"
    spool.add(f"sleep 1000 & echo $$ $! > {file}.new; mv {file}.new {file}; wait", id=id)
    until(file.exists, "the job to run")
    until(lambda: any(entry.get("job") == id for entry in everyone(spool)))
    with open(spool.path("processing", id), "rb") as content:
        return [int(word) for word in file.read_text().split()], content.read()


@pytest.mark.parametrize("target", ["dead", "done"])
def test_a_running_job_that_is_moved_away_is_ended_and_stays_where_it_was_put(spool, tmp_path, target):
    with pool(spool):
        processes, content = running(spool, tmp_path)
        mv(spool, "x", "processing", target)
        until(lambda: all(map(gone, processes)), "its processes to end")
        comes_to(spool, spool.add("true").id, "done")  # so the worker is through with it
        assert where(spool, "x") == [target]
        with open(spool.path(target, "x"), "rb") as file:
            assert file.read() == content


def test_a_running_job_that_is_moved_out_of_the_spool_or_removed_is_ended(spool, tmp_path):
    with pool(spool):
        first, content = running(spool, tmp_path, "first")
        os.rename(spool.path("processing", "first"), tmp_path / "first.json")
        until(lambda: all(map(gone, first)), "its processes to end")
        second, _ = running(spool, tmp_path, "second")
        os.unlink(spool.path("processing", "second"))
        until(lambda: all(map(gone, second)), "its processes to end")
        comes_to(spool, spool.add("true").id, "done")
    assert (where(spool, "first"), where(spool, "second")) == ([], [])
    assert (tmp_path / "first.json").read_bytes() == content


def test_a_running_job_that_is_moved_to_pending_is_ended_and_runs_again(spool, tmp_path):
    with pool(spool, 2):
        first, _ = running(spool, tmp_path)
        (tmp_path / "x.pids").unlink()
        mv(spool, "x", "processing", "pending")
        until((tmp_path / "x.pids").exists, "the second run")
        assert all(map(gone, first))
        mv(spool, "x", "processing", "dead")


def test_jobs_come_by_mv_by_cp_and_by_echo(spool, tmp_path):
    (tmp_path / "a.json").write_text('{"command": "true"}')
    (tmp_path / "b.json").write_text('{"command": "true"}\n')
    with pool(spool):
        subprocess.run(f"mv {tmp_path}/a.json {spool.root}/pending/", shell=True, check=True)
        subprocess.run(f"cp {tmp_path}/b.json {spool.root}/pending/", shell=True, check=True)
        subprocess.run(f'echo \'{{"command": "true"}}\' > {spool.root}/pending/c.json', shell=True, check=True)
        for id in "abc":
            comes_to(spool, id, "done")


def test_a_file_that_is_written_slowly_runs_once_when_it_is_whole(spool, tmp_path):
    content = f'{{"command": "echo ran >> {tmp_path}/ran"}}'.encode()
    with pool(spool), open(spool.path("pending", "slow"), "wb", buffering=0) as file:
        for i in range(0, len(content), 7):
            file.write(content[i : i + 7])
            comes_to(spool, spool.add("true").id, "done")  # a while goes by, in which the pool looks
        comes_to(spool, "slow", "done")
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_file_that_somebody_still_has_open_for_writing_is_left_alone(spool, tmp_path):
    with pool(spool), open(spool.path("pending", "open"), "wb", buffering=0) as file:
        file.write(b'{"command": ')
        drop(spool, "closed", b'{"command": ')
        comes_to(spool, "closed", "dead")  # so both were seen to have settled
        drop(spool, "second", b'{"command": ')
        comes_to(spool, "second", "dead")
        assert where(spool, "open") == ["pending"]
        file.write(b'"true"}')
        file.close()
        comes_to(spool, "open", "done")


def test_what_a_job_printed_before_hands_took_it_away_is_shown(spool):
    with pool(spool):
        spool.add("echo begun; sleep 1000", id="x")
        until(lambda: log(spool, "x"), "what it prints")
        mv(spool, "x", "processing", "dead")
        comes_to(spool, spool.add("true").id, "done")
        assert queuectl("logs", "x", spool=spool).stdout == "begun\n"
        mv(spool, "x", "dead", "pending")
        until(lambda: os.path.exists(f"{spool.root}/logs/x.1~1.out"), "the second run")
        shown = queuectl("show", "x", spool=spool).stdout
        mv(spool, "x", "processing", "dead")
    assert f"{spool.root}/logs/x.1~1.out (6 bytes)" in shown


def test_what_is_no_job_goes_to_dead_untouched_once_it_has_settled(spool):
    junk = {"half": b'{"command": "tr', "list": b"[1]", "key": b'{"comand": "x"}', "both": b'{"command": "x", "argv": ["x"]}'}
    with pool(spool):
        began = time.monotonic()
        for id, content in junk.items():
            drop(spool, id, content)
        for id, content in junk.items():
            job = comes_to(spool, id, "dead")
            assert time.monotonic() - began >= 2
            assert job.problem
            with open(spool.path("dead", id), "rb") as file:
                assert file.read() == content
    assert spool.read("dead", "key").problem.startswith("unknown key 'comand', did you mean 'command'?")


def test_a_paused_spool_starts_nothing_until_it_goes_on(spool):
    with pool(spool) as supervisor:
        open(f"{spool.root}/paused", "w").close()
        until(lambda: b"paused" in supervisor.log.read_bytes(), "the pause")
        id = spool.add("true").id
        until(lambda: os.listdir(f"{spool.root}/pending"))
        os.unlink(f"{spool.root}/paused")
        job = comes_to(spool, id, "done")
        told = until(lambda: (text := supervisor.log.read_text()) and "done" in text and text, "the supervisor's word")
        assert told.index("resumed") < told.index("done")
    assert len(job.attempts) == 1


def test_odd_files_are_never_run_changed_or_removed_and_stop_nobody(spool, tmp_path):
    ran = tmp_path / "ran"
    job = f'{{"command": "touch {ran}", "priority": 9}}'
    pending = f"{spool.root}/pending"
    (tmp_path / "target.json").write_text(job)
    os.symlink(tmp_path / "target.json", f"{pending}/link.json")
    os.link(tmp_path / "target.json", f"{pending}/hard.json")
    os.mkfifo(f"{pending}/fifo.json")
    os.mkdir(f"{pending}/folder.json")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(pending)  # the path of a socket is short
    server.bind("socket.json")
    os.chdir(here)
    for name in ("open.json", ".dot.json", "x.json~", "x.part", "plain"):
        with open(f"{pending}/{name}", "w") as file:
            file.write(job)
    os.chmod(f"{pending}/open.json", 0o666)
    if os.geteuid() == 0:
        with open(f"{pending}/foreign.json", "w") as file:
            file.write(job)
        os.chown(f"{pending}/foreign.json", 12345, 12345)
    before = {name: os.lstat(f"{pending}/{name}") for name in os.listdir(pending)}
    with pool(spool, 1):
        comes_to(spool, spool.add("true").id, "done")
        comes_to(spool, spool.add("true").id, "done")
    server.close()
    after = {name: os.lstat(f"{pending}/{name}") for name in os.listdir(pending)}
    same = ("st_ino", "st_mode", "st_mtime_ns", "st_size", "st_uid", "st_nlink")
    assert {name: [getattr(s, k) for k in same] for name, s in after.items()} == {
        name: [getattr(s, k) for k in same] for name, s in before.items()
    }
    assert not ran.exists()
    assert stat.S_ISFIFO(after["fifo.json"].st_mode)


def test_a_newcomer_waits_while_a_job_of_its_name_runs_and_the_older_record_is_kept(spool, tmp_path):
    go = tmp_path / "go"
    with pool(spool, 2):
        spool.add(f"until test -e {go}; do sleep 0.01; done", id="x", meta="older")
        comes_to(spool, "x", "processing")
        drop(spool, "x", {"command": "true", "meta": "newer"})
        comes_to(spool, spool.add("true").id, "done")
        assert where(spool, "x") == ["pending", "processing"]
        go.touch()
        until(lambda: where(spool, "x") == ["done"] and where(spool, "x~1") == ["done"], "both to be done")
    records = {}
    for id in ("x", "x~1"):
        with open(spool.path("done", id), "rb") as file:
            records[id] = parse(file.read(), 10_000)
    assert {id: record["meta"] for id, record in records.items()} == {"x": "newer", "x~1": "older"}


def test_an_editors_save_over_a_pending_file_is_what_runs(spool, tmp_path):
    drop(spool, "x", {"command": f"echo old > {tmp_path}/out"})
    os.utime(spool.path("pending", "x"), (time.time() + 3600,) * 2)
    with pool(spool):
        comes_to(spool, spool.add("true").id, "done")
        drop(spool, ".x.json.swp", {"command": f"echo new > {tmp_path}/out"})
        os.rename(spool.path("pending", ".x.json.swp"), spool.path("pending", "x"))
        comes_to(spool, "x", "done")
    assert (tmp_path / "out").read_text() == "new\n"


@pytest.mark.parametrize("how", ["rm", "purge"])
def test_a_directory_with_the_name_of_a_job_is_not_removed_but_refused(spool, how):
    folder = spool.path("dead", "x")
    os.mkdir(folder)
    open(f"{folder}/mine", "w").close()
    done = queuectl(*(["rm", "x"] if how == "rm" else ["dlq", "purge", "--all", "--yes"]), spool=spool)
    assert (done.returncode, f"{folder} is a directory" in done.stderr, os.listdir(folder)) == (1, True, ["mine"]), done.stderr
    assert os.listdir(f"{spool.root}/tmp") == []
