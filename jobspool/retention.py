"""Let go of what was kept long enough: jobs in done/ and dead/, by age or by number, and their logs.

What waits or runs is never touched. A walk through the directories goes in small slices, so that the queue doesn't wait for it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import stat
import time

from jobspool import durable, names
from jobspool.config import keep_of
from jobspool.errors import NotAJob
from jobspool.job import id_of, parse
from jobspool.spool import read_file
from jobspool.states import DEAD, DONE, STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobspool.config import Settings
    from jobspool.spool import Spool

A_DAY = 86_400.0
SLICE = 0.005  # seconds of work at one go
BETWEEN = 0.02  # seconds between two slices of a walk
SOONEST, LATEST = 1.0, 600.0  # seconds between two walks
MOST_READ = 1 << 20  # bytes of a job beside its attempts: of a larger one the logs go when they are a day old
LOGS_EVERY = A_DAY / 4  # seconds between two looks for logs whose job is gone


class Pruner:
    """One supervisor's walks. `at` is when step() wants to be called next (monotonic)."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.at = self._logs_at = 0.0
        self._walk: Iterator[None] | None = None
        self._busy = 0.0  # seconds that this walk has worked

    def step(self, settings: Settings) -> None:
        """Go on with the walk for a slice, or begin one. Raises OSError; the next step begins anew."""
        begun = time.monotonic()
        walk, self._walk = self._walk or self._whole(settings, begun), None
        unfinished = any(time.monotonic() - begun > SLICE for _ in walk)
        self._busy += time.monotonic() - begun
        if unfinished:
            self._walk = walk
            self.at = time.monotonic() + BETWEEN
        else:
            self.at = time.monotonic() + max(pause(settings), 50 * self._busy)
            self._busy = 0.0

    def _whole(self, settings: Settings, clock: float) -> Iterator[None]:
        for state, rule in ((DONE, settings.keep_done), (DEAD, settings.keep_dead)):
            yield from prune_state(self.spool, state, rule)
        if clock >= self._logs_at:
            self._logs_at = clock + LOGS_EVERY
            yield from prune_logs(self.spool)


def pause(settings: Settings) -> float:
    """Return the seconds between two walks: a tenth of the shortest age that is kept."""
    ages = [age for age, _ in map(keep_of, (settings.keep_done, settings.keep_dead)) if age is not None]
    counts = [count for _, count in map(keep_of, (settings.keep_done, settings.keep_dead)) if count is not None]
    return min(LATEST, max(SOONEST, min([age / 10 for age in ages] + [10.0] * bool(counts), default=LATEST)))


def prune_state(spool: Spool, state: str, rule: str | int) -> Iterator[None]:
    """Remove the jobs of that state that are older, or more, than `rule` keeps; yields after each file it looks at."""
    age, count = keep_of(rule)
    if age is None and count is None:
        return
    if age is not None:
        before = spool.now() - age
    else:
        newest = [-math.inf] * count  # a heap: its first is the oldest that is kept
        for _, found in _files(spool.folder(state)):
            heapq.heappushpop(newest, found.st_mtime_ns / 1e9)
            yield
        before = newest[0] if count else math.inf
    for id, found in _files(spool.folder(state)):
        if found.st_mtime_ns / 1e9 < before:
            prune(spool, state, id, found)
        yield


def prune(spool: Spool, state: str, id: str, found: os.stat_result) -> bool:
    """Remove the job that was seen there, and its logs; False, and nothing is removed, where it isn't that any more.

    A crash may leave the file in tmp/, which goes after a day, and logs without a job, which go too.
    """
    spare = names.take_out(spool, state, id, found)
    if spare is None:
        return False
    for number in range(1, _attempts(spare, min(found.st_size, MOST_READ)) + 1):
        for stream in ("out", "err"):
            _remove_log(spool.log_path(id, number, stream))
    durable.remove(spare)
    return True


def prune_logs(spool: Spool) -> Iterator[None]:
    """Remove the logs, a day old, whose job is in no state: hands removed it, or a crash cut prune() short."""
    with os.scandir(f"{spool.root}/logs") as entries:
        for entry in entries:
            id = entry.name.rsplit(".", 2)[0]
            try:
                old = spool.now() - entry.stat(follow_symlinks=False).st_mtime > A_DAY
            except FileNotFoundError:
                continue  # RACE: an attempt ended that had printed nothing
            if old and entry.is_file(follow_symlinks=False) and not _is_anywhere(spool, id):
                durable.remove(entry.path)
            yield


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (id := id_of(entry.name)) is not None and stat.S_ISREG(found.st_mode):
                yield id, found


def _attempts(path: str, size: int) -> int:
    """Return how many attempts the file has on record; 0 where it is no job."""
    try:
        return len(parse(read_file(path, size)[0], size).get("attempts", ()))
    except (NotAJob, OSError):
        return 0


def _remove_log(path: str) -> None:
    """Remove the log, and those of its name that were set aside."""
    stem, ending = os.path.splitext(path)
    durable.remove(path)
    for number in itertools.count(1):
        if not durable.remove(f"{stem}~{number}{ending}"):
            return


def _is_anywhere(spool: Spool, id: str) -> bool:
    """Tell whether the spool has a job of that name; looked at twice, as it may move against the order of looking."""
    return any(os.path.lexists(spool.path(state, id)) for state in (*STATES, *reversed(STATES)))
