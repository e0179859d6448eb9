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


def distrust(found: os.stat_result, root: str, group: str | None) -> str | None:
    """Return why a file of the spool at `root` must not be run, None if it may. `group` is whom a shared spool is for."""
    if odd := distrust_type(found):
        return odd
    if found.st_nlink != 1:
        return f"it has {found.st_nlink} links: copy it instead of linking"
    if found.st_uid not in (os.geteuid(), 0) and not is_member(found.st_uid, group):
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


def is_member(uid: int, group: str | None) -> bool:
    """Tell whether the user is in the group of that name."""
    if group is None:
        return False
    import grp
    import pwd

    try:
        user = pwd.getpwuid(uid)
        return grp.getgrnam(group).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        return False


def user_name(uid: int) -> str:
    """Return the user's name, or the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
