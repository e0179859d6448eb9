"""wait, run and logs -f: what a person, or a script, waits for."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from kit import QUEUECTL, comes_to, drop, pool, queuectl, until, where

import queuectl as command
from jobspool import Spool


def begun(spool, *words, **more):
    env = {**os.environ, "QUEUECTL_SPOOL": spool.root}
    return subprocess.Popen([*QUEUECTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **more)


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)], ids=["done", "its exit status", "its signal"]
)
def test_wait_exits_as_the_job_did(spool, command, code):
    drop(spool, "x", {"command": command, "max_retries": 0})
    waiting = begun(spool, "wait", "x", "--json")
    with pool(spool):
        said, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, json.loads(said)["id"]) == (code, "x")


def test_wait_for_several_for_any_and_for_all(spool):
    drop(spool, "good", {"command": "true"})
    drop(spool, "bad", {"command": "exit 3", "max_retries": 0})
    drop(spool, "held", {"command": "true", "hold": "for ever"})
    with pool(spool):
        assert queuectl("wait", "good", "bad", spool=spool).returncode == 1
        assert queuectl("wait", "held", "bad", "--any", spool=spool).returncode == 3
        assert queuectl("wait", spool=spool).returncode == 0
        assert queuectl("wait", "held", "--timeout", "0.05", spool=spool).returncode == 124


def test_wait_ends_where_the_job_is_removed(spool):
    drop(spool, "x", {"command": "true"})
    waiting = begun(spool, "wait", "x")
    queuectl("rm", "x", spool=spool, check=True)
    waiting.communicate(timeout=30)
    assert waiting.returncode == 1


def test_run_shows_both_streams_and_exits_as_the_job_did(spool):
    with pool(spool):
        ran = queuectl("run", "echo out; echo err >&2; exit 4", "--max-retries", "0", spool=spool)
    assert (ran.returncode, ran.stdout, ran.stderr) == (4, "out\n", "err\n")


def test_run_goes_on_from_try_to_try(spool, tmp_path):
    with pool(spool):
        script = f"echo try $QUEUECTL_ATTEMPT; test -e {tmp_path}/once || {{ touch {tmp_path}/once; exit 1; }}"
        ran = queuectl("run", script, "--backoff-base", "0.1", spool=spool)
    assert (ran.returncode, ran.stdout) == (0, "try 1\ntry 2\n")


def test_run_now_needs_no_pool_and_leaves_nothing_behind(spool):
    ran = queuectl(
        "run",
        "--now",
        "--backoff-base",
        "0.1",
        "--max-retries",
        "1",
        "--",
        "sh",
        "-c",
        "echo $QUEUECTL_ATTEMPT; exit 5",
        spool=spool,
    )
    assert (ran.returncode, ran.stdout) == (5, "1\n2\n")
    assert [os.listdir(f"{spool.root}/{name}") for name in ("tmp", "workers", "processing")] == [[], [], []]
    assert not [name for name in os.listdir(f"{spool.root}/logs") if name.startswith("worker-")]


def test_run_interrupted_by_a_script_cancels_or_goes_on(spool, tmp_path):
    with pool(spool):
        for number, option in enumerate((["--cancel-on-interrupt"], [])):
            ready = tmp_path / f"ready{number}"
            running = begun(spool, "run", f"touch {ready}; sleep 1008", "--id", f"x{number}", *option, stdin=subprocess.DEVNULL)
            until(ready.exists, "the job")
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=30)
            assert (running.returncode, where(spool, f"x{number}")) == (130, ["processing" if number else "dead"])
        queuectl("cancel", "x1", spool=spool, check=True)


def test_run_interrupted_while_it_adds_cancels_what_it_has_added(spool, monkeypatch):
    add_many = Spool.add_many

    def add_and_interrupt(*words):
        added = add_many(*words)
        signal.raise_signal(signal.SIGINT)
        return added

    monkeypatch.setattr(Spool, "add_many", add_and_interrupt)
    status = command.main(["run", "--spool", spool.root, "true", "--id", "x", "--cancel-on-interrupt"])
    assert (status, where(spool, "x")) == (130, ["dead"])


def test_logs_follow_a_job_while_it_prints(spool, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with pool(spool):
        drop(spool, "x", {"command": f"echo one; cat {gate}; echo three"})
        following = begun(spool, "logs", "-f", "x")
        assert following.stdout.readline() == "one\n"
        gate.write_text("two\n")
        said, _ = following.communicate(timeout=30)
    assert (said, following.returncode) == ("two\nthree\n", 0)


def test_logs_of_several_begin_with_their_handles_and_a_tail_is_short(spool):
    with pool(spool):
        for id in "xy":
            drop(spool, id, {"command": f"seq 3; echo {id} >&2"})
            comes_to(spool, id, "done")
    ran = queuectl("logs", "x", "y", "--tail", "1", spool=spool)
    assert (ran.stdout, ran.stderr) == ("x | 3\ny | 3\n", "x | x\ny | y\n")
    assert queuectl("logs", "--stdout", spool=spool).stdout == "1\n2\n3\n"
    assert queuectl("logs", "x", "--tail", "2", "--stdout", spool=spool).stdout == "2\n3\n"
    assert queuectl("logs", "x", "--tail", "0", "--stdout", spool=spool).stdout == ""
    assert queuectl("logs", "-f", "y", "x", "--stderr", spool=spool).stdout in ("y | y\nx | x\n", "x | x\ny | y\n")


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 50, 70_000, 10**6])
def test_the_last_lines_are_found_in_a_file_of_any_size(tmp_path, lines):
    from jobspool.follow import start_of_last

    path = Path(tmp_path, "log")
    content = b"".join(b"%d\n" % number for number in range(60_000)) + b"no end"
    path.write_bytes(content)
    with open(path, "rb") as file:
        start = start_of_last(file.fileno(), lines)
    wanted = content.split(b"\n")[-lines:] if lines else []
    assert content[start:] == b"\n".join(wanted)
