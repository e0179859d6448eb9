"""What exit codes, and what a job says of itself, come to: with real workers."""

import json
import os
import time
from pathlib import Path

from kit import comes_to, drop, pool, queuectl, until, where

from jobspool import said

SAY = "printf %s {} > $QUEUECTL_RESULT"


def test_a_code_that_means_dead_is_not_tried_again_and_one_that_means_done_is_done(spool):
    drop(spool, "dead", {"command": "exit 64", "exits": {"64": "dead"}})
    drop(spool, "done", {"command": "exit 3", "exits": {"3": "done"}})
    with pool(spool):
        [dead], [done] = comes_to(spool, "dead", "dead").attempts, comes_to(spool, "done", "done").attempts
    assert (dead["exit"], dead["verdict"], done["exit"], done["verdict"]) == (64, "dead", 3, "done")


def test_the_spools_own_table_is_heeded(spool):
    queuectl("config", "--key", "exits", "--value", "7=dead", spool=spool, check=True)
    drop(spool, "x", {"command": "exit 7"})
    with pool(spool):
        assert len(comes_to(spool, "x", "dead").attempts) == 1


def test_a_snooze_waits_in_pending_and_is_not_counted(spool, tmp_path):
    command = f"echo >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -gt 3 || exit 75"
    drop(spool, "x", {"command": command, "snooze": 0.01, "max_retries": 0})
    with pool(spool):
        job = comes_to(spool, "x", "done")
    assert [attempt["verdict"] for attempt in job.attempts] == ["snoozed"] * 3 + ["done"]


def test_a_snoozed_job_says_when_it_goes_on(spool):
    drop(spool, "x", {"command": "exit 75", "snooze": 600})
    with pool(spool):
        until(lambda: where(spool, "x") == ["pending"] and spool.read("pending", "x").attempts, "the snooze")
    [attempt] = spool.read("pending", "x").attempts
    assert (attempt["verdict"], "due" in attempt) == ("snoozed", True)
    assert 590 < os.stat(spool.path("pending", "x")).st_mtime - time.time() < 601
    assert "it may not run before its time, in 10 min" in queuectl("why", "x", spool=spool).stdout


def test_a_job_says_when_it_is_to_be_tried_again_and_what_is_to_be_kept(spool, tmp_path):
    what = json.dumps({"retry_after": 0.01, "result": {"lines": 7}})
    drop(
        spool,
        "x",
        {
            "command": f"{SAY.format(repr(what))}; test -e {tmp_path}/again || {{ touch {tmp_path}/again; exit 1; }}",
            "backoff_base": 1000,
        },
    )
    with pool(spool):
        first, second = comes_to(spool, "x", "done").attempts
    assert (first["verdict"], "result" in first, second["result"]) == ("failed", False, {"lines": 7})
    assert 'result      {"lines": 7}' in queuectl("show", "x", spool=spool).stdout
    assert not [name for name in os.listdir(f"{spool.root}/logs") if name.endswith(".result")]


def test_a_job_that_says_so_is_dead_with_its_reason(spool):
    drop(spool, "x", {"command": SAY.format(repr(json.dumps({"dead": "no such customer"})))})
    with pool(spool):
        [attempt] = comes_to(spool, "x", "dead").attempts
    assert (attempt["reason"], attempt["verdict"]) == ("no such customer", "dead")
    assert "no such customer" in queuectl("dlq", "list", spool=spool).stdout


def test_what_can_not_be_taken_is_told_and_stays_and_the_exit_code_counts(spool):
    drop(spool, "x", {"command": "echo nonsense > $QUEUECTL_RESULT"})
    told = queuectl("start", "--drain", spool=spool, check=True).stdout
    assert "what a job said of itself is not heeded" in told
    assert where(spool, "x") == ["done"]
    assert Path(spool.root, "logs/x.1.result").read_text() == "nonsense\n"
    queuectl("rm", "x", spool=spool, check=True)
    assert not os.path.exists(f"{spool.root}/logs/x.1.result")


def test_how_far_it_is_is_shown_while_it_runs(spool):
    what = json.dumps({"progress": 40, "text": "page 4"})
    drop(spool, "x", {"command": f"{SAY.format(repr(what))}; sleep 1031"})
    with pool(spool):
        path = f"{spool.root}/logs/x.1.result"
        until(lambda: os.path.exists(path) and os.path.getsize(path) and said.read(path))  # a shell opens it before it writes
        [worker] = json.loads(queuectl("status", "--json", spool=spool).stdout)["workers"]
        assert (worker["progress"], worker["text"]) == (40, "page 4")
        assert " 40 % (page 4): " in queuectl("status", spool=spool).stdout
        assert " 40 % (page 4): queuectl logs" in queuectl("why", "x", spool=spool).stdout
        assert "progress    40 % (page 4)" in queuectl("show", "x", spool=spool).stdout
        assert "40 % (page 4)" in queuectl("top", "--once", spool=spool).stdout
        queuectl("cancel", "x", spool=spool, check=True)


def test_what_an_older_job_of_the_name_has_said_is_not_this_ones(spool):
    Path(spool.root, "logs/x.1.result").write_text('{"dead": "old"}')
    os.utime(f"{spool.root}/logs/x.1.result", (1_000_000_000,) * 2)
    drop(spool, "x", {"command": "true"})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert where(spool, "x") == ["done"]


def test_reasons_are_what_was(spool):
    drop(spool, "zero", {"command": "exit 0", "exits": {"0": "dead"}})
    drop(spool, "empty", {"command": SAY.format('\'{"dead": ""}\'') + "; exit 3"})
    drop(spool, "circle", {"command": "true", "after": ["circle"]})
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert [spool.find(id).attempts[0]["reason"] for id in ("zero", "empty")] == ["exit 0", "exit 3"]
    assert "(it comes after itself)" in queuectl("why", "circle", spool=spool).stdout
