"""No room: blocks, inodes or a quota used up, really."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import mounts
import pytest
from disk.bad import at_once, full_of_bytes, full_of_files, go, noter, ran, the_message, troubles, waiter
from kit import QUEUECTL, children, comes_to, let_pass, log, pool, queuectl, until, workers

from jobspool import Spool, config

MIB = 1 << 20
LATER = [f"later{number}" for number in range(150)]  # as many as make a rush seen
CURE = "No space left on device: {0}/tmp: make room there: df -h and df -i show what is used"


def tmpfs(target):
    return mounts.mounted("tmpfs", target, "tmpfs", "size=1m,nr_inodes=400,mode=700")


def ext4(target):
    return mounts.on_image(target, "ext4", 4 * MIB, ["mkfs.ext4", "-q", "-N", "400", "-O", "^has_journal"])


@pytest.fixture(autouse=True)
def room_of_ones_own(mounts_of_ones_own):
    if why := mounts_of_ones_own or mounts.missing("ext4", "mkfs.ext4", devices=["/dev/loop-control"]):
        pytest.skip(why)


def test_on_a_full_disk_what_runs_is_recorded_and_nothing_new_is_run_until_there_is_room():
    kinds, ways = {"tmpfs": tmpfs, "ext4": ext4}, {"blocks": full_of_bytes, "inodes": full_of_files}
    at_once(fill_up, {(kind, way): (kinds[kind], ways[way]) for kind in kinds for way in ways})


def fill_up(folder, make, fill):
    with make(f"{folder}/spool") as root, pool(spool := Spool.init(root), 2) as supervisor:
        for id in ("one", "two"):
            spool.add(waiter(folder, id), id=id)
        until(lambda: ran(folder) == ["one", "two"], "both to run")
        for id in LATER:
            spool.add(noter(folder, id), id=id)
            os.utime(spool.path("pending", id), (time.time() + 3600,) * 2)
        with fill(root) as fill_again:
            for id in ("one", "two"):
                go(folder, id)
                comes_to(spool, id, "done")
            until(lambda: os.listdir(f"{root}/tmp") == [], "their old files to go")
            fill_again()
            for id in LATER:
                os.utime(spool.path("pending", id))
            said = the_message(supervisor)
            refused = queuectl("enqueue", "true", spool=spool)
            assert (ran(folder), spool.count("pending"), os.listdir(f"{root}/tmp")) == (["one", "two"], len(LATER), [])
        for id in LATER:
            comes_to(spool, id, "done")
        assert said == f"{CURE.format(root)}; nothing is claimed"
        assert (refused.returncode, refused.stdout, refused.stderr) == (75, "", f"queuectl: {CURE.format(root)}\n")
        assert ran(folder) == sorted(["one", "two", *LATER])
        assert {len(job.attempts) for job in spool.jobs()} == {1}
        assert os.listdir(f"{root}/tmp") == []


def test_a_log_that_cannot_be_shortened_stays_and_the_outcome_is_recorded(tmp_path):
    with tmpfs(str(tmp_path / "spool")) as root:
        spool = Spool.init(root)
        config.change(root, "log_max_bytes", 4096, spool.spare(), 0o600)
        with pool(spool, 1) as supervisor:
            spool.add("head -c 5000 /dev/zero; " + waiter(tmp_path, "x"), id="x")
            until(lambda: ran(tmp_path) == ["x"], "it to run")
            with full_of_bytes(root):
                go(tmp_path, "x")
                job = comes_to(spool, "x", "done")
                assert (len(log(spool, "x")), os.listdir(f"{root}/tmp")) == (5000, [])
                (said,) = until(lambda: troubles(supervisor), "a word of trouble")
        assert [attempt["exit"] for attempt in job.attempts] == [0]
        assert said.endswith("; a log stays as it is")


def test_workers_that_are_started_on_a_full_disk_begin_when_there_is_room_and_say_all(tmp_path):
    """Their output is on that disk, too."""
    with tmpfs(str(tmp_path / "small")) as small:
        spool = Spool.init(f"{small}/spool")
        id = spool.add(noter(tmp_path, "x")).id
        with contextlib.ExitStack() as ends:
            with full_of_bytes(small), open(f"{small}/log", "wb") as output:
                started = subprocess.Popen([*QUEUECTL, "--spool", spool.root, "start"], stdout=output, stderr=output)
                ends.callback(started.wait)
                ends.callback(started.terminate)
                until(lambda: children(started.pid), "a worker")
                let_pass(1.2)
                assert (started.poll(), ran(tmp_path), os.listdir(f"{spool.root}/workers")) == (None, [], [])
            comes_to(spool, id, "done")
            assert len(workers(spool)) == 1
            text = until(lambda: (text := Path(small, "log").read_text()) and "done" in text and text, "the word of its end")
        assert text.count("No space left on device") == 1
        assert "Traceback" not in text


def test_beyond_its_quota_nothing_is_run_and_what_ran_is_recorded_when_there_is_room(tmp_path):
    """Of btrfs, which refuses even a rename then."""
    if why := mounts.missing("btrfs", "mkfs.btrfs", "btrfs"):
        pytest.skip(why)
    with mounts.on_image(str(tmp_path / "mnt"), "btrfs", 128 * MIB, ["mkfs.btrfs", "-q"]) as mount:
        btrfs("quota", "enable", mount)
        btrfs("subvolume", "create", f"{mount}/spool")
        spool = Spool.init(f"{mount}/spool")
        with pool(spool, 2) as supervisor:
            for id in ("one", "two"):
                spool.add(waiter(tmp_path, id), id=id)
            until(lambda: ran(tmp_path) == ["one", "two"], "both to run")
            spool.add(noter(tmp_path, "later"), id="later")
            btrfs("filesystem", "sync", mount)
            btrfs("qgroup", "limit", "1", "0/256", mount)
            for id in ("one", "two"):
                go(tmp_path, id)
            said = the_message(supervisor)
            refused = queuectl("enqueue", "true", spool=spool)
            assert (ran(tmp_path), spool.names("pending")) == (["one", "two"], ["later"])
            btrfs("qgroup", "limit", "none", "0/256", mount)
            for id in ("one", "two", "later"):
                comes_to(spool, id, "done")
        assert said.startswith("Disk quota exceeded: ")
        assert refused.returncode == 75
        assert {len(job.attempts) for job in spool.jobs()} == {1}


def btrfs(*words):
    subprocess.run([mounts.tool("btrfs"), *words], check=True, stdout=subprocess.DEVNULL)
