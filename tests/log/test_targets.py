"""Where the workers' log goes: real pools, and what comes out of them."""

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import mounts
import pytest
from disk.bad import full_of_bytes
from kit import QUEUECTL, comes_to, drop, pool, queuectl, until, workers
from log.scene import Listener, kinds, lines

from jobspool import telling


def run_one(spool, id, command="true"):
    drop(spool, id, {"command": command, "max_retries": 0})
    return until(lambda: spool.read("done", id) or spool.read("dead", id), "its end")


def test_the_log_is_on_stdout_and_elsewhere_when_told(spool, tmp_path):
    drop(spool, "x", {"command": "true"})
    plain = queuectl("start", "--drain", spool=spool, check=True)
    assert re.sub(r"(?m)^\d\d:\d\d:\d\d ", "", plain.stdout).splitlines()[0] == "started     1 worker"
    drop(spool, "y", {"command": "true"})
    told = queuectl("start", "--drain", "--log", "stderr", spool=spool, check=True)
    assert (told.stdout, " done        y  attempt 1: exit 0, " in told.stderr) == ("", True)
    told = queuectl("start", "--drain", "--log", tmp_path / "log", spool=spool, check=True)
    assert (told.stdout, kinds(tmp_path / "log")) == ("", ["started", "drained", "stopping", "stopped"])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d started ", Path(tmp_path, "log").read_text())
    assert os.stat(tmp_path / "log").st_mode & 0o7137 == 0


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("error", ["dead"]),
        ("warning", ["failed", "dead"]),
        ("info", ["started", "failed", "dead", "done", "drained", "stopping", "stopped"]),
        ("debug", ["started", *["began"] * 3, "failed", "dead", "done", "drained", "stopping", "stopped"]),
    ],
)
def test_each_level_tells_of_its_own_and_of_what_is_worse(spool, tmp_path, level, told):
    drop(spool, "fails", {"command": "exit 1", "max_retries": 1, "backoff_base": 1e-9})
    queuectl("config", "set", "backoff_jitter", "0", spool=spool)
    drop(spool, "fine", {"command": "true"})
    queuectl("start", "--drain", "--count", "1", "--log", tmp_path / "log", "--log-level", level, spool=spool, check=True)
    found = kinds(tmp_path / "log")
    assert sorted(found) == sorted(told)


def test_programs_get_an_object_with_its_level_for_each_event(spool, tmp_path):
    drop(spool, "x", {"command": "exit 3", "max_retries": 0})
    words = ("--log", tmp_path / "log", "--log-format", "json")
    queuectl("start", "--drain", *words, spool=spool, check=True)
    events = [json.loads(line) for line in Path(tmp_path, "log").read_text().splitlines()]
    assert [(each["level"], each["event"]) for each in events] == [
        ("info", "started"), ("error", "ended"), ("info", "drained"), ("info", "stopping"), ("info", "stopped"),
    ]  # fmt: skip
    assert (events[1]["id"], events[1]["attempt"]["exit"], events[1]["time"][-1]) == ("x", 3, "Z")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--log", ""], "--log needs a target: stdout, stderr, a file, syslog or journald"),
        (["--log", "/nowhere/log"], "--log /nowhere/log: can't write the log to /nowhere/log: No such file or directory: "),
        (["--log", "/"], "--log /: can't write the log to /: Is a directory: choose another place"),
        (["--log", "syslog:/nowhere/log"], "nobody listens there, or lets us speak: syslog:PATH names another socket, or "),
        (["--log", "journald:/nowhere/log"], "journald:PATH names another socket, or --log FILE a file"),
        (["--log", "syslog:/nowhere/log"], "can't write the log to /nowhere/log: No such file or directory: "),
        (["--log", "jurnald"], "--log jurnald: did you mean journald? --log ./jurnald is a file of that name"),
        (["--log", "journal:/x"], "did you mean journald?"),
        (["--log", "SysLog"], "did you mean syslog?"),
        (["--log", "sdterr"], "did you mean stderr?"),
        (["--log", "-"], "did you mean stdout?"),
        (["--log", "json"], "--log says where: --log-format json is how; --log ./json is a file of that name"),
        (["--log", "text"], "--log-format text is how"),
        (["--log-level", "loud"], "--log-level is one of debug, info, warning, error, not 'loud'"),
        (["--log-format", "xml"], "--log-format is one of text, json, not 'xml'"),
    ],
)
@pytest.mark.parametrize("how", [[], ["--detach"]], ids=["here", "detached"])
def test_a_log_that_cannot_be_is_told_of_before_anything_runs(spool, words, why, how):
    ran = queuectl("start", "--drain", *how, *words, spool=spool)
    assert (ran.returncode, ran.stdout, why in ran.stderr, workers(spool)) == (2, "", True, []), ran.stderr


