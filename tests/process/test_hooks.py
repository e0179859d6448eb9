"""Hooks and the gate of the machine: with real supervisors."""

import json
import os
import time
from pathlib import Path

import pytest
from kit import comes_to, drop, gone, pool, queuectl, until, where

from jobspool import hooks
from jobspool.machine import Gate


def hook(spool, kind, text):
    path = Path(spool.root, "hooks", f"on-{kind}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_each_hook_gets_the_job_when_it_has_come_to_be_so(spool, tmp_path):
    for kind in ("done", "failed", "dead", "idle"):
        hook(spool, kind, f'cat >> {tmp_path}/{kind}; echo >> {tmp_path}/{kind}; echo "hook $QUEUECTL_HOOK $QUEUECTL_HOOK_ID"')
    drop(spool, "well", {"command": "true", "name": "größer"})
    drop(spool, "bad", {"command": "false", "max_retries": 1, "backoff": [0.01]})
    drop(spool, "late", {"command": "true", "expires": "2020-01-01T00:00:00Z"})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    told = {
        kind: [json.loads(line) for line in (tmp_path / kind).read_text().splitlines()]
        for kind in ("done", "failed", "dead", "idle")
    }
    assert [(job["id"], job["state"], job["name"]) for job in told["done"]] == [("well", "done", "größer")]
    assert [(job["id"], len(job["attempts"])) for job in told["failed"]][:1] == [("bad", 1)]
    assert sorted(job["id"] for job in told["dead"]) == ["bad", "late"]
    assert told["idle"][-1] == {"spool": spool.root}
    assert "hook done well" in Path(spool.root, "logs/hooks.log").read_text()


def test_a_hook_never_blocks_the_queue_and_is_ended_when_it_takes_too_long(spool, tmp_path, monkeypatch):
    hook(spool, "done", "sleep 1050")
    with pool(spool):
        for i in range(8):
            drop(spool, f"x{i}", {"command": "true"})
        until(lambda: spool.count("done") == 8, "all of them")
    told = []
    monkeypatch.setattr(hooks, "LIMIT", 0.1)
    seen = hooks.Hooks(spool, lambda kind, **what: told.append(what["why"]))
    seen.happened("done", "x0")
    seen.finish(lambda: False)
    assert told == ["hooks/on-done took longer than 0.1 s, and was ended"]


@pytest.mark.parametrize(("change", "said"), [("mode", "is not run"), ("exec", "can't be run"), ("exit", "ended with 3")])
def test_a_hook_that_is_not_to_be_run_or_fails_is_told_of(spool, change, said):
    path = hook(spool, "done", "exit 3")
    path.chmod({"mode": 0o777, "exec": 0o644, "exit": 0o755}[change])
    drop(spool, "x", {"command": "true"})
    assert said in queuectl("start", "--drain", spool=spool, check=True).stdout
    assert where(spool, "x") == ["done"]


def test_a_hook_that_comes_while_workers_run_is_seen(spool, tmp_path):
    with pool(spool):
        drop(spool, "x", {"command": "true"})
        comes_to(spool, "x", "done")
        hook(spool, "done", f"touch {tmp_path}/seen")

        def another():
            drop(spool, f"y{time.monotonic_ns()}", {"command": "true"})
            return (tmp_path / "seen").exists()

        until(another, "the hook")


def test_nothing_starts_unless_the_command_says_so(spool, tmp_path):
    drop(spool, "x", {"command": "true"})
    with pool(spool, 1, "--when", f"test -e {tmp_path}/go") as one:
        until(lambda: "held back" in one.log.read_text(), "the gate to be shut")
        assert where(spool, "x") == ["pending"]
        (tmp_path / "go").touch()
        comes_to(spool, "x", "done")
        assert "goes on" in one.log.read_text()


def test_the_machines_limits_shut_the_gate(spool, monkeypatch):
    assert Gate(spool.root, max_load=1e9, min_free_memory=1, min_free_disk=1).why() == ""
    assert "of the disk are free, less than" in Gate(spool.root, min_free_disk=1 << 60).why()
    assert "of memory are free, less than" in Gate(spool.root, min_free_memory=1 << 60).why()
    monkeypatch.setattr(os, "getloadavg", lambda: (3.5, 0, 0))
    assert Gate(spool.root, max_load=2).why() == "the load is 3.50, over 2"


def test_a_command_that_does_not_answer_has_not_said_yes(spool):
    now = [0.0]
    gate = Gate(spool.root, when="sleep 1051", clock=lambda: now[0])
    assert "has not said yes yet" in gate.why()
    now[0] = 31.0
    assert gate.why() == "`sleep 1051` says no (too slow)"


def test_a_wrong_limit_of_the_machine_is_told_before_anything_begins(spool):
    ran = queuectl("start", "--detach", "--min-free-memory", "some", spool=spool)
    assert (ran.returncode, "--min-free-memory takes a size" in ran.stderr) == (2, True)


def test_a_hook_is_ended_with_what_it_has_started(spool, monkeypatch, tmp_path):
    hook(spool, "done", f"sleep 1052 & echo $! > {tmp_path}/pid; wait")
    drop(spool, "x", {"command": "true"}, "done")
    monkeypatch.setattr(hooks, "LIMIT", 0.5)
    seen = hooks.Hooks(spool, lambda kind, **what: None)
    seen.happened("done", "x")
    seen.finish(lambda: False)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_log_that_can_not_be_written_leaks_nothing(spool):
    hook(spool, "done", "true")
    os.mkdir(f"{spool.root}/logs/hooks.log")
    seen = hooks.Hooks(spool, lambda kind, **what: None)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        seen.happened("done", "x")
        seen.finish(lambda: False)
    assert (len(os.listdir("/proc/self/fd")), os.listdir(f"{spool.root}/tmp")) == (before, [])


def test_a_gate_that_can_not_look_is_shut_and_ends_nobody(spool):
    assert "nobody can look" in Gate("/nowhere", min_free_disk=1).why()


def test_a_stop_now_waits_for_no_hook(spool):
    hook(spool, "done", "sleep 1053")
    with pool(spool, 2):
        for i in range(20):
            drop(spool, f"x{i:02}", {"command": "true"})
        until(lambda: spool.count("done") == 20, "all of them")
        queuectl("stop", "--timeout", "0.2", spool=spool)
        assert queuectl("stop", "--now", "--timeout", "20", spool=spool).returncode in (0, 1)
