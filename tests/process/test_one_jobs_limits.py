"""Limits of one job: whoever goes beyond is ended, and the record says why."""

import resource
import sys

import pytest
from kit import comes_to, drop, pool, queuectl

FILL = f"{sys.executable} -c 'x = bytearray(200 << 20); import time; time.sleep(1040)'"


def ended(spool, job):
    drop(spool, "x", {**job, "max_retries": 0})
    with pool(spool):
        [attempt] = comes_to(spool, "x", "dead").attempts
    return attempt


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"command": FILL, "limits": {"memory": 100 << 20}}, "over 100 MiB of memory"),
        ({"command": f"{FILL} & {FILL} & wait", "limits": {"memory": 300 << 20}}, "over 300 MiB of memory"),
        ({"command": "while :; do :; done", "limits": {"cpu": 1}}, "over 1 s of processor time"),
        ({"command": "echo once; sleep 1041", "idle_timeout": 0.3}, "no output for 0.3 s"),
    ],
)
def test_what_goes_beyond_its_limit_is_ended_with_the_reason(spool, job, reason):
    assert ended(spool, job)["reason"] == reason


def test_what_prints_all_the_time_is_not_idle(spool):
    drop(spool, "x", {"command": "for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done", "idle_timeout": 0.6})
    with pool(spool):
        comes_to(spool, "x", "done")


def test_the_kernels_limits_and_niceness_are_the_jobs(spool):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    job = {"command": "ulimit -n; ulimit -c; nice", "limits": {"files": 77, "core": 0}, "nice": 7}
    drop(spool, "x", job)
    drop(spool, "y", {"argv": ["sh", "-c", "ulimit -n; nice; echo $0 $1", "a b", "c"], "nice": 3})
    with pool(spool):
        comes_to(spool, "x", "done")
        comes_to(spool, "y", "done")
    assert queuectl("logs", "x", spool=spool).stdout.split() == ["77", "0", "7"]
    assert queuectl("logs", "y", spool=spool).stdout.splitlines() == [str(most), "3", "a b c"]


def test_a_program_that_is_not_there_is_told_of_as_ever(spool):
    assert ended(spool, {"command": "no-such-program", "nice": 1})["exit"] == 127


def test_a_job_has_its_own_signal_to_stop(spool):
    stubborn = "trap 'echo stopped; exit 3' INT; trap '' TERM; while :; do sleep 0.05; done"
    attempt = ended(spool, {"command": stubborn, "timeout": 0.3, "stop_signal": "INT"})
    assert attempt["reason"] == "timeout after 0.3 s"
    assert queuectl("logs", "x", spool=spool).stdout == "stopped\n"


def test_the_options_are_the_words_of_the_file(spool):
    words = ["--memory", "1.5G", "--cpu-time", "10m", "--open-files", "64", "--core-size", "0", "--nice", "5", "--ionice", "idle"]
    id = queuectl(
        "enqueue", "true", *words, "--idle-timeout", "5m", "--stop-signal", "sigint", spool=spool, check=True
    ).stdout.strip()
    record = spool.find(id).record
    assert record["limits"] == {"memory": 1_610_612_736, "cpu": 600, "files": 64, "core": 0}
    assert (record["nice"], record["ionice"], record["idle_timeout"], record["stop_signal"]) == (5, "idle", 300, "INT")
    queuectl("start", "--drain", "--quiet", spool=spool, check=True)
    assert spool.find(id).state == "done"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--memory", "lots"], "--memory takes a size such as 512M or 2G, not 'lots'"),
        (["--nice", "20"], "--nice 20: it must be a whole number from -20 to 19"),
        (["--ionice", "fast"], "it must be one of best-effort, idle"),
        (["--stop-signal", "HALT"], "there is no signal 'HALT'"),
    ],
)
def test_a_wrong_limit_is_named(spool, words, said):
    ran = queuectl("enqueue", "true", *words, spool=spool)
    assert (ran.returncode, said in ran.stderr, spool.count("pending")) == (2, True, 0)
