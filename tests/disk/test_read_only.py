"""Looking needs no right to write: a spool that is mounted read-only is looked at as any other."""

import json

import mounts
import pytest
from kit import drop, queuectl

from jobspool import Spool

LOOKS = [
    "status --json",
    "list --json",
    "list --state dead --json",
    "show x --json",
    "logs x",
    "logs x --stderr",
    "dlq list --json",
    "config",
    "config --key max_retries",
    "doctor",
]


@pytest.fixture
def spool(tmp_path, mounts_of_ones_own):
    """A spool on a file system of its own."""
    if why := mounts_of_ones_own or mounts.missing("tmpfs"):
        pytest.skip(why)
    with mounts.mounted("tmpfs", str(tmp_path / "spool"), "tmpfs", "mode=700") as root:
        yield Spool.init(root)


def test_a_read_only_spool_is_looked_at_as_any_other(spool):
    attempt = {"number": 1, "started": "2026-11-24T10:15:30Z", "ended": "2026-11-24T10:15:31Z", "exit": 1, "verdict": "dead"}
    drop(spool, "x", {"command": "make", "attempts": [attempt]}, "dead")
    drop(spool, "waits", {"command": "make"})
    with open(spool.log_path("x", 1, "out"), "w") as log:
        log.write("said\n")
    before = look(spool)
    with mounts.remounted_read_only(spool.root):
        assert look(spool) == before
    assert before["logs x"] == (0, "said\n", "")
    assert json.loads(before["list --state dead --json"][1])["id"] == "x"


def look(spool):
    """What each way of looking says."""
    said = {words: queuectl(*words.split(), spool=spool) for words in LOOKS}
    return {words: (ran.returncode, ran.stdout, ran.stderr) for words, ran in said.items()}


def test_what_would_write_says_that_it_cannot_and_changes_nothing(spool):
    drop(spool, "x", {"command": "make"}, "dead")
    with mounts.read_only(spool.root):
        for words, said in {
            "enqueue true": f"Read-only file system: {spool.root}/tmp: mount it for writing",
            "dlq retry x": f"Read-only file system: {spool.root}/dead: mount it for writing",
            "config set max_retries 5": f"Read-only file system: {spool.root}/tmp: mount it for writing",
            "start": f"{spool.root} is read-only: mount it for writing to run jobs there",
        }.items():
            ran = queuectl(*words.split(), spool=spool)
            assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"queuectl: {said}\n")
    assert [job.state for job in spool.jobs()] == ["dead"]
