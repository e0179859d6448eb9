"""The exit statuses of the manual's table: each is what a command really ends with."""

import re
import signal
import subprocess

import pytest
from kit import PATIENCE, QUEUECTL, TOP, drop, pool, queuectl, until, watches


def _table():
    page = (TOP / "man/queuectl.1").read_text().split(".Sh EXIT STATUS")[1].split(".Sh ")[0]
    return re.findall(r"^\.It (.*)$", page, re.M)


def _ends(*words):
    def status(spool):
        return queuectl(*words, spool=spool).returncode

    return status


def _too_slow(spool):
    with pool(spool):
        drop(spool, "slow", {"command": "sleep 1009"})
        until(lambda: spool.names("processing"))
        status = queuectl("stop", "--timeout", "0.1", spool=spool).returncode
        queuectl("stop", "--now", spool=spool)
        return status


def _broken_config(spool):
    with open(f"{spool.root}/config.json", "w") as file:
        file.write("{")
    return queuectl("enqueue", "true", spool=spool).returncode


def _interrupted(spool):
    drop(spool, "waits", {"command": "true"})
    waiting = subprocess.Popen([*QUEUECTL, "wait", "waits", "--spool", spool.root], stderr=subprocess.DEVNULL)
    try:
        until(lambda: watches(waiting.pid))
        waiting.send_signal(signal.SIGINT)
        return waiting.wait(PATIENCE)
    finally:
        waiting.kill()
        waiting.wait()


def _unread(spool):
    for i in range(3000):
        drop(spool, f"x{i}", {"command": "true"})
    with subprocess.Popen([*QUEUECTL, "list", "--json", "--spool", spool.root], stdout=subprocess.PIPE) as listing:
        listing.stdout.read(1)
        listing.stdout.close()
        return listing.wait()


def _as_the_job(spool):
    return queuectl("run", "--now", "exit 7", "--max-retries", "0", spool=spool).returncode - 7


CASES = {
    "0": (_ends("list"), 0),
    "1": (_ends("show", "nothing"), 1),
    "2": (_ends("list", "--sate"), 2),
    "3": (_ends("status"), 3),
    "124": (lambda spool: (drop(spool, "x", {"command": "true"}), _ends("wait", "x", "--timeout", "0.1")(spool))[1], 124),
    "75": (_too_slow, 75),
    "78": (_broken_config, 78),
    "130": (_interrupted, 130),
    "as the job's": (_as_the_job, 0),
    "141": (_unread, 141),
}


def test_each_status_of_the_table_has_its_case():
    assert set(_table()) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_command_ends_as_the_table_says(spool, name):
    case, status = CASES[name]
    assert case(spool) == status
