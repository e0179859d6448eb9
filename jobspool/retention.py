"""Let go of what was kept long enough: jobs in done/ and dead/, by age or by number, and their logs.

What waits or runs is never touched. A walk through the directories goes in small slices, so that the queue doesn't wait for it.
"""

from __future__ import annotations

import heapq
import math
import os
import re
import time

from jobspool import durable, names, whereabouts
from jobspool.errors import NotAJob
from jobspool.job import id_of, last_mark, parse, same_time
from jobspool.spool import read_file
from jobspool.states import DEAD, DONE
from jobspool.times import keep_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobspool.config import Settings
    from jobspool.spool import Spool

LOG = re.compile(r"(.+)\.\d+(?:~\d+)?\.(?:out|err|result)", re.DOTALL)
TELLING = (b"keep", b"group", b"\\")  # words of a job that may be kept for a time of its own; an escape may spell any
A_DAY = 86_400.0
SLICE = 0.005  # seconds of work at one go
BETWEEN = 0.02  # seconds between two slices of a walk
AFTER_TROUBLE = 5.0  # seconds until the next walk
SOONEST, LATEST = 1.0, 600.0  # seconds between two walks
NOTHING: dict[tuple[str, str], float] = {}
MOST_READ = 1 << 20  # bytes of a job beside its attempts: of a larger one the logs go when they are a day old
LOGS_EVERY = A_DAY / 4  # seconds between two looks for logs whose job is gone


class Pruner:
    """One supervisor's walks. `at` is when step() wants to be called next (monotonic)."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.at = self._logs_at = 0.0
        self._walk: Iterator[None] | None = None
        self._rules: tuple | None = None
        self._own: dict[tuple[str, str], float] = {}  # how long jobs are kept by their own words, or their groups'
        self._read_to = dict.fromkeys((DONE, DEAD), 0.0)  # up to which ctime all were read for that
        self._busy = 0.0  # seconds that this walk has worked

    def step(self, settings: Settings) -> None:
        """Go on with the walk for a slice, or begin one. Raises OSError; the next step begins anew."""
        begun = time.monotonic()
        if self._rules != _rules(settings):
            self._rules, self._walk = _rules(settings), None
            self._own, self._read_to = {}, dict.fromkeys((DONE, DEAD), 0.0)
        walk, self._walk = self._walk or self._whole(settings, begun), None
        try:
            unfinished = any(time.monotonic() - begun > SLICE for _ in walk)
        except OSError:
            self.at, self._busy = time.monotonic() + max(AFTER_TROUBLE, 50 * self._busy), 0.0
            raise
        self._busy += time.monotonic() - begun
        if unfinished:
            self._walk = walk
            self.at = time.monotonic() + BETWEEN
        else:
            self.at = time.monotonic() + max(pause(settings), 50 * self._busy)
            self._busy = 0.0

    def _whole(self, settings: Settings, clock: float) -> Iterator[None]:
        refused: list[OSError] = []
        for state, rule in ((DONE, settings.keep_done), (DEAD, settings.keep_dead)):
            yield from self._read_own(state, settings)
            yield from prune_state(self.spool, state, rule, settings, refused, self._own)
        if clock >= self._logs_at:
            self._logs_at = clock + LOGS_EVERY
            yield from prune_logs(self.spool)
        if refused:
            raise refused[0]

    def is_due(self, settings: Settings, clock: float) -> bool:
        """Tell whether step() is to be called: it is time to, or another rule is to be kept than in the last step."""
        return clock >= self.at or self._rules != _rules(settings)

    def _read_own(self, state: str, settings: Settings) -> Iterator[None]:
        """Read which jobs that came since the last walk are kept for a time of their own; yields after each file."""
        begun, there = self.spool.now(), set()
        for id, found in _files(self.spool, state, settings):
            there.add((state, id))
            if found.st_ctime_ns / 1e9 < self._read_to[state] - 1.0:
                continue
            try:
                age = own_age(self.spool, state, id, settings)
            except OSError:
                continue  # it is gone; or unreadable, and read again before it would go
            if age is None:
                self._own.pop((state, id), None)
            else:
                self._own[state, id] = age
            yield
        self._own = {place: age for place, age in self._own.items() if place[0] != state or place in there}
        self._read_to[state] = begun


def _rules(settings: Settings) -> tuple:
    groups = {name: (group.get("keep_done"), group.get("keep_dead")) for name, group in settings.groups.items()}
    return settings.keep_done, settings.keep_dead, {name: rules for name, rules in groups.items() if any(rules)}


def own_age(spool: Spool, state: str, id: str, settings: Settings) -> float | None:
    """Return for how many seconds the job is kept by its own word, or its group's; infinity is for ever; else None."""
    content, _ = read_file(spool.path(state, id), settings.max_job_bytes)
    if not any(word in content for word in TELLING):
        return None
    job = spool.read(state, id)
    if job is None or job.problem:
        return None
    group = settings.groups.get(job.record.get("group"), {})
    rule = job.record.get("keep") or group.get("keep_done" if state == DONE else "keep_dead")
    if rule is None:
        return None
    age, _ = keep_of(rule)
    return math.inf if age is None else age