@pytest.mark.parametrize("target", ["./jurnald", "syslog.log", "queue", "./json"])
def test_the_name_of_a_file_is_one_where_nothing_else_can_be_meant(spool, tmp_path, target):
    ran = queuectl("start", "--drain", "--log", target, spool=spool, cwd=tmp_path)
    assert (ran.returncode, kinds(tmp_path / target)[0]) == (0, "started"), ran.stderr


def test_a_log_that_is_rotated_goes_on_in_a_new_file_and_lacks_nothing(spool, tmp_path):
    log, older = tmp_path / "log", tmp_path / "log.1"
    with pool(spool, 1, "--log", log):
        run_one(spool, "before")
        until(lambda: "done" in kinds(log), "its line")
        log.rename(older)
        run_one(spool, "after")
        until(lambda: kinds(log) == ["done"], "the new file")
        assert stat.S_IMODE(log.stat().st_mode) == stat.S_IMODE(older.stat().st_mode) == 0o640
        log.unlink()
        run_one(spool, "again")
        until(lambda: kinds(log) == ["done"], "the newest file")
    assert (kinds(older), kinds(log)) == (["started", "done"], ["done", "stopping", "stopped"])


def test_the_log_of_the_background_is_rotated_with_what_python_says(spool, tmp_path):
    log = Path(spool.root, "logs", "supervisor.log")
    queuectl("start", "--count", 1, "--detach", spool=spool, check=True)
    try:
        [entry] = [each for each in spool_entries(spool) if each["role"] == "supervisor"]
        until(lambda: kinds(log) == ["started"], "its first line, which comes when start has returned")
        log.rename(tmp_path / "older")
        run_one(spool, "x")
        until(lambda: kinds(log) == ["done"], "the new file")
        where = {os.path.realpath(f"/proc/{entry['pid']}/fd/{number}") for number in (1, 2)}
        assert where == {os.path.realpath(log)}
    finally:
        queuectl("stop", "--now", spool=spool, check=True)


def spool_entries(spool):
    return [json.loads(path.read_text()) for path in Path(spool.root, "workers").glob("*.json")]


def test_a_full_disk_holds_no_job_up_and_what_it_did_not_take_is_said_later(spool, tmp_path):
    if why := mounts.missing("tmpfs") or mounts.keep_private():
        pytest.skip(why)
    with mounts.mounted("tmpfs", str(tmp_path / "disk"), "tmpfs", "size=64k") as disk, pool(spool, 1, "--log", f"{disk}/log"):
        run_one(spool, "before")
        until(lambda: kinds(f"{disk}/log") == ["started", "done"], "the first line")
        with full_of_bytes(disk):
            Path(disk, "log").unlink()  # else its last block has room
            Path(disk, "log").touch()
            with full_of_bytes_of_the_rest(disk):
                for number in range(50):
                    run_one(spool, f"while-{number}")
                assert Path(disk, "log").read_text() == ""
        run_one(spool, "behind")
        until(lambda: len(kinds(f"{disk}/log")) == 51, "all of them")
        told = [line.split()[1] for line in lines(f"{disk}/log")]
        assert told == [*(f"while-{number}" for number in range(50)), "behind"]


def full_of_bytes_of_the_rest(disk):
    os.mkdir(f"{disk}/more")
    return full_of_bytes(f"{disk}/more")


