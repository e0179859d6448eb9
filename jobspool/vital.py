"""What a supervisor says of what waits, in its file in workers/: so whoever looks need not go through the directories."""

from __future__ import annotations

import json

from jobspool import roster
from jobspool.job import waits_since
from jobspool.states import PENDING
from jobspool.trust import opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jobspool.job import Job
    from jobspool.spool import Spool

WORDS = ("oldest", "next_due", "waiting")


def said(oldest: float | None, next_due: float | None, waiting: int) -> str:
    """Return what the file says beside who it is: since when the oldest job waits, and when the next failed one is due."""
    return json.dumps(dict(zip(WORDS, (oldest, next_due, waiting), strict=True)))[1:-1]


def read(alive: Iterable[roster.Entry]) -> dict | None:
    """Return what a supervisor among these says: oldest, next_due (seconds since 1970, or None), waiting; None where none is."""
    for entry in alive:
        if entry.role == roster.SUPERVISOR and (found := _said(entry.path)):
            return found
    return None


def _said(path: str) -> dict | None:
    try:
        with open(path, "rb", opener=opener) as file:
            found = json.loads(file.read(roster.LARGEST))
        numbers = (int, float, type(None))
        return {word: found[word] for word in WORDS} if all(isinstance(found[word], numbers) for word in WORDS) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # RACE: it is being written, or gone; or it has said nothing yet


def oldest(spool: Spool, places: Iterable[tuple[float, str]], counts: Callable[[Job], bool] = bool) -> float | None:
    """Return since when the pending job waits that has waited longest, of these mtimes and ids, the earliest of them first.

    `counts` tells which jobs count. No more of them are read than may be the one, which is mostly the first; None for none.
    """
    first = None
    for mtime, id in places:
        if first is not None and mtime >= first:
            break
        if (job := spool.read(PENDING, id)) and counts(job):
            since = waits_since(job.record, job.mtime, job.ctime)
            first = since if first is None else min(first, since)
    return first