def pause(settings: Settings) -> float:
    """Return the seconds between two walks: a tenth of the shortest age that is kept."""
    of_groups = [rule for rules in _rules(settings)[2].values() for rule in rules if rule is not None]
    ages = [age for age, _ in map(keep_of, (settings.keep_done, settings.keep_dead, *of_groups)) if age is not None]
    counts = [count for _, count in map(keep_of, (settings.keep_done, settings.keep_dead)) if count is not None]
    return min(LATEST, max(SOONEST, min([age / 10 for age in ages] + [10.0] * bool(counts), default=LATEST)))


def prune_state(
    spool: Spool, state: str, rule: str | int, settings: Settings, refused: list[OSError], own: dict = NOTHING
) -> Iterator[None]:
    """Remove the jobs of that state that are older, or more, than `rule` keeps, or than is said of them in `own`.

    Yields after each file it looks at. Files that would never be run are never removed. Why the disk keeps one comes to
    `refused`, and keeps it from no other.
    """
    age, count = keep_of(rule)
    before = (-math.inf, "")
    if age is not None:
        before = (spool.now() - age, "")
    elif count == 0:
        before = (math.inf, "")
    elif count is not None:
        newest: list[tuple[float, str]] = []  # a heap: its first is the oldest that is kept
        for id, found in _files(spool, state, settings):
            place = (found.st_mtime_ns / 1e9, id)
            if (state, id) not in own:
                heapq.heappush(newest, place) if len(newest) < count else heapq.heappushpop(newest, place)
            yield
        before = newest[0] if len(newest) == count else (-math.inf, "")
    elif not any(there == state for there, _ in own):
        return
    for id, found in _files(spool, state, settings):
        its = own.get((state, id))
        last = before if its is None else (spool.now() - its, "")
        if (found.st_mtime_ns / 1e9, id) < last:
            try:
                old = (its is None and age is None) or _came(spool, state, id, found) < last[0]
                told = old and whereabouts.tell_first(spool, id, state, settings, patience=0)
                if told and not _is_kept(spool, state, id, found, settings):
                    prune(spool, state, id, found, settings)
            except OSError as error:
                refused.append(error)
        yield


def _is_kept(spool: Spool, state: str, id: str, found: os.stat_result, settings: Settings) -> bool:
    """Tell whether the job's own word, or its group's, keeps it still, as its file says now. Raises OSError."""
    try:
        age = own_age(spool, state, id, settings)
    except FileNotFoundError:
        return True  # RACE: it has gone by itself
    return age is not None and found.st_mtime_ns / 1e9 >= spool.now() - age


def _came(spool: Spool, state: str, id: str, found: os.stat_result) -> float:
    """Return when the job came to that state: as its record says, else when hands moved it there, which rename(2) notes."""
    job = spool.read(state, id)
    recorded = job and job.attempts and job.attempts[-1]["verdict"] == state
    if recorded and same_time(last_mark(job.record), found.st_mtime_ns / 1e9):
        return found.st_mtime_ns / 1e9
    return max(found.st_mtime_ns, found.st_ctime_ns) / 1e9


def prune(spool: Spool, state: str, id: str, found: os.stat_result, settings: Settings | None = None) -> bool:
    """Remove the job that was seen there, and its logs; False, and nothing is removed, where it isn't that any more.

    A crash may leave the file in tmp/, which goes after a day, and logs without a job, which go too.
    """
    spare = names.take_out(spool, state, id, found)
    if spare is None:
        return False
    theirs = spool.state_of(id) is not None or os.path.islink(f"{spool.root}/logs")  # the last of a name takes its logs along
    attempts = 0 if theirs else _attempts(spare, min(found.st_size, MOST_READ))
    for number in range(1, attempts + 1):
        for stream in ("out", "err", "result"):
            _remove_log(spool.log_path(id, number, stream))
    durable.remove(spare)
    spool.note("removed", [id], state, None, settings)
    return True


def prune_logs(spool: Spool) -> Iterator[None]:
    """Remove the logs, a day old, whose job is in no state: hands removed it, or a crash cut prune() short.

    What isn't called as a log of a job is, stays; and where logs/ is a link, all that lies behind it.
    """
    if os.path.islink(f"{spool.root}/logs"):
        return
    with os.scandir(f"{spool.root}/logs") as entries:
        for entry in entries:
            if not (log := LOG.fullmatch(entry.name)):
                yield
                continue
            id = log[1]
            try:
                old = spool.now() - entry.stat(follow_symlinks=False).st_mtime > A_DAY
            except FileNotFoundError:
                continue  # RACE: an attempt ended that had printed nothing
            if old and entry.is_file(follow_symlinks=False) and spool.state_of(id) is None:
                durable.remove(entry.path)
            yield


def _files(spool: Spool, state: str, settings: Settings) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(spool.folder(state)) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if (id := id_of(entry.name)) is not None and spool.distrust(found, settings) is None:
                yield id, found


def _attempts(path: str, size: int) -> int:
    """Return how many attempts the file has on record; 0 where it is no job."""
    try:
        return len(parse(read_file(path, size)[0], size).get("attempts", ()))
    except (NotAJob, OSError):
        return 0


def _remove_log(path: str) -> None:
    """Remove the log, and those of its name that were set aside."""
    for name in (path, *durable.asides(path)):
        durable.remove(name)
