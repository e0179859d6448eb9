import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench import calls, drains, ours
from bench.row import Failed
from jobspool import command

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing: make test-deps")
STUB = """#!{python}
import os, sys
if "start" not in sys.argv:
    os.execv("{queuectl}", sys.argv)
root = sys.argv[2]
for name in os.listdir(root + "/pending"):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {{}}), 0)
    os.rename(root + "/pending/" + name, root + "/done/" + name)
"""


class Peer:
    """A queue that runs its commands one behind the other."""

    def __init__(self, name="plain nq", broken=False):
        self.name, self.note, self.broken, self.steps = name, "as its manual says", broken, []

    def prepare(self, place, commands):
        self.commands = commands
        self.steps.append("prepare")

    def drain(self, workers):
        if self.broken:
            raise AssertionError("a job is missing")
        for words in self.commands:
            subprocess.run(words, shell=True, check=True)
        self.steps.append(f"drain by {workers}")
        return 2.0

    def close(self):
        self.steps.append("close")


@pytest.fixture
def small(monkeypatch):
    """Few jobs, and no peers."""
    for name, value in {"FEW_JOBS": 20, "FEW_TRACED": 5, "SPAWNS": 40, "FEW_ROUNDS": 2}.items():
        monkeypatch.setattr(drains, name, value)
    among(monkeypatch)


def among(monkeypatch, *peers):
    monkeypatch.setitem(sys.modules, "bench.peers", SimpleNamespace(available=lambda: list(peers)))


def stub(monkeypatch, path, text):
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setattr(ours, "QUEUECTL", str(path))


def test_a_drain_runs_all_its_jobs_and_is_timed(place, tally):
    root = ours.spool(place.fresh("spool"))
    ours.fill(root, [tally.command] * 7)
    assert (ours.drain(root, 2) > 0, tally.lines(), ours.count(root, "done")) == (True, 7, 7)


def test_a_drain_tells_of_a_job_that_is_missing(place, monkeypatch, tmp_path):
    root = ours.spool(place.fresh("spool"))
    ours.fill(root, ["true"] * 3)
    lossy = '#!/bin/sh\n[ "$3" = start ] && rm "$(ls -d "$2"/pending/*.json | head -n 1)"\nexec {} "$@"\n'
    stub(monkeypatch, tmp_path / "queuectl", lossy.format(ours.QUEUECTL))
    with pytest.raises(AssertionError, match="3 jobs waited in .*, 2 came to done/"):
        ours.drain(root, 1)


@needs_strace
def test_the_quick_rows_really_ran_all_their_jobs(small, place, tally, monkeypatch):
    monkeypatch.setattr(drains, "DRAINS", tuple(replace(one, command=tally.command) for one in drains.DRAINS[1:3]))
    rows = [row for row in drains.rows(place, quick=True) if not isinstance(row, Failed)]
    keys = [one.key for one in drains.DRAINS]
    assert [row.key for row in rows] == [key for one in keys for key in (f"calls-{one}", one)]
    traced = drains.FEW_TRACED * 3 + 1  # n, 2n, and the program by itself
    assert tally.lines() == len(keys) * (drains.FEW_JOBS * drains.FEW_ROUNDS + traced)
    assert [(len(row.ours), len(row.beside), row.against) for row in rows[1::2]] == [(2, 2, "y")] * 2
    assert [row.note for row in rows[1::2]] == [f"{row.middle:.0f} system calls for each job" for row in rows[::2]]


def test_the_bounds_are_those_of_the_issue():
    assert [(one.workers, one.fsync, one.at_least, one.aim) for one in drains.DRAINS] == [
        (2, "never", 1.25, 1.45), (2, "group", 1.0, 1.2), (1, "never", 0.7, 0.85), (2, "never", 0.75, None),
    ]  # fmt: skip


def test_what_is_said_to_need_a_shell_needs_one_and_the_others_none():
    assert [command.direct(one.command) is None for one in drains.DRAINS] == [False, False, False, True]


def test_without_strace_the_drains_are_measured_and_it_is_told(small, place, monkeypatch):
    monkeypatch.setattr(drains, "DRAINS", drains.DRAINS[:1])
    os.symlink("/bin/true", f"{place.folder}/true")
    monkeypatch.setenv("PATH", place.folder)
    counted, drained, *_ = drains.rows(place, quick=True)
    assert (counted.key, counted.reason.startswith("FileNotFoundError"), drained.note) == ("calls-drain-2-never", True, "")


