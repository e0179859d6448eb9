"""100,000 junk files beside real jobs: these run at once, and of the others little is said."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from drops.scene import fence, said
from kit import comes_to, new_spool, pool, queuectl, until

MANY = 100_000
KINDS = 5


@pytest.fixture
def littered():
    """A spool in memory, where so many files are made in seconds, with junk of each kind that is older than any job."""
    home = Path(tempfile.mkdtemp(prefix="queuectl-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    here = os.open(".", os.O_RDONLY)
    try:
        spool = new_spool(home)
        (home / "linked").write_text('{"command": "false"}')
        os.chdir(spool.folder("pending"))
        for number in range(0, MANY, KINDS):
            os.close(os.open(f"{number}.json.part", os.O_CREAT | os.O_WRONLY, 0o600))
            os.mkfifo(f"fifo-{number}.json")
            os.symlink("/dev/zero", f"link-{number}.json")
            os.link(home / "linked", f"hard-{number}.json")
            half = os.open(f"half-{number}.json", os.O_CREAT | os.O_WRONLY, 0o600)
            os.write(half, b'{"command": "fal')
            os.close(half)
        os.fchdir(here)
        yield spool
    finally:
        os.fchdir(here)
        os.close(here)
        shutil.rmtree(home)


def told(log, *kinds):
    """The kinds of the events that the supervisor told of, of these, in their order."""
    return [kind for line in log.splitlines() for kind in kinds if line[9:].startswith(kind)]


def test_real_jobs_run_at_once_beside_100_000_junk_files(littered):
    spool = littered
    first = [spool.add("true", priority=priority).id for priority in (0, -5, 0)]
    with pool(spool, 2) as supervisor:
        for id in first:
            comes_to(spool, id, "done", 120)
        until(lambda: b" rejected " in supervisor.log.read_bytes(), "the first junk to be given up")
        for _ in range(5):
            fence(spool)  # while the others are given up
        until(
            lambda: not [name for name in os.listdir(spool.folder("pending")) if name.startswith("half")], "the end of that", 120
        )
        fence(spool)
        brief = queuectl("status", spool=spool).stdout
        (whole,) = said("status", spool=spool)
    log = supervisor.log.read_text()
    events = told(log, "done", "rejected")
    assert events[:3] == ["done"] * 3
    assert events[: len(events) - events[::-1].index("rejected")].count("done") == 8
    assert events.count("rejected") == MANY // KINDS
    assert len(told(log, "trouble")) <= 20
    assert "files are not run: `queuectl status` says why" in log
    warned = [line for line in brief.splitlines() if line.startswith("warning")]
    assert (len(warned), warned[-1].endswith("more: queuectl status --json")) == (11, True)
    assert len(whole["warnings"]) < 500
    for kind in (".part", "fifo-", "link-", "hard-"):
        assert any(f"{MANY // KINDS - 100} more like" in warning and kind in warning for warning in whole["warnings"]), kind
    assert (whole["states"]["dead"], len(os.listdir(spool.folder("pending")))) == (MANY // KINDS, MANY // KINDS * 4)
    with pool(spool, 1, "--drain") as supervisor:
        assert supervisor.wait(120) == 0


def test_files_of_no_content_but_great_length_hold_no_job_up(spool, tmp_path):
    """Two hundred of a GiB each, of which nothing is on the disk."""
    for number in range(200):
        with open(tmp_path / "sparse", "wb") as file:
            file.truncate(1 << 30)
        os.rename(tmp_path / "sparse", spool.path("pending", f"a{number}"))
    spool.add("true", id="z", priority=9)
    with pool(spool, 1) as supervisor:
        comes_to(spool, "z", "done")
        until(lambda: not spool.names("pending"), "them to be given up", 60)
    assert told(supervisor.log.read_text(), "done", "rejected") == ["done"] + ["rejected"] * 200
