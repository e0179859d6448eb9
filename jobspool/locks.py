"""Tokens of what is limited: files in locks/ whose kernel locks jobs hold, and buckets, whose mtime says when they are full.

A token is a file, as `locks/group crawl.0`; who holds its flock(2) has it. A job inherits the locks of what it needs, as it does
the lock of its own file: so a token comes back when the last process of its job has ended, whoever was killed, and never before.
"""

from __future__ import annotations

import os
from collections import namedtuple
from contextlib import suppress

from jobspool import admission, durable, process, roster
from jobspool.job import quoted
from jobspool.states import PROCESSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.admission import Need
    from jobspool.config import Settings
    from jobspool.spool import Spool

FOLDER = "locks"

# What is held: the need's name, which of its tokens (0 is the first), and the descriptor that holds it.
Token = namedtuple("Token", "name number descriptor")

# Why nothing was taken: the name of what is used up, and when to try again (seconds since 1970; None: when somebody lets go).
Full = namedtuple("Full", "name until", defaults=(None,))


def take(spool: Spool, record: dict, settings: Settings) -> list[Token] | Full:
    """Take all that the job needs, or nothing and return what there is too little of. Waits for nobody. Raises OSError."""
    if barred := admission.closed(record, settings):
        return Full(barred[0])
    held: list[Token] = []
    try:
        full = _take_all(spool, record, settings, held)
    except BaseException:
        release(held)
        raise
    if full:
        release(held)
    return full or held


def _take_all(spool: Spool, record: dict, settings: Settings, held: list[Token]) -> Full | None:
    """Take what the job needs, which comes to `held`, up to what there is too little of, which is returned."""
    for need in admission.needs(record, settings):
        if not _take(spool, need, settings, held):
            several = need.count > 1 and need.total >= need.count
            return Full(f"{need.name}*{need.count}" if several else need.name)
    return _take_rate(spool, record, settings)


def release(tokens: list[Token]) -> None:
    """Let go of what is held, as far as no job holds it."""
    for token in tokens:
        os.close(token.descriptor)


def dropped(spool: Spool, record: dict, settings: Settings) -> str | None:
    """Return the name of what a living job of a dead worker needs too, and holds no token of any more; None for none.

    A job that closes its descriptors holds nothing once its worker is killed: until it has ended, what it needs is used up.
    """
    if not roster.may_be_dead(spool):
        return None
    ghosts = [entry for entry in roster.dead(spool) if entry.job is not None and roster.group_lives(entry)]
    for entry in ghosts:
        job = spool.read(PROCESSING, entry.job)
        theirs = {need.name for need in admission.needs(job.record, settings)} if job else set()
        for need in admission.needs(record, settings):
            if need.name in theirs and not _holds(spool, entry.group, need):
                return need.name
    return None


def _holds(spool: Spool, group: int, need: Need) -> bool:
    """Tell whether a process of the group holds a token of that name, as far as we may look."""
    files = set()
    for number in range(need.total):
        with suppress(FileNotFoundError):
            found = os.stat(path_of(spool, f"{need.name}.{number}"))
            files.add((found.st_dev, found.st_ino))
    members = set(process.members(group))
    return any(members.intersection(pids) for pids in process.holders(files).values())


def _take(spool: Spool, need: Need, settings: Settings, held: list[Token]) -> bool:
    """Take as many of the tokens as are wanted, which come to `held`; False where there are fewer."""
    missing = need.count
    for number in range(need.total):
        if not missing:
            break
        descriptor = open_token(spool, f"{need.name}.{number}", settings)
        if durable.lock(descriptor):
            held.append(Token(need.name, number, descriptor))
            missing -= 1
        else:
            os.close(descriptor)
    return not missing


def _take_rate(spool: Spool, record: dict, settings: Settings) -> Full | None:
    """Take a token of the group's bucket; None where that was to be had, or it has none."""
    limit = admission.rate_of(record, settings)
    if limit is None:
        return None
    descriptor = open_token(spool, f"rate {record['group']}", settings)
    try:
        durable.lock_waiting(descriptor)
        now = spool.now()
        filled, allowed = admission.take_rate(os.fstat(descriptor).st_mtime_ns / 1e9, now, limit)
        if allowed > now:
            return Full(f"{admission.GROUP} {record['group']}", allowed)
        durable.stamp(descriptor, filled)
        return None
    finally:
        os.close(descriptor)


def path_of(spool: Spool, name: str) -> str:
    """Return where the token's file, or the bucket's, lies."""
    return f"{spool.root}/{FOLDER}/{quoted(name)}"


def open_token(spool: Spool, name: str, settings: Settings) -> int:
    """Open the file, which is made where it isn't there. Raises OSError."""
    path = path_of(spool, name)
    if not os.path.lexists(path):
        durable.make_directory(os.path.dirname(path), 0o770 if settings.group else 0o700)
    return durable.open_for_all(path, spool.file_mode(settings))  # other members' workers take it too