# ---- beside peers


def test_a_peer_runs_the_same_jobs_in_the_same_rounds(small, place, tally, monkeypatch):
    peer = Peer()
    ran = []
    monkeypatch.setattr(
        drains, "rate", lambda place, commands, workers, fsync: ran.append((len(commands), workers, fsync)) or 40.0
    )
    monkeypatch.setattr(drains, "DRAINS", ())
    among(monkeypatch, peer)
    (row,) = [row for row in drains.rows(place, quick=True) if not isinstance(row, Failed)]
    assert (row.key, row.against, row.ours, row.beside) == ("drain-beside-nq", "plain nq", [40.0] * 2, [10.0] * 2)
    assert (row.at_least, row.aim, row.note, len(row.y)) == (1.0, 7.0, "as its manual says", 2)
    assert (ran, peer.steps) == ([(20, 2, "group")] * 2, ["prepare", "drain by 2", "close"] * 2)


def test_the_rate_of_a_peer_is_of_jobs_that_ran(place, tally):
    assert (drains.peer_rate(place, Peer(), [tally.command] * 6), tally.lines()) == (3.0, 6)


def test_peers_that_are_missing_or_fail_are_told_and_the_others_go_on(small, place, monkeypatch):
    broken, well = Peer("huey on Redis", broken=True), Peer("GNU parallel")
    monkeypatch.setattr(drains, "rate", lambda *_: 40.0)
    monkeypatch.setattr(drains, "DRAINS", ())
    among(monkeypatch, broken, well)
    rows = {row.key.removeprefix("drain-beside-"): row for row in drains.rows(place, quick=True)}
    assert list(rows) == list(drains.AIMS)
    assert [key for key, row in rows.items() if not isinstance(row, Failed)] == ["parallel"]
    assert (rows["huey"].reason, broken.steps[-1]) == ("AssertionError: a job is missing", "close")
    assert "not installed" in rows["nq"].reason


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("dirq, a hand-written loop", "dirq"),
        ("huey on Redis", "huey"),
        ("task-spooler (ts)", "task-spooler"),
        ("GNU parallel", "parallel"),
    ],
)
def test_a_peer_is_known_by_a_word_of_its_name(small, place, monkeypatch, name, word):
    monkeypatch.setattr(drains, "rate", lambda *_: 40.0)
    monkeypatch.setattr(drains, "DRAINS", ())
    among(monkeypatch, Peer(name))
    (row,) = [row for row in drains.rows(place, quick=True) if not isinstance(row, Failed)]
    assert (row.key, row.aim) == (f"drain-beside-{word}", drains.AIMS[word])


# ---- system calls


@needs_strace
def test_the_calls_of_a_job_are_those_of_the_queue_without_the_programs(place, monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path / "queuectl", STUB.format(python=sys.executable, queuectl=ours.QUEUECTL))
    monkeypatch.setattr(calls, "TOLD", 99)
    row = calls.row(place, "x", 2, "never", "true", 10)
    told = dict(part.split() for part in row.note.partition(": ")[2].split(", "))
    assert {name: told.get(name) for name in ("execve", "wait4", "rename")} == dict.fromkeys(("execve", "wait4", "rename"), "1.0")
    signals = float(told["rt_sigaction"]) + float(told["rt_sigprocmask"])  # of posix_spawn in glibc
    assert 4 <= row.middle - signals <= 8  # and a process is made, with its stack


@needs_strace
def test_calls_are_counted_only_where_all_jobs_ran(place, monkeypatch, tmp_path):
    stub(
        monkeypatch, tmp_path / "queuectl", STUB.format(python=sys.executable, queuectl=ours.QUEUECTL).replace("/done/", "/dead/")
    )
    with pytest.raises(AssertionError, match="10 jobs waited in .*, 0 came to done/"):
        calls.row(place, "x", 2, "never", "true", 10)


def test_the_table_of_strace_is_read():
    text = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 67.05    9.690185        1897      5106       639 futex
  0.08    0.010911           9      1206           sendto
  0.00    0.000000           0         3         0 uname
------ ----------- ----------- --------- --------- ------------------
100.00   14.452273         125      6315       639 total
"""
    assert calls.parsed(text) == {"futex": 5106, "sendto": 1206, "uname": 3}
