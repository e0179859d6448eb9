"""Errors that people will make: one or two lines that say what was wrong and what to type."""

import fcntl
import os
import pty
import signal
import subprocess
import termios

import pytest
from kit import QUEUECTL, drop, gone, pool, queuectl, until

CASES = [
    # words, exit status, what stderr says
    (["enque", "x"], 2, "unknown command 'enque', did you mean 'enqueue'?"),
    (["--verbos"], 2, "unknown option '--verbos'"),
    (["list", "--sate", "dead"], 2, "unknown option --sate, did you mean --state?"),
    (["list", "--state", "ded"], 2, "there is no state 'ded', did you mean 'dead'?"),
    (["list", "--state"], 2, "--state needs a value"),
    (["list", "extra"], 2, "queuectl list [options]"),
    (["list", "--limit", "0"], 2, "--limit takes a whole number above 0"),
    (["enqueue"], 2, 'what is to run? queuectl enqueue "COMMAND"'),
    (["enqueue", ""], 2, "the command is empty"),
    (["enqueue", "   "], 2, "the command is empty"),
    (["enqueue", "--"], 2, "a program must follow --"),
    (["enqueue", "convert", "in file.png"], 2, "queuectl enqueue -- convert 'in file.png'"),
    (["enqueue", "ls", "-l"], 2, "queuectl enqueue 'ls -l'"),
    (["enqueue", '{"command": "a\\u0000b"}'], 2, "command can't contain a NUL"),
    (["enqueue", '{"command": "x"'], 2, "not JSON"),
    (["enqueue", '{"command": "x", "attempts": []}'], 2, "attempts are the queue's to write"),
    (["enqueue", "x", "--cwd", "/nowhere"], 2, "--cwd /nowhere: there is no such directory"),
    (["enqueue", "x", "--timeout", "0"], 2, "--timeout 0: it must be a number of seconds above 0"),
    (["enqueue", "x", "--timeout", "-5"], 2, "--timeout -5: it must be a number of seconds above 0"),
    (["enqueue", "x", "--timeout", "nan"], 2, "--timeout takes a number of seconds, or a time such as"),
    (["enqueue", "x", "--timeout", "1e400"], 2, "--timeout takes a number of seconds, or a time such as"),
    (["enqueue", "x", "--max-retries", "1.5"], 2, "--max-retries 1.5: it must be a whole number"),
    (["enqueue", "x", "--max-retries", "2", "--max-retries", "3"], 2, "--max-retries is given twice"),
    (["enqueue", "x", "--env", "A"], 2, "--env takes NAME=VALUE"),
    (["enqueue", "x", "--id", "a/b"], 2, "an id can't contain a slash"),
    (["enqueue", "x", "--id", "there"], 1, "is there already"),
    (["enqueue", "--from", "/nowhere"], 2, "--from /nowhere: No such file"),
    (["enqueue", "x", "--from", "-"], 2, "give either --from or a command"),
    (["show"], 2, "which job? queuectl show [options] <job>"),
    (["show", "nothing"], 1, "no job fits 'nothing'"),
    (["show", "e"], 1, "dead       dead-one\n  pending    there"),
    (["logs", "there"], 1, "there has not been tried yet: it is pending"),
    (["logs", "there", "--attempt", "x"], 2, "--attempt x"),
    (["start", "--count", "0"], 2, "--count can't be '0': it takes a whole number from 1 to 1024"),
    (["start", "--count", "-1"], 2, "--count can't be '-1'"),
    (["start", "--count", "x"], 2, "--count can't be 'x'"),
    (["start", "--count", "10000"], 2, "--count can't be '10000'"),
    (["stop"], 1, "no worker is running"),
    (["stop", "--timeout", "x"], 2, "--timeout takes a number"),
    (["worker"], 2, "queuectl worker start, queuectl worker stop"),
    (["dlq", "lst"], 2, "did you mean 'list'?"),
    (["dlq", "xyzzy"], 2, "queuectl dlq [list]"),
    (["enqueue", "-"], 2, "queuectl enqueue --from - adds a job for each line"),
    (["enqueue", "x", "--id", "@last"], 2, "such a name means something else"),
    (["enqueue", "x", "--id", ""], 2, "an id can't be empty"),
    (["enqueue", '{"command": "x", "cancelled": "y"}'], 2, "cancelled is the queue's to write"),
    (["start", "--background"], 2, "unknown option --background: --detach runs them in the background"),
    (["start", "-n", "2"], 2, "unknown option -n: --count=N"),
    (["list", "--frobnicate"], 2, "unknown option --frobnicate: `queuectl list --help`"),
    (["list", "--color=never", "--color=always"], 2, "--color is given twice"),
    (["--spool", "a", "--spool=b", "list"], 2, "--spool is given twice"),
    (["--spool", "", "list"], 2, "--spool needs a directory"),
    (["list", "--spool", ""], 2, "--spool needs a directory"),
    (["status", "there"], 2, "queuectl show there tells all about one job"),
    (["clean", "--older-than", "10mm"], 2, "--older-than takes a time such as"),
    (["clean", "--older-than", "1_0s"], 2, "--older-than takes a time such as"),
    (["hold", "there", "--reason", b"\xff"], 2, "--reason is not UTF-8"),
    (["cancel", "there", "--reason", b"\xff"], 2, "--reason is not UTF-8"),
    (["rm", "/nowhere/dead/there.json"], 1, "it is no file of a state of"),
    (["rm", "dead/there.json"], 1, "dead/there.json: there is no such job"),
    (["schedule", "remove", "x"], 2, "did you mean 'rm'?"),
    (["schedule", "add", "x", "--tz", "UTC", "true"], 2, "--zone=NAME is the time zone"),
    (["enqueue", "true", "--after", "there", "--after", "there"], 2, "several stand with commas between: --after A,B"),
    (["enqueue", "true", "--exits", "3=success"], 2, "--exits can't be '3=success': it takes a list of exit codes"),
    (["enqueue", "true", "--replace"], 2, "--replace is of --unique"),
    (["run", "true", "--replace"], 2, "--replace is of --unique: queuectl run --unique KEY --replace ..."),
    (["enqueue", "true", "--unique", "k", "--then", "true"], 2, "enqueue that job with --after KEY"),
    (["enqueue", "true", "--exits", "3=done,3=dead"], 2, "--exits can't be '3=done,3=dead'"),
    (["pause", "lunch"], 2, "queuectl pause --reason 'lunch'"),
    (["enqueue", '{"command": "x", "at": "noon"}'], 2, "the file's mtime says from when it may run"),
    (["ls"], 2, "queuectl list shows the jobs"),
    (["list", "--state", "running"], 2, "did you mean 'processing'?"),
    (["dlq", "retry"], 2, "queuectl dlq retry"),
    (["dlq", "retry", "there"], 1, "there is pending, not dead: `dlq retry` takes dead jobs only"),
    (["cancel", ""], 1, "a job's id can't be empty"),
    (["scale", "0"], 2, "scale's number can't be '0': it takes a whole number from 1 to 1024"),
    (["why"], 2, "which job? queuectl why [options] <job>"),
    (["run", "a", "b"], 2, "queuectl run -- a b"),
    (["cancl", "there"], 2, "unknown command 'cancl', did you mean 'cancel'?"),
    (["logs", "--tail", "-1", "there"], 2, "--tail takes a whole number, not '-1'"),
    (["retry", "there"], 1, "there is pending: it can't be tried again"),
    (["xyzzy"], 2, "unknown command 'xyzzy': `queuectl --help` lists them"),
    (["enqueue", '["ls", "-l"]'], 2, 'a JSON list is no job: {"argv": ["ls", "-l"]} would be'),
    (["enqueue", '{"command": "x", "id": "a/b"}'], 2, "an id can't contain a slash"),
    (["enqueue", '{"command": "x", "id": "there"}'], 1, "is there already"),
    (["list", "--state", "waiting"], 2, "there is no state 'waiting', did you mean 'pending'?"),
    (["dlq", "retry", "broken"], 1, "is not a whole job"),
    (["config", "--key", "max_retrys"], 2, "there is no setting 'max_retrys', did you mean 'max_retries'?"),
    (["config", "set", "max_retries", "many"], 2, "max_retries can't be 'many': it takes a whole number from 0"),
    (["config", "set", "fsync", "often"], 2, "it takes one of always, group, never"),
    (["init", "--group", "no-such-group", "new"], 2, "there is no group 'no-such-group'"),
    (["init", "/dev/null/x"], 1, "can't make a spool at /dev/null/x"),
]


