"""The life of a job, with real workers."""

import os
import time

from kit import comes_to, drop, log, mv, pool, until, where

from jobspool import config
from jobspool.job import seconds


def quick(spool):
    """Let retries come at once."""
    for name, value in (("backoff_base", 0), ("grace", 1)):
        config.change(spool.root, name, value, spool.spare(), 0o600)
    return spool


def test_a_job_that_exits_0_is_done_and_says_all_about_it(spool):
    with pool(spool) as supervisor:
        job = comes_to(spool, spool.add("echo hello").id, "done")
    (attempt,) = job.attempts
    assert {word: attempt[word] for word in ("number", "exit", "verdict")} == {"number": 1, "exit": 0, "verdict": "done"}
    assert set(attempt) == {"number", "started", "ended", "duration", "worker", "exit", "verdict", "cpu", "memory"}
    assert log(spool, job.id) == b"hello\n"
    assert supervisor.returncode == 0


def test_max_retries_3_means_one_try_and_three_more(spool):
    quick(spool)
    with pool(spool):
        job = comes_to(spool, spool.add("exit 7", max_retries=3).id, "dead")
    assert [attempt["verdict"] for attempt in job.attempts] == ["failed", "failed", "failed", "dead"]
    assert {(attempt["exit"], attempt["reason"]) for attempt in job.attempts} == {(7, "exit 7")}


def test_a_retry_comes_when_it_is_due_and_not_before(spool):
    with pool(spool):
        id = spool.add("exit 1", max_retries=1, backoff_base=1).id
        waiting = comes_to(spool, id, "failed")
        first = waiting.attempts[0]
        wait = seconds(first["due"]) - seconds(first["ended"])
        assert 1 <= wait <= 1.1
        assert abs(waiting.mtime - seconds(first["due"])) < 0.001
        dead = comes_to(spool, id, "dead")
    late = seconds(dead.attempts[1]["started"]) - seconds(first["due"])
    assert 0 <= late < 1


def test_a_dead_job_moved_to_pending_has_a_full_new_set_of_tries(spool):
    quick(spool)
    with pool(spool):
        spool.add("exit 1", id="x", max_retries=1)
        comes_to(spool, "x", "dead")
        mv(spool, "x", "dead", "pending")
        job = until(lambda: (job := spool.read("dead", "x")) and len(job.attempts) == 4 and job)
    assert [attempt["verdict"] for attempt in job.attempts] == ["failed", "dead", "failed", "dead"]


def test_a_failed_job_put_into_dead_by_hand_has_its_tries_again_too(spool):
    with pool(spool):
        spool.add("exit 1", id="x", max_retries=1, backoff_base=600)
        comes_to(spool, "x", "failed")
        mv(spool, "x", "failed", "dead")
        until(lambda: spool.read("dead", "x").attempts[-1]["verdict"] == "dead", "the note that it is dead")
        mv(spool, "x", "dead", "pending")
        job = until(lambda: (job := spool.read("failed", "x")) and len(job.attempts) == 2 and job)
    assert [attempt["verdict"] for attempt in job.attempts] == ["dead", "failed"]


def test_a_failed_job_moved_to_pending_by_hand_runs_at_once(spool):
    with pool(spool):
        spool.add("exit 1", id="x", max_retries=1, backoff_base=600)
        comes_to(spool, "x", "failed")
        mv(spool, "x", "failed", "pending")
        assert len(comes_to(spool, "x", "dead").attempts) == 2


def test_higher_priority_runs_first_then_the_oldest(spool, tmp_path):
    order = tmp_path / "order"
    for id, priority, age in (("young", 0, 10), ("old", 0, 99), ("urgent", 5, 1), ("low", -1, 999)):
        spool.add(f"echo {id} >> {order}", id=id, priority=priority)
        os.utime(spool.path("pending", id), (time.time() - age,) * 2)
    with pool(spool, 1, "--drain") as supervisor:
        supervisor.wait(30)
    assert order.read_text().split() == ["urgent", "old", "young", "low"]


def test_a_file_from_the_future_waits_and_a_touch_brings_it_forward(spool):
    spool.add("true", id="later")
    path = spool.path("pending", "later")
    os.utime(path, (time.time() + 3600,) * 2)
    with pool(spool):
        comes_to(spool, spool.add("true").id, "done")
        assert where(spool, "later") == ["pending"]
        os.utime(path, (time.time() - 1,) * 2)
        comes_to(spool, "later", "done")


def test_what_cannot_be_started_says_why(spool, tmp_path):
    quick(spool)
    plain = tmp_path / "plain"
    plain.write_text("text")
    cases = {
        "missing": ({"argv": ["nosuchprogram", "x"]}, 127, "command not found: nosuchprogram"),
        "nofile": ({"argv": ["/nosuch"]}, 127, "can't run /nosuch: No such file or directory"),
        "plain": ({"argv": [str(plain)]}, 126, f"can't run {plain}: Permission denied"),
        "gone": ({"command": "true", "cwd": "/nosuch"}, 127, "cwd /nosuch is gone"),
        "nodir": ({"command": "true", "cwd": str(plain)}, 126, f"cwd {plain}: Not a directory"),
    }
    for id, (record, _, _) in cases.items():
        drop(spool, id, {**record, "max_retries": 0})
    with pool(spool):
        for id, (_, status, reason) in cases.items():
            (attempt,) = comes_to(spool, id, "dead").attempts
            assert (attempt["exit"], attempt["reason"]) == (status, reason)
            assert log(spool, id, stream="err").decode() == f"queuectl: {reason}\n"


def test_a_script_without_a_first_line_is_run_by_the_shell(spool, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo $1\n")
    script.chmod(0o755)
    drop(spool, "x", {"argv": [str(script), "a b"]})
    with pool(spool):
        comes_to(spool, "x", "done")
    assert log(spool, "x") == b"a b\n"


def test_a_setting_is_taken_up_by_running_workers_and_a_broken_file_changes_nothing(spool):
    quick(spool)
    with pool(spool):
        from jobspool import config

        config.change(spool.root, "max_retries", 0, spool.spare(), 0o600)
        assert len(comes_to(spool, spool.add("exit 1").id, "dead").attempts) == 1
        with open(f"{spool.root}/config.json", "w") as file:
            file.write("{")
        drop(spool, "x", {"command": "exit 1"})
        assert len(comes_to(spool, "x", "dead").attempts) == 1


def test_a_drain_waits_for_retries_and_then_ends(spool):
    spool.add("exit 1", id="x", max_retries=1, backoff_base=1)
    spool.add("true", id="y")
    with pool(spool, 2, "--drain") as supervisor:
        assert supervisor.wait(30) == 0
    assert (where(spool, "x"), where(spool, "y")) == (["dead"], ["done"])


def test_a_command_may_begin_with_a_dash_or_a_plus(spool):
    with pool(spool):
        (attempt,) = comes_to(spool, spool.add("+x; true", max_retries=0).id, "done").attempts
        assert attempt["exit"] == 0


def test_what_was_kept_long_enough_goes_while_the_rest_runs_on(spool):
    config.change(spool.root, "keep_done", "1s", spool.spare(), 0o600)
    with pool(spool, 2):
        ids = [spool.add("echo said").id for _ in range(5)]
        spool.add("false", id="x", max_retries=0)
        until(lambda: not any(where(spool, id) for id in ids), "the end of what was done")
        comes_to(spool, "x", "dead")
        comes_to(spool, spool.add("true").id, "done")
    assert not any(log(spool, id) for id in ids)
