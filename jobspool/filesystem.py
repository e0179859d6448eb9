"""What the file system of a spool can keep of the promises: it is asked, and tried out.

A network file system looks local and is not: another machine's locks, inotify and process ids are not seen here. What only trying
can tell is whether times are finer than a second, modes are kept, and a lock excludes.
"""

from __future__ import annotations

import os

from jobspool import durable

REMOTE = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "glusterfs", "lustre", "gfs2", "ocfs2", "vboxsf", "virtiofs")
DEVICES = "/sys"
MOUNTS = "/proc/self/mountinfo"
A_TIME = 1_000_000_000.654321


def kind_of(path: str, mounts: str = MOUNTS) -> str:
    """Return the type of the file system that `path` is on, "" where the kernel doesn't say: proc_pid_mountinfo(5)."""
    best, kind = "", ""
    with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            place = _unescaped(fields.split()[4])
            if (path + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best):
                best, kind = place, rest.split()[0]
    return kind


def is_remote(path: str, mounts: str = MOUNTS) -> bool:
    """Tell whether other machines, or a program, may stand behind the file system, so that inotify can't see all of it."""
    return kind_of(os.path.realpath(path), mounts).startswith(REMOTE)


def forgets_names(path: str, mounts: str = MOUNTS) -> bool:
    """Tell whether a sync of a directory that a file has left may be undone when the log is replayed: btrfs, see CHANGES.md."""
    return kind_of(os.path.realpath(path), mounts) == "btrfs"


def keeps_order(path: str, mounts: str = MOUNTS, devices: str = DEVICES) -> bool:
    """Tell whether the disk sees changes of names in the order they were made: one journal has them all on ext4 and xfs.

    An ext4 may have been made without one; its directory in /sys tells.
    """
    kind = kind_of(os.path.realpath(path), mounts)
    if kind != "ext4":
        return kind == "xfs"
    number = os.stat(path).st_dev
    device = os.path.basename(os.path.realpath(f"{devices}/dev/block/{os.major(number)}:{os.minor(number)}"))
    return os.path.exists(f"{devices}/fs/ext4/{device}/journal_task")


def problems(root: str, spare: str, mounts: str = MOUNTS) -> list[str]:
    """Return why the spool at `root` can't keep its promises on its file system; `spare` is a fresh path there to try it with.

    Nothing is tried where nothing can be written. Raises no error for a full disk, or for a missing tmp/.
    """
    found = []
    kind = kind_of(os.path.realpath(root), mounts)
    if kind.startswith(REMOTE):
        found.append(f"it is on {kind}, where locks and events of others may not be seen")
    try:
        descriptor = durable.write_new(spare, b"")
    except OSError:
        return found
    try:
        return found + _tried(descriptor, spare)
    finally:
        os.close(descriptor)
        durable.remove(spare)


def _tried(descriptor: int, path: str) -> list[str]:
    found = []
    durable.stamp(descriptor, A_TIME)
    if abs(os.fstat(descriptor).st_mtime - A_TIME) > 0.000001:
        found.append("its files' times are coarser than a microsecond, so that a record can't be told from a claim")
    if os.fstat(descriptor).st_mode & 0o777 != 0o600:
        found.append("it doesn't keep the modes of files, so that anybody may be able to write jobs")
    if not _excludes(descriptor, path):
        found.append("its locks don't exclude, so that a job could run twice at once")
    return found


def _excludes(descriptor: int, path: str) -> bool:
    """Tell whether a lock on the file keeps another from being taken."""
    other = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return durable.lock(descriptor) and not durable.lock(other)
    except OSError:
        return False
    finally:
        os.close(other)


def _unescaped(place: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, character)
    return place