@pytest.mark.parametrize(
    ("words", "status", "said"), CASES, ids=[" ".join(map(str, case[0]))[:50] or "(empty)" for case in CASES]
)
def test_an_error_says_what_was_wrong_and_what_to_type(spool, tmp_path, words, status, said):
    drop(spool, "there", {"command": "true"})
    drop(spool, "dead-one", {"command": "true"}, "dead")
    drop(spool, "broken", b"{", "dead")
    ran = queuectl(*words, spool=spool, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (status, "")
    assert said in ran.stderr
    assert ran.stderr.startswith("queuectl: ")
    assert len(ran.stderr.splitlines()) <= 8
    assert "Traceback" not in ran.stderr


def test_a_broken_config_is_78_and_says_where(spool):
    for content, said in (
        ("{", "is not JSON"),
        ('{"format": 2}', "use a newer queuectl"),
        ('{"max_retries": -1}', "max_retries can't be -1"),
    ):
        with open(f"{spool.root}/config.json", "w") as file:
            file.write(content)
        ran = queuectl("enqueue", "true", spool=spool)
        assert (ran.returncode, spool.count("pending")) == (78, 0)
        assert f"{spool.root}/config.json" in ran.stderr
        assert said in ran.stderr


def test_a_spool_that_is_missing_or_lacks_a_state_says_what_to_type(spool, tmp_path):
    os.rmdir(spool.folder("failed"))
    ran = queuectl("status", spool=spool)
    assert (ran.returncode, ran.stderr) == (
        1,
        f"queuectl: {spool.root}/failed is missing: `queuectl init {spool.root}` makes what a spool needs\n",
    )
    assert queuectl("status", "--spool", tmp_path / "no").returncode == 1


def test_a_spool_that_anyone_may_write_is_refused_with_the_cure(spool):
    os.chmod(spool.folder("pending"), 0o777)
    ran = queuectl("start", spool=spool)
    assert (ran.returncode, f"chmod o-w {spool.root}/pending" in ran.stderr) == (1, True)


def test_stop_that_takes_too_long_is_75(spool):
    spool.add("trap '' TERM; sleep 3", id="x")
    with pool(spool):
        until(lambda: spool.read("processing", "x"))
        ran = queuectl("stop", "--timeout", "0.1", spool=spool)
        assert (ran.returncode, "still stopping after 0.1 s" in ran.stderr) == (75, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
def test_a_user_without_rights_is_told_so(spool, tmp_path):
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        os.chmod(folder, os.stat(folder).st_mode | 0o755)
    os.chmod(spool.root, 0o755)
    os.chmod(spool.folder("pending"), 0o755)

    for words, status in ((["enqueue", "true"], 1), (["start"], 1), (["status"], 1)):
        ran = subprocess.run(
            [QUEUECTL[0], "-c", AS_NOBODY, os.path.dirname(QUEUECTL[1]), "--spool", spool.root, *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        assert (ran.returncode, "Traceback" in ran.stderr) == (status, False), ran.stderr
        assert "right" in ran.stderr or "Permission denied" in ran.stderr


# What is imported late is imported first: another user may not be able to read this Python.
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
import difflib, docopt, grp, pwd, shlex
import jobspool.roster, jobspool.config, jobspool.supervisor, jobspool.watch, queuectl
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(queuectl.main())
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--json"], ["--format", "{name}"]], ids=" ".join)
def test_a_reader_that_goes_away_is_141_and_quiet(spool, words, unbuffered):
    spool.add_many([{"command": "true", "name": "x" * 200}] * 3000)
    reading = subprocess.Popen(
        [*QUEUECTL, "--spool", spool.root, "list", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    reading.stdout.readline()
    reading.stdout.close()
    assert (reading.wait(60), reading.stderr.read()) == (141, b"")
    reading.stderr.close()


def test_an_interrupted_command_is_130_and_nothing_is_half_done(spool):
    """It reads its standard input, which never comes."""
    adding = subprocess.Popen(
        [*QUEUECTL, "--spool", spool.root, "enqueue", "--from", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    adding.stdin.write(b"true\n")
    adding.stdin.flush()
    until(lambda: _is_empty(adding.stdin) and _reads_stdin(adding.pid), "it to read on")
    adding.send_signal(signal.SIGINT)
    assert (adding.wait(30), adding.stderr.read()) == (130, b"")
    adding.stdin.close()
    adding.stderr.close()
    assert spool.count("pending") == 0


def _is_empty(pipe):
    """Tell whether all that was written has been read: a signal between two reads is met by Python only after the second."""
    return fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0") == b"\0\0\0\0"


def _reads_stdin(pid):
    """Tell whether the process is in read(2) on descriptor 0, as /proc/PID/syscall says."""
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[:2] == ["0", "0x0"]


def test_a_terminal_that_closes_stops_the_workers_in_order(spool):
    leader, follower = pty.openpty()
    supervisor = subprocess.Popen(
        [*QUEUECTL, "--spool", spool.root, "start"], stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    until(lambda: b"started" in os.read(leader, 4096))
    os.close(leader)
    assert supervisor.wait(30) == 0
    assert gone(supervisor.pid)
    assert os.listdir(f"{spool.root}/workers") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give a spool away")
def test_jobs_are_neither_added_to_nor_run_from_a_strangers_spool(spool):
    os.chown(spool.root, 12345, 12345)
    for words in (["enqueue", "true"], ["start"]):
        ran = queuectl(*words, spool=spool)
        assert (ran.returncode, "belongs to user 12345" in ran.stderr) == (1, True)
    assert queuectl("status", spool=spool).returncode == 3