def test_a_supervisor_that_is_killed_leaves_whole_lines_and_the_next_goes_on_behind_them(spool, tmp_path):
    log = tmp_path / "log"
    with pool(spool, 2, "--log", log) as supervisor:
        for number in range(100):
            drop(spool, f"{number}", {"command": "true"})
        until(lambda: "done" in kinds(log), "the first")
        supervisor.kill()
        supervisor.wait()
    before = log.read_bytes()
    assert before.endswith(b"\n")
    queuectl("start", "--drain", "--log", log, spool=spool, check=True)
    assert log.read_bytes().startswith(before)
    assert kinds(log)[-1] == "stopped"


def test_syslog_gets_a_line_with_its_priority_for_each_event(spool, tmp_path):
    with Listener(tmp_path / "dev-log") as syslog:
        with pool(spool, 1, "--log", f"syslog:{syslog.path}", "--verbose"):
            run_one(spool, "x", "exit 3")
            until(lambda: len(syslog.said) == 3, "what is told behind its end")
        until(lambda: len(syslog.said) == 5, "all of it")
    assert [(priority, line.split()[0]) for priority, line in syslog.said] == [
        (6, "started"), (7, "began"), (3, "dead"), (6, "stopping"), (6, "stopped"),
    ]  # fmt: skip
    assert re.fullmatch(r"dead        x  attempt 1: exit 3, [\d.]+ s", syslog.said[2][1])
    assert re.match(rb"<31>queuectl\[\d+\]: began ", syslog.heard[1])


def test_syslog_may_be_a_stream(spool, tmp_path):
    with Listener(tmp_path / "dev-log", socket.SOCK_STREAM) as syslog:
        with pool(spool, 1, "--log", f"syslog:{syslog.path}"):
            run_one(spool, "x")
            until(lambda: len(syslog.said) == 2, "what is told behind its end")
        until(lambda: len(syslog.said) == 4, "all of it")
    assert [line.split()[0] for _, line in syslog.said] == ["started", "done", "stopping", "stopped"]


def test_a_syslog_that_is_restarted_gets_what_came_meanwhile(spool, tmp_path):
    with Listener(tmp_path / "dev-log") as first, pool(spool, 1, "--log", f"syslog:{first.path}"):
        until(lambda: first.said, "the first line")
        first.__exit__()
        for id in "xyz":
            run_one(spool, id)
        with Listener(tmp_path / "dev-log") as second:
            run_one(spool, "behind")
            until(lambda: len(second.said) == 4, "all of them")
            assert [line.split()[1] for _, line in second.said] == ["x", "y", "z", "behind"]


def test_the_journal_gets_fields(spool, tmp_path):
    with Listener(tmp_path / "journal") as journal:
        with pool(spool, 1, "--log", f"journald:{journal.path}"):
            run_one(spool, "x", "exit 3")
            until(lambda: len(journal.entries) == 2, "what is told behind its end")
        until(lambda: len(journal.entries) == 4, "all of it")
    ended = journal.entries[1]
    assert re.fullmatch(r"dead        x  attempt 1: exit 3, [\d.]+ s", ended.pop("MESSAGE"))
    assert (ended.pop("QUEUECTL_DURATION")[:2], ":" in ended.pop("QUEUECTL_WORKER")) == ("0.", True)
    assert ended == {
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "queuectl",
        "QUEUECTL_EVENT": "ended",
        "QUEUECTL_JOB": "x",
        "QUEUECTL_ATTEMPT": "1",
        "QUEUECTL_VERDICT": "dead",
        "QUEUECTL_REASON": "exit 3",
        "QUEUECTL_EXIT": "3",
    }


def test_what_is_too_large_for_a_datagram_comes_to_the_journal_in_a_sealed_file(tmp_path):
    large = "x" * 1_000_000  # no event of ours is as large today
    with Listener(tmp_path / "journal") as journal:
        tell = telling.teller(f"journald:{journal.path}", "text", "info")
        tell([{"event": "scheduled", "id": "x", "why": large}])
        until(lambda: journal.entries, "it")
    assert journal.seals == [fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL]
    assert journal.entries[0]["MESSAGE"] == f"scheduled   x  {large}"


