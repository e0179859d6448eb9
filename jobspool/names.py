"""The names of a job's file: take one out, and see that it has only one.

A power cut can leave a file that was being moved under both names, as links of one file: btrfs logs the directories that were
synced, and not those that the file has left.
"""

from __future__ import annotations

import os

from jobspool import durable
from jobspool.job import last_mark, same_time, seconds
from jobspool.states import DEAD, DONE, FAILED, PENDING, PROCESSING, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.spool import Spool

SLACK = 1.0  # seconds that a log may have been written before its attempt, or behind it
STAYS = (PENDING, DEAD, DONE, FAILED)  # which name stays, the first of these: where a command or a due time moved it to


def take_out(spool: Spool, state: str, id: str, found: os.stat_result) -> str | None:
    """Rename the file that was `found` there into tmp/, and return its path; None where it isn't that any more."""
    path, spare = spool.path(state, id), spool.spare()
    try:
        durable.move_own(path, spare)
    except FileNotFoundError:
        return None
    now = os.lstat(spare)
    if (now.st_ino, now.st_mtime_ns) == (found.st_ino, found.st_mtime_ns):
        return spare
    put_back(spare, path)  # RACE: another of its name came in this instant
    return None


def set_aside(spool: Spool, state: str, id: str) -> None:
    """Give the job that lies there a name of its own, on the disk. Its logs get that name, too."""
    older = spool.read(state, id)
    try:
        aside = durable.set_aside(spool.path(state, id))
    except FileNotFoundError:
        return  # RACE: it has gone by itself
    other = spool.note_set_aside(aside, state)
    for number, attempt in enumerate(older.attempts if older else (), 1):
        for stream in ("out", "err"):
            if path := _log_of(attempt, spool.log_path(id, number, stream)):
                _move_log(path, spool.log_path(other, number, stream))


def _log_of(attempt: dict, path: str) -> str | None:
    """Return the log of that attempt, by its time: others of its name may have been in the way of each other. None if none is."""
    begun, ended = (seconds(attempt.get(word, attempt["ended"])) for word in ("started", "ended"))
    for name in (path, *durable.asides(path)):
        try:
            if begun - SLACK <= os.lstat(name).st_mtime <= ended + SLACK:
                return name
        except FileNotFoundError:
            pass  # it printed nothing, or hands took it
    return None


def _move_log(path: str, target: str) -> None:
    try:
        if os.path.lexists(target):
            durable.set_aside(target, durable.LONGEST_LOG)  # of one that had that name, and is gone
        durable.move(path, target)
    except OSError:
        pass  # hands took it; or what the disk keeps there goes as a log whose job is gone


def put_back(spare: str, path: str) -> None:
    """Rename the file back; what came there meanwhile is set aside."""
    while True:
        try:
            return durable.move(spare, path)
        except FileExistsError:
            try:
                durable.set_aside(path)
            except FileNotFoundError:
                pass  # RACE: it has gone by itself


def keep_one(spool: Spool, id: str, found: os.stat_result, record: dict) -> str | None:
    """Of the names that the file `found` has, `id` in several states or any in tmp/, keep one: return its state, None if none.

    A job whose outcome was recorded leaves processing/, one that was claimed leaves pending/; else see STAYS.
    """
    _forget_spare(spool, found)
    there = [state for state in STATES if _is_at(spool.path(state, id), found)]
    if len(there) < 2:
        return there[0] if there else None
    kept = next(state for state in STAYS if state in there)
    if PROCESSING in there and not same_time(last_mark(record), found.st_mtime_ns / 1e9):
        kept = PROCESSING
    for state in there:
        if state != kept and (spare := take_out(spool, state, id, found)):
            durable.remove(spare)
    return kept


def has_another(spool: Spool, id: str, found: os.stat_result) -> bool:
    """Tell whether the file has another name that keep_one() would take out."""
    there = [state for state in STATES if _is_at(spool.path(state, id), found)]
    return len(there) > 1 or bool(_spares(spool, found))


def _forget_spare(spool: Spool, found: os.stat_result) -> None:
    for path in _spares(spool, found):
        if _is_at(path, found):
            durable.remove(path)


def _spares(spool: Spool, found: os.stat_result) -> list[str]:
    try:
        with os.scandir(f"{spool.root}/tmp") as entries:
            return [entry.path for entry in entries if entry.inode() == found.st_ino]
    except FileNotFoundError:
        return []  # it is made anew


def _is_at(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False
