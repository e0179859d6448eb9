"""Whose files are run: sshd's StrictModes, for job files.

A job file must be regular, have one link, belong to the worker's user, to root or to a member of a shared spool's group, and
strangers must not be able to write it. Whatever else lies in the spool is never opened in a way that blocks or follows.
"""

from __future__ import annotations

import errno
import os
import stat

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
ODD_FILES = {errno.ELOOP: "a symbolic link", errno.ENXIO: "a socket or a FIFO", errno.EACCES: "no right to read it"}
TYPES = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"),
         (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip


def opener(path: str, _: int) -> int:
    """Open the file for reading, without following or blocking: what open() takes for its `opener`."""
    return os.open(path, READ)


def distrust(found: os.stat_result, root: str, group: str | None, user: int | None = None, linked: bool = False) -> str | None:
    """Return why a file of the spool at `root` must not be run, None if it may. `group` is whom a shared spool is for.

    `user` is the worker's, ours without it. With `linked`, the number of links isn't looked at.
    """
    if odd := distrust_type(found):
        return odd
    if found.st_nlink != 1 and not linked:
        return f"it has {found.st_nlink} links: copy it instead of linking"
    user = os.geteuid() if user is None else user
    if found.st_uid not in (user, 0) and not (is_member(found.st_uid, group) and _is_for(root, group)):
        return f"it belongs to {user_name(found.st_uid)}, whom this worker doesn't serve"
    if found.st_mode & stat.S_IWOTH:
        return "anyone may write it: chmod o-w"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (os.getegid(), os.stat(root).st_gid):
        return f"a foreign group, {found.st_gid}, may write it: chmod g-w"
    return None


def distrust_type(found: os.stat_result) -> str | None:
    """Return what the file is if it isn't a regular one."""
    if stat.S_ISREG(found.st_mode):
        return None
    return next((word for is_type, word in TYPES if is_type(found.st_mode)), "no regular file") + ", not a regular file"


def forbidden(path: str, found: os.stat_result) -> str | None:
    """Return why we can't claim the file, None if we can: one must read it, and own it or write it to say when it was claimed."""
    if not os.access(path, os.R_OK, effective_ids=True):
        return ODD_FILES[errno.EACCES] if os.path.lexists(path) else None  # RACE: it has moved on
    own_read_only = found.st_uid == os.geteuid() and not found.st_mode & stat.S_IWUSR
    mine = os.access(os.path.dirname(path), os.W_OK, effective_ids=True)  # else it is no fault of the one file
    if mine and not own_read_only and not os.access(path, os.W_OK, effective_ids=True):
        return "no right to write it, which a claim needs" if os.path.lexists(path) else None
    return None


def is_member(uid: int, group: str | None) -> bool:
    """Tell whether the user is in the group of that name."""
    if group is None:
        return False
    import grp
    import pwd

    try:
        user = pwd.getpwuid(uid)
        return grp.getgrnam(group).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, ValueError):  # no such user or group, or no name that one can have
        return False


def _is_for(root: str, group: str) -> bool:
    """Tell whether the spool was made for that group: its directory says so, which only its owner can change."""
    import grp

    found = os.stat(root)
    return bool(found.st_mode & stat.S_ISGID) and found.st_gid == grp.getgrnam(group).gr_gid


def user_name(uid: int) -> str:
    """Return the user's name, or the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