def test_a_job_of_an_odd_name_forges_no_field_of_the_journal(spool, tmp_path):
    id = "x\nPRIORITY=0\ny"
    with Listener(tmp_path / "journal") as journal, pool(spool, 1, "--log", f"journald:{journal.path}"):
        run_one(spool, id)
        until(lambda: len(journal.entries) == 2, "its end")
        assert (journal.entries[1]["QUEUECTL_JOB"], journal.entries[1]["PRIORITY"]) == (id, "6")


def test_a_journal_that_does_not_listen_holds_no_job_up_and_hears_what_it_missed(spool, tmp_path):
    deaf = Listener(tmp_path / "journal")  # until it is entered
    with pool(spool, 1, "--log", f"journald:{deaf.path}"):
        jobs = [spool.add("true") for _ in range(900)]  # more than the socket keeps, and more than is kept for it
        for job in jobs:
            comes_to(spool, job.id, "done")
        with deaf:
            run_one(spool, "behind")
            until(lambda: any(each.get("QUEUECTL_JOB") == "behind" for each in deaf.entries), "the last")
            told = [each["QUEUECTL_EVENT"] for each in deaf.entries]
            [lost] = [int(each["MESSAGE"].split()[1]) for each in deaf.entries if each["QUEUECTL_EVENT"] == "lost"]
            assert told.count("ended") + lost == 901


def test_a_pipe_that_nobody_reads_any_more_ends_no_pool(spool):
    command = [*QUEUECTL, "--spool", spool.root, "start", "--count", "1", "--log", "stderr"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as supervisor:
        try:
            until(lambda: workers(spool), "the worker")
            supervisor.stderr.close()
            run_one(spool, "x")
            run_one(spool, "y")
        finally:
            supervisor.send_signal(signal.SIGQUIT)
    assert supervisor.returncode == 0


# ---- what is kept


def test_restart_goes_on_with_the_log_that_was_given(spool, tmp_path):
    options = ["--log", "log", "--log-format", "json", "--log-level", "debug", "--when", "true"]
    queuectl("start", "--count", 1, "--detach", *options, spool=spool, cwd=tmp_path, check=True)
    try:
        for _ in range(2):  # what was restarted is restarted with them, too
            queuectl("restart", spool=spool, check=True)
        run_one(spool, "x")
        until(lambda: '"began"' in Path(tmp_path, "log").read_text(), "the line of its start")
        events = [json.loads(line)["event"] for line in Path(tmp_path, "log").read_text().splitlines()]
        assert (events.count("started"), "began" in events) == (3, True)
        [supervisor] = [each for each in spool_entries(spool) if each["role"] == "supervisor"]
        assert b"--when\0true\0" in Path(f"/proc/{supervisor['pid']}/cmdline").read_bytes()
    finally:
        queuectl("stop", "--now", spool=spool, check=True)


def test_a_log_file_is_as_private_as_the_umask_says(spool, tmp_path):
    with pool(spool, 1, "--log", f"{tmp_path}/log", within=["sh", "-c", 'umask 077; exec "$@"', "sh"]):
        until(Path(tmp_path, "log").exists, "the log")
    assert os.stat(tmp_path / "log").st_mode & 0o777 == 0o600


def test_the_unit_of_a_service_has_the_log(spool, tmp_path):
    words = ("--log", "journald", "--log-format", "json", "--log-level", "warning")
    unit = queuectl("install-service", "--user", "--print", *words, spool=spool, check=True).stdout
    assert f"--spool {spool.root} start --log journald --log-format json --log-level warning\n" in unit
    unit = queuectl("install-service", "--user", "--print", "--log", "log", spool=spool, cwd=tmp_path, check=True).stdout
    assert f" start --log {tmp_path}/log\n" in unit
    assert queuectl("install-service", "--print", "--log-level", "loud", spool=spool).returncode == 2
