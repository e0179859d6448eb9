"""Where a spool can keep its promises, and where it can't."""

import os
import shutil
import subprocess

import pytest
from kit import queuectl

from jobspool import Spool, durable, filesystem

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /srv rw - tmpfs tmpfs rw
31 30 0:31 / /srv/far\\040away rw,relatime shared:5 master:1 - nfs4 host:/x rw
"""


@pytest.fixture
def mounts(tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS)
    return str(tmp_path / "mounts")


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/x", "ext4"), ("/srv", "tmpfs"), ("/srvx", "ext4"), ("/srv/far away/spool", "nfs4"), ("/", "ext4")]
)
def test_the_mount_nearest_above_a_path_says_its_file_system(path, kind, mounts):
    assert filesystem.kind_of(path, mounts) == kind


def test_only_what_others_may_stand_behind_is_remote(mounts):
    assert [filesystem.is_remote(path, mounts) for path in ("/srv/far away", "/srv", "/nowhere")] == [True, False, False]


def test_only_btrfs_may_undo_that_a_file_has_left(tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS + "32 22 0:32 / /data rw - btrfs /dev/vdb rw\n")
    assert [filesystem.forgets_names(path, str(tmp_path / "mounts")) for path in ("/data/spool", "/srv", "/")] == [
        True,
        False,
        False,
    ]


def test_there_the_whole_file_system_is_synced(spool, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_directory", synced.append)
    monkeypatch.setattr(durable, "sync_filesystem", lambda folder: synced.append("all") or True)
    monkeypatch.setattr(filesystem, "keeps_order", lambda path: False)
    spool.sync_left({"pending", "processing"})
    assert synced == [spool.folder("pending"), spool.folder("processing")]
    monkeypatch.setattr(filesystem, "forgets_names", lambda path: True)
    other = Spool(spool.root)
    other.sync_left({"pending", "processing"})
    assert synced[2:] == ["all"]


def test_a_local_file_system_has_no_problems_and_nothing_is_left(spool):
    assert filesystem.problems(spool.root, spool.spare()) == []
    assert os.listdir(f"{spool.root}/tmp") == []


def test_coarse_times_lost_modes_and_locks_that_do_not_exclude_are_found(spool, monkeypatch):
    monkeypatch.setattr(durable, "stamp", lambda path, seconds: os.utime(path, (int(seconds), int(seconds))))
    monkeypatch.setattr(durable, "lock", lambda descriptor: True)
    plain = durable.write_new
    monkeypatch.setattr(durable, "write_new", lambda path, content: plain(path, content, 0o666))
    assert [why.split(" ")[0:2] for why in filesystem.problems(spool.root, spool.spare())] == [
        ["its", "files'"],
        ["it", "doesn't"],
        ["its", "locks"],
    ]


def test_where_nothing_can_be_written_nothing_is_tried(spool):
    assert filesystem.problems(spool.root, f"{spool.root}/nowhere/x") == []


@pytest.fixture
def foreign(spool, tmp_path):
    """The same spool through a file system that a program serves, as sshfs does."""
    if not shutil.which("bindfs"):
        pytest.skip("bindfs is missing: make test-deps")
    place = tmp_path / "foreign"
    place.mkdir()
    if subprocess.run(["bindfs", "--no-allow-other", spool.root, place], capture_output=True).returncode:
        pytest.skip("bindfs can't mount here")
    yield place
    subprocess.run(["fusermount3", "-u", place] if os.geteuid() else ["umount", "-l", place], check=True)


def test_start_refuses_a_file_system_that_cannot_keep_the_promises(foreign):
    refused = queuectl("--spool", foreign, "start", "--drain")
    kind = filesystem.kind_of(str(foreign))
    assert kind.startswith("fuse")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"queuectl: {foreign}: it is on {kind}, where locks and events of others may not be seen: choose a local file "
        "system, or take the risk with --any-filesystem"
    )
    assert "start` refuses" in queuectl("--spool", foreign, "doctor").stdout


def test_start_runs_there_all_the_same_when_told(foreign, spool):
    spool.add("true", id="x")
    assert queuectl("--spool", foreign, "start", "--drain", "--any-filesystem").returncode == 0
    assert spool.read("done", "x")
