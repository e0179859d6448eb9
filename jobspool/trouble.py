"""What is said of a disk, or a machine, that fails: what, where, and what helps, in one line that is the same for each job."""

from __future__ import annotations

import errno
import os

from jobspool.states import STATES

CURES = {
    errno.ENOSPC: "make room there: df -h and df -i show what is used",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EROFS: "mount it for writing",
    errno.EIO: "the disk fails: dmesg says more",
    errno.EXDEV: "all of the spool must be on one file system",
}
CURES_OF_THE_MACHINE = {
    errno.EMFILE: "raise the limit: ulimit -n",
    errno.ENFILE: "too many files are open on the machine",
    errno.EAGAIN: "too many processes run: ulimit -u shows the limit",
    errno.ENOMEM: "the machine has no memory left",
}
MAY_PASS = (errno.ENOSPC, errno.EDQUOT, *CURES_OF_THE_MACHINE)


def told(error: OSError, root: str) -> str:
    """Return what went wrong, where in the spool at `root`, and what helps."""
    if cure := CURES_OF_THE_MACHINE.get(error.errno):
        return f"{error.strerror}: {cure}"
    path = error.filename if isinstance(error.filename, str) else root
    if error.errno == errno.ENOENT:
        return _told_missing(path, root)
    if error.errno == errno.ENOTDIR:
        return f"{error.strerror}: {_there(path)}: move away what lies there, and it is made anew"
    if error.errno == errno.EACCES and (folder := _shut(root, error.filename, error.filename2)):
        return f"{error.strerror}: {folder}: chmod u+rwx, or become its owner"
    folder = os.path.dirname(path)
    cure = CURES.get(error.errno)
    where = folder if cure and folder.startswith(f"{root}/") else path  # one file is like the other when a disk is full
    if error.errno == errno.EXDEV and isinstance(error.filename2, str):
        where = os.path.dirname(error.filename2)
    return ": ".join(filter(None, (error.strerror or str(error), where, cure)))


def cause(error: OSError, root: str) -> str:
    """Return what is wrong as few words as tell it from other trouble: a disk that fails does so in many places at once."""
    known = error.errno in CURES or error.errno in CURES_OF_THE_MACHINE
    return error.strerror if known else told(error, root)


def _there(path: str) -> str:
    """Return the first part of the path that is there, from its end."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _shut(root: str, *paths: object) -> str | None:
    """Return the directory of the paths, of those in the spool, that we may not write to, None if there is none."""
    folders = [os.path.dirname(path) for path in paths if isinstance(path, str) and path.startswith(f"{root}/")]
    return next((folder for folder in folders if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)), None)


def _told_missing(path: str, root: str) -> str:
    path = path if os.path.isdir(root) else root
    folder, name = os.path.split(path)
    if path == root or (folder == root and name in STATES):
        return f"{path} is gone: put it back, or `queuectl init {root}` makes it anew"
    return f"{path} is gone" + (": it is made anew" if folder == root else "")
